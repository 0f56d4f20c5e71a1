"""Checks whether the required libraries are installed in supported versions and can be imported."""

import importlib
import platform
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

MODULES = {
    "connected-components-3d": "cc3d",
    "hydra-core": "hydra",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pydensecrf2": "pydensecrf.densecrf",
    "pytorch-lightning": "pytorch_lightning",
    "scikit-image": "skimage",
    "torch-geometric": "torch_geometric",
}
"""Import names of libraries whose modules have other names."""

FIRST = ("torch", "torchvision", "pytorch-lightning", "torch-geometric", "pydensecrf2", "wandb")
"""Libraries that are listed first; the others follow in alphabetical order."""

REINSTALL = "run `uv sync` in the project, or `pip install --force-reinstall {name}`"


@dataclass(frozen=True)
class Line:
    """One line of the machine report.

    Attributes:
        name: The checked item.
        found: The result.
        cure: How to fix it; None if all is well.
        required: Whether a run needs it; otherwise the cure is only advice.
    """

    name: str
    found: str
    cure: str | None = None
    required: bool = True

    @property
    def state(self) -> str:
        """Ok, advice or broken."""
        if self.cure is None:
            return "ok"
        return "broken" if self.required else "advice"


def requirements() -> list[tuple[str, str]]:
    """Names of the libraries that the package requires, and their supported versions.

    Returns:
        Pairs such as ``torch`` and ``>=2.11``; only the names of the most important ones if the package is used without
        being installed.
    """
    try:
        listed = metadata.requires("wsss") or []
    except metadata.PackageNotFoundError:
        return [(name, "") for name in FIRST]
    found = {}
    for text in listed:
        match = re.match(r"([\w.-]+)\s*([^;]*)(;.*extra.*)?", text)
        if match and not match[3]:
            found[match[1]] = match[2].strip()
    first = [name for name in FIRST if name in found]
    return [(name, found[name]) for name in [*first, *sorted(set(found) - set(first))]]


def check_python() -> Line:
    """Check whether this Python version is supported."""
    try:
        rule = metadata.metadata("wsss")["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        rule = ""
    version = platform.python_version()
    return Line(
        "Python", version, None if satisfies(version, rule) else f"must be {rule}; run `uv sync` in the project"
    )


def check_library(name: str, rule: str, load_module: Callable[[str], object] = importlib.import_module) -> Line:
    """Check whether a library is installed in a supported version and can be imported.

    Args:
        name: Its name in the package index.
        rule: Supported versions, such as ``>=2.6.6,<3``; empty allows all.
        load_module: Imports a module by its name.
    """
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Line(name, "missing", REINSTALL.format(name=name))
    if not satisfies(version, rule):
        return Line(name, version, f"must be {rule}; {REINSTALL.format(name=name)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_module(MODULES.get(name, name))
    except Exception as error:  # noqa: BLE001 - any error on import is to be reported
        said = " ".join(str(error).split()) or type(error).__name__
        return Line(name, version, f"can't be imported ({said}); {REINSTALL.format(name=name)}")
    return Line(name, version)


def satisfies(version: str, rule: str) -> bool:
    """Whether a version satisfies a rule made of ``>=``, ``>``, ``<``, ``<=``, ``==`` and ``!=``, separated by commas.

    >>> satisfies("2.15.0+cu126", ">=2.11"), satisfies("3.0", "<3,>=2.6.6")
    (True, False)
    """
    have = _numbers(version)
    return all(_keeps(have, sign, _numbers(wanted)) for sign, wanted in re.findall(r"([<>=!]=?)\s*([\d.]+)", rule))


def _keeps(have: tuple[int, ...], sign: str, need: tuple[int, ...]) -> bool:
    size = max(len(have), len(need))
    one, other = ((*numbers, *[0] * (size - len(numbers))) for numbers in (have, need))
    signs = {">=": one >= other, ">": one > other, "<=": one <= other, "<": one < other, "!=": one != other}
    return signs.get(sign, one == other)


def _numbers(version: str) -> tuple[int, ...]:
    """The release part of a version: the numbers before letters and plus signs."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()
