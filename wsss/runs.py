"""Runs: execution of one configuration through all stages, and access to the results in its folder."""

import html
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from wsss import console, ranks
from wsss.config import Config, from_dict, load, overrides_of, to_yaml
from wsss.data import open_dataset
from wsss.data.base import SPLITS, Dataset
from wsss.errors import DataError, SettingsError, StageError, StoreError, WsssError, one_of, require
from wsss.execution import Execution, Watcher, asked_for, summarise
from wsss.figures import draw_images, draw_run
from wsss.gallery import image_ious, known_images, label_of, last_measured, spread, tagged
from wsss.memory import keep_freed_memory
from wsss.pipeline import Plan, plan
from wsss.plotting import PALETTES
from wsss.prediction import Predictor, predict_files
from wsss.ranks import Pool
from wsss.reports import html_report, text_report
from wsss.stages.base import Workbench, is_done
from wsss.store import Artefact, Store, write_atomically
from wsss.summary import FILE as SUMMARY
from wsss.summary import write_summary
from wsss.tasks.devices import choose_device, precision_of
from wsss.tracking import METRICS

CONFIG = "run.yaml"
FIGURES = "figures"


@dataclass(frozen=True)
class Drawing(os.PathLike[str]):
    """A PNG that was drawn; notebooks display it.

    Attributes:
        path: The file.
    """

    path: Path

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True)
class Run:
    """A finished or interrupted run.

    Attributes:
        folder: Its folder.
    """

    folder: Path

    @cached_property
    def config(self) -> Config:
        """Its configuration.

        Raises:
            StoreError: If its file is damaged.
            SettingsError: If its file names a setting that does not exist.
        """
        path = self.folder / CONFIG
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise _no_configuration(path, str(error).splitlines()[0]) from error
        if not isinstance(values, dict):
            raise _no_configuration(path, "it holds no settings")
        return from_dict(values)

    @property
    def ended(self) -> bool:
        """Whether it has finished."""
        return (self.folder / SUMMARY).exists()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Its summary; see ``summary.json``.

        Raises:
            StoreError: If the run has not finished, or its file is damaged.
        """
        if not self.ended:
            raise StoreError(f"run '{self.folder}' has not finished (it has no {SUMMARY}); start the same run again")
        path = self.folder / SUMMARY
        try:
            summary = json.loads(path.read_bytes())
        except ValueError as error:
            raise _no_summary(path, str(error)) from error
        if not isinstance(summary, dict) or not {"rounds", "stages"} <= summary.keys():
            raise _no_summary(path, "it lists no stages")
        return summary

    @cached_property
    def dataset(self) -> Dataset:
        """Its data set."""
        return open_dataset(self.config.data, self.config.labels)

    @cached_property
    def plan(self) -> Plan:
        """Its stages."""
        return plan(self.config, self.dataset, precision_of(self.config.trainer))

    @cached_property
    def store(self) -> Store:
        """The store of its artefacts; a relative store.root is the folder that contains the run."""
        root = Path(self.config.store.root)
        return Store(root if root.is_absolute() else self.folder.parent)

    def artefact(self, stage: str, round: int = 0) -> Artefact | None:
        """Return the artefact of a stage; None if the run has no such stage or it is not finished.

        A finished run has recorded its artefacts, so later changes of data or code do not matter.
        """
        key = self._keys.get((stage, round))
        if key is None:
            key = next((s.stage.key for s in self.plan if (s.stage.name, s.stage.round) == (stage, round)), None)
        if key is None:
            return None
        found = self.store.artefact(stage, key)
        return found if found.complete else None

    @property
    def _keys(self) -> dict[tuple[str, int], str]:
        """Recorded key of each stage and round; empty before the run has finished."""
        rows = self.summary.get("work", []) if self.ended else []
        return _first_keys((row["name"], row["round"], row["key"]) for row in rows)

    def _note_other_keys(self) -> None:
        """Warn about stages whose keys differ under the current code or data."""
        planned = _first_keys((step.stage.name, step.stage.round, step.stage.key) for step in self.plan)
        other = [name for (name, round), key in self._keys.items() if planned.get((name, round), key) != key]
        if other:
            console.note(
                f"run '{self.folder}' was made by another version of the code, or its data have changed: "
                f"{', '.join(dict.fromkeys(other))} may not be shown; run it again to update them"
            )

    def show(
        self,
        split: str | None = None,
        count: int | None = None,
        out: str | Path | None = None,
        *,
        images: Sequence[str] | None = None,
        of: str | None = None,
        worst: int | None = None,
        palette: str | None = None,
    ) -> Drawing:
        """Draw the results of all stages for some images.

        Args:
            split: ``train`` (default) or ``val``.
            count: Number of images, evenly spread over the split; 12 by default.
            out: PNG to write; by default in the run's figures.
            images: Names of images of either split.
            of: Name of a class: only images tagged with it.
            worst: Number of images, the worst first: by the mean IoU of their labels with the ground truth, or with
                ``of`` by the IoU of that class. The labels are those of the last stage of the final round: pseudo
                labels for ``train``, predictions for ``val``.
            palette: Colours of the labels, a name in ``PALETTES``; by default the run's.

        Returns:
            The file, which notebooks display.

        Raises:
            SettingsError: If the selections contradict each other, or a number is not positive.
            DataError: If an image or a class is unknown, or no image is left to show.
            StageError: If ``worst`` is given and no labels are evaluated.
        """
        palette = self.config.palette if palette is None else palette
        one_of("palette", palette, tuple(PALETTES))
        if images is not None:
            alone = all(value is None for value in (split, count, of, worst))
            require(alone, "images", "must be given without another choice of images", list(images))
            chosen, remarks, name = known_images(self.dataset, images), dict[str, str](), "images"
        else:
            chosen, remarks = self._chosen(split or "train", count, of, worst)
            name = "_".join([split or "train", *(["worst"] if worst else [])])
        if not chosen:
            raise DataError(f"data set '{self.dataset.name}' has no image to show; choose another split or class")
        path = Path(out) if out else self.folder / FIGURES / f"show_{name}.png"
        self._note_other_keys()
        draw_images(path, self.dataset, self.plan, self.store, chosen, remarks, palette=palette)
        return Drawing(path)

    def _chosen(
        self, split: str, count: int | None, of: str | None, worst: int | None
    ) -> tuple[list[str], dict[str, str]]:
        """Choose images, and a remark on each."""
        one_of("split", split, SPLITS)
        require(count is None or worst is None, "worst", "must be given without count", worst)
        for name, number in (("count", count), ("worst", worst)):
            require(number is None or number >= 1, name, "must be at least 1", number)
        label = None if of is None else label_of(self.dataset, of)
        ids: Sequence[str] = self.dataset.ids(split)
        ids = ids if label is None else tagged(self.dataset, ids, label)
        if worst is None:
            return spread(ids, 12 if count is None else count), {}
        ious = self._ious(split, label)
        ranked = sorted((image for image in ids if image in ious), key=lambda image: ious[image])[:worst]
        return ranked, {image: f"{'' if of is None else of} IoU {100 * ious[image]:.1f}".strip() for image in ranked}

    def _ious(self, split: str, label: int | None) -> Mapping[str, float]:
        step = last_measured(self.plan, self.store, split, self.final_round if self.ended else None)
        ious = {} if step is None else image_ious(self.dataset, self.store, step, label)
        if not ious:
            raise StageError(
                f"run '{self.folder}' has evaluated no labels of {split} images, so none can be the worst; "
                "choose images in another way, or continue the run on data with masks"
            )
        return ious

    def predict(self, *images: str | Path, out: str | Path | None = None) -> list[Path]:
        """Label images of any size with the segmenter of the final round.

        Args:
            images: Files, and folders of files.
            out: Folder for ``labels`` (palette PNGs) and ``overlays``; by default ``predictions`` in the run folder.

        Returns:
            The palette PNGs.

        Raises:
            StageError: If the run has no segmenter.
            StoreError: If the run has not finished.
            DataError: If there is no image, two have the same name, or one has none or cannot be read.
        """
        if not all(os.fspath(image) for image in images):
            raise DataError("an image has the empty name ''; give files, or folders of files")
        # without a final round, as after a call with until, it is not known whose segmenter is the result
        known = self.summary.get("final_round") is not None
        segmenter = self.artefact("segmenter", self.final_round) if known else None
        if segmenter is None:
            raise StageError(f"run '{self.folder}' has no trained segmenter; run it to its end, without until")
        with _threads(self.config):
            # the data are neither planned nor opened, as they may be on another machine
            predictor = Predictor(self.config, segmenter)
            paths, folder = [Path(image) for image in images], Path(out or self.folder / "predictions")
            return predict_files(predictor, paths, folder, palette=self.config.palette)

    @property
    def final_round(self) -> int:
        """The round whose segmenter is the result; 0 if there is none."""
        return int(self.summary.get("final_round") or 0)

    def table(self) -> str:
        """Table of stages, the segmenter's score and the location of the results, as plain text."""
        return text_report(self.summary, self.folder)

    def _repr_html_(self) -> str:
        if not self.ended:
            return f"<p>run {html.escape(str(self.folder))} has not finished; start the same run again</p>"
        return html_report(self.summary, self.folder)


