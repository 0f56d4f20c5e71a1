"""Metrics of a run: plain rows in ``metrics.jsonl``, and beside them one wandb run a stage.

The only module that imports wandb, and it does so when a stage starts to work, not before. By default wandb is offline:
it needs no account, sends nothing, and everything it writes lies inside the run folder. What a run has come to never
hangs on wandb: the plain rows and the store have all of it.
"""

import contextlib
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss import console
from wsss.errors import StoreError, WsssError, one_of, require

if TYPE_CHECKING:
    from wsss.types import Image, LabelMap

METRICS = "metrics.jsonl"
"""Name of the file in the run folder that takes a row for whatever is logged."""

LONGEST_SIDE = 512
"""Pictures are logged with no side longer than this many pixels."""

PATIENCE = 60
"""Seconds that an online stage waits at its end for what is still to be sent; `wandb sync` sends the rest."""


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Where metrics go besides the plain files."""

    mode: str = "offline"
    """What wandb does: ``offline`` writes into the run folder, ``online`` sends to a server, ``none`` keeps it out."""

    project: str = "wsss"
    """Project that wandb files the run under."""

    entity: str | None = None
    """User or team that owns the wandb project; None takes the account's own."""

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("offline", "online", "none"))
        require(bool(self.project), "project", "must be a name", self.project)


@dataclass(frozen=True)
class Masked:
    """An image under the labels that a stage gave it.

    Attributes:
        name: Name of the image.
        image: RGB bytes.
        labels: The labels, of the image's size.
        truth: The true labels; None where nobody knows.
    """

    name: str
    image: "Image"
    labels: "LabelMap"
    truth: "LabelMap | None"


class Tracker:
    """Takes what one stage reports.

    Args:
        stage: Name of the stage; stands in every row.
        file: The run's ``metrics.jsonl``.
        run: The wandb run of the stage; None without wandb.

    Attributes:
        lost: Whether wandb has failed; rows are written all the same.
    """

    def __init__(self, stage: str, file: Path, run: Any = None) -> None:  # noqa: ANN401 - wandb is not loaded here
        self._stage = stage
        self._file = file
        self._run = run
        self.lost = False

    def log(self, metrics: Mapping[str, object]) -> None:
        """Add a row of metrics, such as those of an epoch."""
        self._append(metrics)
        self._tell(lambda run: run.log(dict(metrics)))

    def masks(self, name: str, images: Iterable[Masked], classes: Sequence[str]) -> None:
        """Show images under their labels and, where it is known, the truth: ``prediction`` and ``ground_truth``.

        Args:
            name: What the pictures are called; each is ``name/number``, so that the stages of a run line up.
            images: The images; without wandb nobody asks for them.
            classes: Names of the C foreground classes.
        """
        if self._run is None:
            return
        from wsss.types import IGNORE

        names = {0: "background", **dict(enumerate(classes, start=1)), IGNORE: "unknown"}
        shown = {f"{name}/{place}": masked for place, masked in enumerate(images)}
        self._tell(lambda run: run.log({key: _wandb_image(masked, names) for key, masked in shown.items()}))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; None marks an empty cell."""
        data = [list(row) for row in rows]
        self._append({"table": name, "columns": list(columns), "rows": data})
        self._tell(lambda run: run.log({name: _wandb_table(columns, data)}))

    def artefact(self, name: str, file: Path, about: Mapping[str, object]) -> None:
        """Refer to what the stage left, without copying it.

        Args:
            name: What it is called, of letters, digits, ``-``, ``_`` and ``.``; equal content is the same version.
            file: The file that lists all others with their digests.
            about: What else is to be known of it.
        """
        self._tell(lambda run: run.log_artifact(_wandb_reference(name, file, about)))

    def summary(self, values: Mapping[str, object]) -> None:
        """Set what the stage came to in the end."""
        self._append({"summary": dict(values)})
        self._tell(lambda run: run.summary.update(dict(values)))

    def close(self, exit_code: int) -> None:
        """End the wandb run; one that has failed is said to have."""
        self._tell(lambda run: run.finish(exit_code=exit_code))

    def _tell(self, what: Callable[[Any], object]) -> None:
        """Let wandb know; where it fails, the user is told, and the stage goes on without it."""
        if self._run is None:
            return
        try:
            what(self._run)
        except Exception as error:  # noqa: BLE001 - wandb's errors have no common base
            self._run, self.lost = None, True
            console.note(f"wandb has failed ({_said(error)}); the run goes on without it, {METRICS} has every row")

    def _append(self, values: Mapping[str, object]) -> None:
        row = json.dumps(_plain({"stage": self._stage, **values}), allow_nan=False)
        _append_line(self._file, row.encode())


class Tracking:
    """Tracks the stages of a run, one after the other.

    Args:
        settings: Whether and how wandb takes part.
        folder: The run folder.
        run_id: Name of the run; groups its stages in wandb.
    """

    def __init__(self, settings: TrackingSettings, folder: Path, run_id: str) -> None:
        self._settings = settings
        self._folder = folder
        self._run_id = run_id
        self._started = False
        self._lost = False

    @contextlib.contextmanager
    def stage(self, stage: str, config: Mapping[str, object]) -> Iterator[Tracker]:
        """Track one stage while it works.

        A wandb that can't even start stops the first stage, for nothing is lost yet; one that fails later is told of
        and left out from there on.

        Args:
            stage: Name of the stage, with its round where it has one.
            config: Plain settings to show beside the metrics.

        Yields:
            What takes the metrics.

        Raises:
            StoreError: If the run folder can't be written.
            WsssError: If wandb can't start.
        """
        file = self._folder / METRICS
        _end_last_line(file)
        if self._settings.mode == "none" or self._lost:
            yield Tracker(stage, file)
            return
        with _wandb_environment(self._folder, offline=self._settings.mode == "offline"):
            tracker = Tracker(stage, file, self._start(stage, config))
            failed = 1
            try:
                yield tracker
                failed = 0
            finally:
                tracker.close(failed)
                self._lost = self._lost or tracker.lost

    def _start(self, stage: str, config: Mapping[str, object]) -> Any:  # noqa: ANN401 - wandb is not loaded here
        try:
            run = _wandb_run(self._settings, self._folder, self._run_id, stage, config)
        except Exception as error:
            if not self._started:
                cure = "run with tracking.mode=none"
                if self._settings.mode == "online":
                    cure = "log in with `wandb login`, or run with tracking.mode=offline"
                raise WsssError(f"wandb can't start ({_said(error)}); {cure}") from error
            self._lost = True
            console.note(f"wandb can't start ({_said(error)}); the run goes on without it, {METRICS} has every row")
            return None
        self._started = True
        return run


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a run, the oldest first; a row that a kill cut short is left out."""
    file = folder / METRICS
    rows = []
    for line in file.read_bytes().splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def _wandb_run(settings: TrackingSettings, folder: Path, run_id: str, stage: str, config: Mapping[str, object]) -> Any:  # noqa: ANN401 - wandb's own type is not loaded
    import wandb

    return wandb.init(
        mode="online" if settings.mode == "online" else "offline",
        project=settings.project,
        entity=settings.entity,
        id=uuid.uuid4().hex[:12],
        group=run_id,
        job_type=stage,
        name=f"{run_id} {stage}",
        config=dict(config),
        dir=str(folder),
        reinit="create_new",
        settings=_wandb_settings(),
    )


