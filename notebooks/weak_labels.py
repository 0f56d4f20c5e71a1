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
# Image tags, points, scribbles and boxes cost different amounts of work, and teach different amounts. A study carries
# out several runs that differ in nothing else and puts them into one table. Here one seed and no budgets; each run
# takes a few minutes on two cores, and one that has ended is not repeated.

# %%
import wsss

kinds = ["tags", "points", "scribbles", "boxes"]
study = wsss.study("weak_labels", seeds=[0], runs=kinds, budgets=[])

# %% [markdown]
# A study shows itself: a line for each kind, with the mIoU of the segmenter on images that it never saw, what share
# that is of full supervision, how good the pseudo labels were, and what the labels cost a person.

# %%
study

# %% [markdown]
# The same as numbers, a dict for each line, as data frames take them.

# %%
for row in study.rows:
    print(row["run"], row["miou"], row["percent_of_full"], row["annotation_seconds"])

# %% [markdown]
# The same images, seen by each kind: the pixels that a person's labels settle, what the pipeline made of them, and what
# the segmenters say of images for validation.

# %%
study.show("labels_given")

# %%
study.show("pseudo_labels")

# %%
study.show("predictions")

# %% [markdown]
# ## With less money
#
# A budget is a share of what labelling all images with that kind would cost (or plain seconds). Images beyond it are
# not seen at all, and every kind gets them in the same order. With budgets each kind is a curve over its cost.

# %%
study = wsss.study("weak_labels", seeds=[0], runs=kinds, budgets=["50%"])
study.show("cost")

# %% [markdown]
# ## One run of it
#
# A study's runs are runs like any other.

# %%
study.runs["points · seed 0"]

# %% [markdown]
# The whole of it, with every seed and budget, from a shell: `wsss study weak_labels`, and on a data set of your own
# `wsss study weak_labels experiment=voc21 data.root=PATH`.
