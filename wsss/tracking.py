"""Metrics of a run: plain rows in ``metrics.jsonl``, and beside them one wandb run a stage.

The only module that imports wandb, and it does so when a stage starts to work, not before. By default wandb is offline:
it needs no account, sends nothing, and everything it writes lies inside the run folder.
"""

import contextlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import StoreError, WsssError, one_of, require

METRICS = "metrics.jsonl"
"""Name of the file in the run folder that takes a row for whatever is logged."""


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


class Tracker:
    """Takes what one stage reports.

    Args:
        stage: Name of the stage; stands in every row.
        file: The run's ``metrics.jsonl``.
        run: The wandb run of the stage; None without wandb.
    """

    def __init__(self, stage: str, file: Path, run: Any = None) -> None:  # noqa: ANN401 - wandb is not loaded here
        self._stage = stage
        self._file = file
        self._run = run

    def log(self, metrics: Mapping[str, object]) -> None:
        """Add a row of metrics, such as those of an epoch."""
        self._append(metrics)
        if self._run is not None:
            self._run.log(dict(metrics))

    def image(self, name: str, path: Path) -> None:
        """Show a picture that lies in the run folder."""
        if self._run is not None:
            import wandb

            self._run.log({name: wandb.Image(str(path))})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; None marks an empty cell."""
        self._append({"table": name, "columns": list(columns), "rows": [list(row) for row in rows]})
        if self._run is not None:
            import wandb

            data = [list(row) for row in rows]
            self._run.log({name: wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)})

    def summary(self, values: Mapping[str, object]) -> None:
        """Set what the stage came to in the end."""
        self._append({"summary": dict(values)})
        if self._run is not None:
            self._run.summary.update(dict(values))

    def _append(self, values: Mapping[str, object]) -> None:
        row = json.dumps(_plain({"stage": self._stage, **values}), allow_nan=False)
        _append_line(self._file, row.encode())


@contextlib.contextmanager
def track(
    settings: TrackingSettings, folder: Path, run_id: str, stage: str, config: Mapping[str, object]
) -> Iterator[Tracker]:
    """Track one stage while it works.

    Args:
        settings: Whether and how wandb takes part.
        folder: The run folder.
        run_id: Name of the run; groups its stages in wandb.
        stage: Name of the stage, with its round where it has one.
        config: Plain settings to show beside the metrics.

    Yields:
        What takes the metrics.

    Raises:
        StoreError: If the run folder can't be written.
        WsssError: If an online run can't start.
    """
    file = folder / METRICS
    _end_last_line(file)
    if settings.mode == "none":
        yield Tracker(stage, file)
        return
    with _wandb_run(settings, folder, run_id, stage, config) as run:
        yield Tracker(stage, file, run)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a run, the oldest first; a row that a kill cut short is left out."""
    file = folder / METRICS
    rows = []
    for line in file.read_bytes().splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


@contextlib.contextmanager
def _wandb_run(
    settings: TrackingSettings, folder: Path, run_id: str, stage: str, config: Mapping[str, object]
) -> Iterator[Any]:
    with _wandb_environment(folder, offline=settings.mode == "offline"):
        import wandb

        try:
            run = wandb.init(
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
        except wandb.errors.Error as error:
            raise WsssError(
                f"wandb can't start ({error}); log in with `wandb login`, or run with tracking.mode=offline"
            ) from error
        failed = 1
        try:
            yield run
            failed = 0
        finally:
            run.finish(exit_code=failed)


def _wandb_settings() -> Any:  # noqa: ANN401 - wandb's own type is not loaded
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
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