def _first_keys(stages: Iterable[tuple[str, int, str]]) -> dict[tuple[str, int], str]:
    """Key of each stage and round; of two classifiers the second one is only the ceiling's."""
    keys: dict[tuple[str, int], str] = {}
    for name, round, key in stages:
        keys.setdefault((name, round), key)
    return keys


def run(*overrides: str, config: Config | None = None, **settings: object) -> Run:
    """Execute all stages of a configuration; results in the store are not computed again.

    Args:
        overrides: Settings as on the command line, ``"experiment=voc21"``, ``"rounds=1"``.
        config: A configuration instead of overrides.
        settings: More settings by name, ``rounds=1``, ``refine=["growing", "crf"]``.

    Returns:
        The run.

    Raises:
        WsssError: If something fails; the message says what to do.
    """
    if config is not None and (overrides or settings):
        raise SettingsError("config", "must be given alone, without other settings")
    if config is None:
        config = load([*overrides, *overrides_of(settings)])
    # normalise like other processes and later readers, which parse the file: there 4 becomes 4.0 where a float is due
    config = from_dict(yaml.safe_load(to_yaml(config)))
    others = ["join", os.fspath(config.folder / CONFIG)]
    with _threads(config):
        opened = _open(config)  # report errors before anything is written
        _claim(config)
        cuda = choose_device(config.trainer.accelerator).type == "cuda"
        with ranks.gathered(config.trainer.devices, others, config.folder / "logs", cuda=cuda):
            take_part(config, opened)
    return Run(config.folder)


