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
# From image tags to a segmentation network, on images that are drawn as they are needed: nothing to download. Two cores
# take about three minutes for the first cell, and seconds when it is asked again: every finished stage is in the store.

# %%
import wsss

run = wsss.run(ceiling=True)

# %% [markdown]
# A run shows itself: the table of its stages, what each did to the labels of the training images (mIoU, coverage,
# precision) and how long it took; what the segmenter of the last round comes to on images it never saw, in all and by
# class; and some images on their way.

# %%
run

# %% [markdown]
# What no number tells: what became of some images on their way. One row an image, one column a stage. Here those that
# are tagged with a class; `images=[…]` takes them by name.

# %%
run.show(of="cat", count=4)

# %% [markdown]
# Where it goes wrong is worth most: images that nothing was trained on, the worst first by the IoU of their labels with
# the truth.

# %%
run.show("val", worst=4)

# %% [markdown]
# ## One setting at a time
#
# Two runs that differ in a late setting share everything before it, so an ablation costs what it changes. Here the
# region graph is left out; `until` stops before the segmenter.

# %%
without_graph = wsss.run(refine=["growing", "crf"], rounds=1, ceiling=False, until="crf")
without_graph

# %% [markdown]
# What a setting means stands beside its default: `wsss config` prints all of them, and `wsss config experiment=voc21`
# those of an experiment. A key or a name that is not known is refused, with the nearest that are.

# %%
try:
    wsss.run(superpixel_count=200)
except wsss.WsssError as error:
    print(error)

# %% [markdown]
# ## Your own images
#
# A folder of images and a CSV of tags are enough; without masks there are simply no scores.
#
# ```python
# wsss.run("data=folder", "data.root=PATH", "experiment=voc21", "classifier.weights=imagenet", ceiling=False)
# ```