def _wandb_image(masked: Masked, names: Mapping[int, str]) -> Any:  # noqa: ANN401 - wandb's own type is not loaded
    import wandb

    step = -(-max(masked.labels.shape) // LONGEST_SIDE)
    layers = {"prediction": masked.labels, "ground_truth": masked.truth}
    masks = {
        layer: {"mask_data": labels[::step, ::step].numpy(), "class_labels": dict(names)}
        for layer, labels in layers.items()
        if labels is not None
    }
    pixels = masked.image[:, ::step, ::step].permute(1, 2, 0).numpy()
    return wandb.Image(pixels, caption=masked.name, masks=masks)


def _wandb_table(columns: Sequence[str], rows: list[list[object]]) -> Any:  # noqa: ANN401 - as above
    import wandb

    return wandb.Table(columns=list(columns), data=rows, allow_mixed_types=True)


def _wandb_reference(name: str, file: Path, about: Mapping[str, object]) -> Any:  # noqa: ANN401 - as above
    import wandb

    made = wandb.Artifact(name, type="stage", metadata=dict(about))
    # of one small file, whose content is checked: a reference to a folder would list each of its thousands of files
    made.add_reference(file.resolve().as_uri(), checksum=True)
    return made


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _wandb_settings() -> Any:  # noqa: ANN401 - wandb's own type is not loaded
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        finish_timeout=PATIENCE,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


@contextlib.contextmanager
def _wandb_environment(folder: Path, *, offline: bool) -> Iterator[None]:
    """Keep wandb's files inside the run folder, its reports to its makers off, and a user's own variables out of it."""
    place = folder / "wandb"
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)  # wandb falls back to a temporary folder where this one is missing
    own = {
        "WANDB_DIR": str(folder),
        "WANDB_DATA_DIR": str(place / "data"),
        "WANDB_CACHE_DIR": str(place / "cache"),
        "WANDB_ARTIFACT_DIR": str(place / "artifacts"),
        "WANDB_ERROR_REPORTING": "false",
    }
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    if offline:
        own["WANDB_CONFIG_DIR"] = str(place / "config")
        for name in before:
            del os.environ[name]
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
        os.environ.update(before)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Put null where JSON has no word for a number."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _append_line(file: Path, line: bytes) -> None:
    """Append a line in one write, so that lines of several processes never mix."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"'{file}' can't be written ({error.strerror}); free space there or choose another store.root"
        ) from error


def _end_last_line(file: Path) -> None:
    """Close a line that a kill cut short, so that the next row starts on its own."""
    content = file.read_bytes() if file.exists() else b""
    if content and not content.endswith(b"\n"):
        _append_line(file, b"")
