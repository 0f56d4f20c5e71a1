"""Weakly supervised semantic segmentation: from cheap labels to a network, every step stored and evaluated."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsss.checks.data import check_data
    from wsss.config import Config, load
    from wsss.data import open_dataset
    from wsss.errors import WsssError
    from wsss.functional.confusion import mean_iou
    from wsss.functional.dense_crf import dense_crf
    from wsss.functional.region_growing import grow_regions
    from wsss.runs import Run, load_run, run
    from wsss.scoring import score_folders
    from wsss.studies.study import Study, study

__version__ = "0.1.0"

_HOMES = {
    "Config": "wsss.config",
    "Run": "wsss.runs",
    "Study": "wsss.studies.study",
    "WsssError": "wsss.errors",
    "check_data": "wsss.checks.data",
    "dense_crf": "wsss.functional.dense_crf",
    "grow_regions": "wsss.functional.region_growing",
    "load": "wsss.config",
    "load_run": "wsss.runs",
    "mean_iou": "wsss.functional.confusion",
    "open_dataset": "wsss.data",
    "run": "wsss.runs",
    "score_folders": "wsss.scoring",
    "study": "wsss.studies.study",
}

__all__ = [
    "Config",
    "Run",
    "Study",
    "WsssError",
    "__version__",
    "check_data",
    "dense_crf",
    "grow_regions",
    "load",
    "load_run",
    "mean_iou",
    "open_dataset",
    "run",
    "score_folders",
    "study",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a name on first access, so that importing the package is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'wsss' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
