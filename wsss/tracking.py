"""Metrics of a run: plain rows in ``metrics.jsonl``, and in addition one wandb run per stage.

The only module that imports wandb, and only when a stage starts to work. By default wandb is offline: it needs no
account, sends nothing, and writes only inside the run folder. No result depends on wandb: the plain rows and the store
contain everything.
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
"""Name of the file in the run folder that receives a row for everything logged."""

LONGEST_SIDE = 512
"""Maximum side in pixels of logged images."""

PATIENCE = 60
"""Seconds that an online stage waits at its end for pending uploads; `wandb sync` sends the rest."""


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Tracking of metrics beside the plain files."""

    mode: str = "offline"
    """wandb mode: ``offline`` writes into the run folder, ``online`` sends to a server, ``none`` disables wandb."""

    project: str = "wsss"
    """Project of the run in wandb."""

    entity: str | None = None
    """User or team that owns the wandb project; None takes the account's default."""

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("offline", "online", "none"))
        require(bool(self.project), "project", "must be a name", self.project)


@dataclass(frozen=True)
class Masked:
    """An image with the labels of a stage.

    Attributes:
        name: Name of the image.
        image: RGB bytes.
        labels: The labels, of the image's size.
        truth: Ground truth; None if there is none.
    """

    name: str
    image: "Image"
    labels: "LabelMap"
    truth: "LabelMap | None"


class Tracker:
    """Receives the reports of one stage.

    Args:
        stage: Name of the stage; part of every row.
        file: The run's ``metrics.jsonl``.
        run: The wandb run of the stage; None without wandb.

    Attributes:
        lost: Whether wandb has failed; rows are still written.
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
        """Log images with their labels and, if available, ground truth: ``prediction`` and ``ground_truth``.

        Args:
            name: Name of the pictures; each is ``name/number``, so that the stages of a run line up.
            images: The images; not consumed without wandb.
            classes: Names of the C foreground classes.
        """
        if self._run is None:
            return
        from wsss.types import label_names

        names = label_names(classes)
        shown = {f"{name}/{place}": masked for place, masked in enumerate(images)}
        self._tell(lambda run: run.log({key: _wandb_image(masked, names) for key, masked in shown.items()}))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; None marks an empty cell."""
        data = [list(row) for row in rows]
        self._append({"table": name, "columns": list(columns), "rows": data})
        self._tell(lambda run: run.log({name: _wandb_table(columns, data)}))

    def artefact(self, name: str, file: Path, about: Mapping[str, object]) -> None:
        """Log a reference to the stage's artefact, without copying it.

        Args:
            name: Its name, of letters, digits, ``-``, ``_`` and ``.``; equal content is the same version.
            file: The file that lists all others with their digests.
            about: Further metadata.
        """
        self._tell(lambda run: run.log_artifact(_wandb_reference(name, file, about)))

    def summary(self, values: Mapping[str, object]) -> None:
        """Set the final results of the stage."""
        self._append({"summary": dict(values)})
        self._tell(lambda run: run.summary.update(dict(values)))

    def close(self, exit_code: int) -> None:
        """End the wandb run; failed ones are marked as such."""
        self._tell(lambda run: run.finish(exit_code=exit_code))

    def _tell(self, what: Callable[[Any], object]) -> None:
        """Call wandb; if it fails, the user is told, and the stage continues without it."""
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
        settings: Whether and how wandb is used.
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

        If wandb cannot start for the first stage, the run stops, as nothing is lost yet; if it fails later, the user is
        told and tracking continues without it.

        Args:
            stage: Name of the stage, with its round if it has one.
            config: Plain settings to show beside the metrics.

        Yields:
            The receiver of the metrics.

        Raises:
            StoreError: If the run folder cannot be written.
            WsssError: If wandb cannot start.
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
    """Read the rows of a run, oldest first; incomplete rows are left out."""
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
    # refer to one small file, whose content is checked: a reference to a folder would list thousands of files
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
    """Keep wandb's files inside the run folder, disable its error reports, and hide the user's own variables."""
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
    """Replace numbers that JSON cannot represent by null."""
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
    """End an incomplete line, so that the next row starts on its own."""
    content = file.read_bytes() if file.exists() else b""
    if content and not content.endswith(b"\n"):
        _append_line(file, b"")