class Opened(NamedTuple):
    """Data set, plan and resolved precision of a configuration."""

    dataset: Dataset
    plan: Plan
    precision: str


def _open(config: Config) -> Opened:
    """Open the data and plan the stages without writing anything.

    Raises:
        WsssError: If the data or the settings are invalid.
    """
    dataset = open_dataset(config.data, config.labels)
    precision = precision_of(config.trainer)
    planned = plan(config, dataset, precision)
    asked_for(config, [step.stage for step in planned])
    return Opened(dataset, planned, precision)


def _claim(config: Config) -> None:
    """Write the configuration to the run's folder; results of another configuration of the same name are removed.

    So are figures in another palette.
    """
    folder = config.folder
    try:
        left = Run(folder)
        if left.config.palette != config.palette:
            shutil.rmtree(folder / FIGURES, ignore_errors=True)
        same = left.config.hash == config.hash and not (left.ended and left.summary.get("config") != config.hash)
    except WsssError:
        same = False
    if not same and (folder / CONFIG).exists():
        for name in (SUMMARY, METRICS):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / FIGURES, ignore_errors=True)
        for link in folder.glob("[0-9]*_*"):
            if link.is_symlink():
                link.unlink(missing_ok=True)
    write_atomically(folder / CONFIG, to_yaml(config).encode())


