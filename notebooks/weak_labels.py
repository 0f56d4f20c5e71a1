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
# # Which weak label is worth its price?
#
# Image tags, points, scribbles and boxes differ in annotation cost and in how much a network learns from them. A study
# executes several runs that differ in nothing else and compares them in one table. Here it uses one seed and no
# budgets; each run takes a few minutes on two cores, and finished runs are not repeated.

# %%
import wsss

kinds = ["tags", "points", "scribbles", "boxes"]
study = wsss.study("weak_labels", seeds=[0], runs=kinds, budgets=[])

# %% [markdown]
# A study is displayed as a table with a line for each kind: the mIoU of the segmenter on validation images, its share
# of full supervision, the quality of the pseudo labels, and the annotation cost.

# %%
study

# %% [markdown]
# The same as numbers, one dict per line, ready for a data frame.

# %%
for row in study.rows:
    print(row["run"], row["miou"], row["percent_of_full"], row["annotation_seconds"])

# %% [markdown]
# The same images with each kind of label: the settled (annotated) pixels, the pseudo labels computed from them, and the
# predictions of the segmenters on validation images.

# %%
study.show("labels_given")

# %%
study.show("pseudo_labels")

# %%
study.show("predictions")

# %% [markdown]
# ## With a smaller budget
#
# A budget is a share of the cost of labelling all images with that kind (or a number of seconds). Images beyond it are
# not used at all, and their order is the same for every kind. With budgets, each kind becomes a curve over its cost.

# %%
study = wsss.study("weak_labels", seeds=[0], runs=kinds, budgets=["50%"])
study.show("cost")

# %% [markdown]
# ## A single run
#
# The runs of a study are ordinary runs.

# %%
study.runs["points · seed 0"]

# %% [markdown]
# To run the whole study from a shell, with every seed and budget: `wsss study weak_labels`, and on your own data set
# `wsss study weak_labels experiment=voc21 data.root=PATH`.
