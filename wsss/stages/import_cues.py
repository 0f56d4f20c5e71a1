"""Import of published localisation cues into the store: labels on a coarse grid, image by image."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wsss.data.base import Dataset
from wsss.data.cues import CueFiles
from wsss.errors import DataError
from wsss.functional.cues import draw_cues
from wsss.functional.seeds import SeedSettings
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.store import Artefact, digest
from wsss.types import BACKGROUND

KIND = "cues"
"""Folder of the grids in an artefact."""

SUSPICIOUS = 0.5
"""If more than this share of the images has cues of untagged classes, the list must belong to other cues."""


def import_cues(dataset: Dataset, settings: SeedSettings) -> Stage:
    """Plan the import of the cues in ``settings.cues`` and ``settings.cue_ids``.

    Cues of classes that an image's tags rule out are dropped, and the user is told how many images had some: tags come
    from the data, for cues as for all other labels.

    Raises:
        DataError: If one of the two files cannot be read.
    """
    files = CueFiles(Path(str(settings.cues)), Path(str(settings.cue_ids)), settings.cue_grid)

    def work(bench: Workbench, out: Artefact) -> None:
        planned = portions(dataset.ids("train"))
        if all(out.unit_done(portion.name) for portion in planned):
            return
        cues = files.read(dataset)
        _judge_strays(bench, dataset, files, cues)

        def one(portion: Portion) -> None:
            with out.unit(portion.name) as unit:
                for image in portion.ids:
                    grid = draw_cues(cues[image], files.side, labels=dataset.possible(image))
                    unit.write_labels(image, grid, KIND)

        for_each(bench, out, planned, one, description="cues")

    return Stage(
        name="cues",
        version=1,
        work=work,
        settings={"grid": files.side, "background_class": dataset.background},
        data={
            "cues": _fingerprint(files.path, "seeds.cues"),
            "ids": _fingerprint(files.ids, "seeds.cue_ids"),
            "train": dataset.fingerprint("train"),
        },
    )


def _judge_strays(bench: Workbench, dataset: Dataset, files: CueFiles, cues: Mapping[str, Tensor]) -> None:
    """Report images with cues of classes that their tags rule out, or fail if they are too many."""
    strays: dict[str, int] = {}
    for image, found in cues.items():
        untagged = set(found[0].tolist()) - {BACKGROUND, *dataset.possible(image)}
        if untagged:
            strays[image] = min(untagged)
    if not strays:
        return
    image, label = next(iter(strays.items()))
    what = (
        f"'{files.path}' has cues of classes that the tags rule out for {len(strays)} of {len(cues)} images, "
        f"for example '{dataset.classes[label - 1]}' in '{image}'"
    )
    if len(strays) > SUSPICIOUS * len(cues):
        raise DataError(
            f"{what}; more than {SUSPICIOUS:.0%} can't be right: set seeds.cue_ids to the list that belongs to the "
            f"cues, and put the data's class list into the order of the cues"
        )
    bench.watcher.say(f"{what}; they are left out")


def _fingerprint(path: Path, setting: str) -> str:
    try:
        return digest(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"'{path}' can't be read ({error.strerror or error}); set {setting} to an existing file"
        ) from error