def take_part(config: Config, opened: Opened) -> None:
    """Execute this process's part of a run."""
    keep_freed_memory()
    dataset, planned, precision = opened
    watcher = Watcher()
    pool = Pool(max(1, ranks.cores() // ranks.world().size))
    bench = Workbench(
        store=Store(Path(config.store.root)),
        dataset=dataset,
        pool=pool,
        trainer=config.trainer,
        precision=precision,
        seed=config.seed,
        watcher=watcher,
    )
    execution = Execution(config, dataset, planned, bench, watcher)
    try:
        report = execution.run()
        if ranks.world().leads:
            summary = summarise(config, dataset, report, bench, planned.price)
            if _covers(Run(config.folder), summary):
                watcher.say(f"run '{config.folder}' has gone further before, so its summary stays as it is")
            else:
                write_summary(config.folder, summary)
            redraw = not all(row["cached"] for row in report.work)
            draw_run(config.folder, dataset, planned, bench.store, palette=config.palette, redraw=redraw)
        ranks.barrier()  # otherwise other processes might look for the summary before it is written
    except WsssError:
        watcher.say(f"to continue, run the same command again; everything finished is kept in '{config.store.root}'")
        raise
    finally:
        pool.close()


def _covers(run: Run, summary: Mapping[str, Any]) -> bool:
    """Whether a run's summary contains all stages of another one, and more."""
    try:
        before, now = (
            {(row["name"], row["round"], row["key"]) for row in rows["work"]}
            for rows in (run.summary if run.ended else {"work": []}, summary)
        )
    except (StoreError, KeyError, TypeError):
        return False
    return now < before


@contextmanager
def _threads(config: Config) -> Iterator[None]:
    """Divide the cores among the processes of a run."""
    before = torch.get_num_threads()
    count = config.trainer.threads or max(1, ranks.cores() // config.trainer.devices)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def join(path: Path) -> None:
    """Join a run that another process leads.

    Args:
        path: The ``run.yaml`` of the run.

    Raises:
        StoreError: If its file is missing or damaged.
    """
    config = Run(path.parent).config
    parent = os.environ.get(ranks.PARENT)
    if parent:
        ranks.die_with_parent(int(parent))
    with console.quiet(), _threads(config):
        ranks.join(cuda=choose_device(config.trainer.accelerator).type == "cuda")
        try:
            take_part(config, _open(config))
        finally:
            ranks.leave()


def _no_configuration(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"'{path}' is not a run's configuration ({reason}); restore the file, or start the same run again"
    )


def _no_summary(path: Path, reason: str) -> StoreError:
    return StoreError(f"'{path}' is not a run's summary ({reason}); start the same run again to rewrite it")


def load_run(path: str | Path) -> Run:
    """Open the folder of a run.

    Raises:
        StoreError: If the folder does not contain a run.
    """
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        raise StoreError(
            f"'{folder}' is not a run (it has no {CONFIG}); runs are in the folder store.root, named at the end of each"
        )
    return Run(folder)


def dry_run(config: Config) -> str:
    """Table of what a run would do: stage, round, key, and whether it is cached, to do, or left out.

    Raises:
        SettingsError: If ``until`` or ``start`` names no stage.
    """
    store = Store(Path(config.store.root))
    stages = [step.stage for step in _open(config).plan]
    start, until = asked_for(config, stages)
    rows = [
        [
            stage.title,
            stage.key,
            "cached" if is_done(store, stage) else "to do" if start <= place <= until else "left out",
        ]
        for place, stage in enumerate(stages)
    ]
    return console.format_table(f"run {config.folder}", ["stage", "key", "store"], rows)
