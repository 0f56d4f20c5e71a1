# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first run
#
# From image tags to a segmentation network, on synthetic images that are generated on the fly: nothing to download. The
# first cell takes about three minutes on two cores, and seconds when repeated: every finished stage is in the store.

# %%
import wsss

run = wsss.run(ceiling=True)

# %% [markdown]
# A run is displayed as the table of its stages, with the quality of each label map on the training images (mIoU,
# coverage, precision) and its computation time; the scores of the last round's segmenter on validation images, overall
# and by class; and the results of each stage for some images.

# %%
run

# %% [markdown]
# Scores do not show everything, so look at the results for some images: one row per image, one column per stage. Here
# images tagged with a class are shown; `images=[…]` selects them by name.

# %%
run.show(of="cat", count=4)

# %% [markdown]
# Failures are the most informative: images that were not used in training, sorted by the IoU of their labels with the
# ground truth, worst first.

# %%
run.show("val", worst=4)

# %% [markdown]
# ## One setting at a time
#
# Two runs that differ in a late setting share all earlier stages, so an ablation computes only what differs. Here the
# region graph is left out; `until` stops before the segmenter.

# %%
without_graph = wsss.run(refine=["growing", "crf"], rounds=1, ceiling=False, until="crf")
without_graph

# %% [markdown]
# `wsss config` prints all settings with their defaults and meaning, and `wsss config experiment=voc21` those of an
# experiment. Unknown keys and names are rejected, and the error suggests similar ones.

# %%
try:
    wsss.run(superpixel_count=200)
except wsss.WsssError as error:
    print(error)

# %% [markdown]
# ## Your own images
#
# A folder of images and a CSV of tags are enough; without masks, nothing is scored.
#
# ```python
# wsss.run("data=folder", "data.root=PATH", "experiment=voc21", "classifier.weights=imagenet", ceiling=False)
# ```
