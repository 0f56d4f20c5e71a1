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
# # Looking inside
#
# Every stage writes its results to the store, and every step is a function on tensors. This notebook follows one image:
# its stored results, and the same steps by hand with other settings.

# %%
import json

import torch

import wsss

run = wsss.run(rounds=1, ceiling=False, until="crf")

# %% [markdown]
# The data set of the run gives access to its images, their tags and, for evaluation, their ground truth.

# %%
data = run.dataset
image_id = next(id for id in data.ids("train") if data.tags(id).sum() > 1)
image, tags, truth = data.image(image_id), data.tags(image_id), data.truth(image_id)
[name for name, there in zip(data.classes, tags, strict=True) if there]

# %% [markdown]
# The results of a stage are in its artefact. Channel 0 of the scores is the background, and scores are stored at a
# quarter of the image's size; 255 in seeds means that the label is unknown.

# %%
seeds = run.artefact("seeds")
scores = seeds.read_scores(image_id, len(data.classes) + 1)
planted = seeds.read_labels(image_id)
print(
    "scores",
    tuple(scores.shape),
    "seeds",
    tuple(planted.shape),
    "unknown",
    round((planted == 255).float().mean().item(), 2),
)

# %% [markdown]
# Seeded region growing by hand: the function that the stage calls, at three thresholds.

# %%
from wsss.store import resize_scores

full = resize_scores(scores, tuple(image.shape[1:]))
for threshold in (0.5, 0.7, 0.9):
    grown = wsss.grow_regions(full, planted, tags, foreground_threshold=threshold, background_threshold=0.99)
    known = grown != 255
    right = (grown == truth)[known & (truth != 255)].float().mean().item()
    print(f"threshold {threshold}: {known.float().mean().item():.0%} covered, {right:.0%} of it right")

# %% [markdown]
# The dense CRF by hand, with half and twice the weight of its appearance kernel.

# %%
from dataclasses import replace

possible = [0, *(label for label in range(1, len(data.classes) + 1) if tags[label - 1])]
for factor in (0.5, 1.0, 2.0):
    settings = replace(run.config.crf, bilateral_compat=factor * run.config.crf.bilateral_compat)
    labels = wsss.dense_crf(image, full, settings, labels=possible).argmax(dim=0)
    known = truth != 255
    print(f"weight x {factor}: {(labels == truth)[known].float().mean().item():.0%} of the pixels right")

# %% [markdown]
# The summary's entry on the last stage, over all training images.

# %%
print(json.dumps(run.summary["stages"][-1], indent=2))

# %% [markdown]
# Nothing here changes the stored results: artefacts are read, verified against their digests, and never modified.

# %%
assert torch.equal(run.artefact("seeds").read_labels(image_id), planted)
