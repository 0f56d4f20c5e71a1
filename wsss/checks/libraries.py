"""Whether the libraries below are there, of versions that are taken, and load."""

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
"""What is imported of libraries whose modules have other names."""

FIRST = ("torch", "torchvision", "pytorch-lightning", "torch-geometric", "pydensecrf2", "wandb")
"""Libraries that are named first; the others follow in the order of their names."""

REINSTALL = "run `uv sync` in the project, or `pip install --force-reinstall {name}`"


@dataclass(frozen=True)
class Line:
    """One thing about the machine.

    Attributes:
        name: What it is.
        found: What was found.
        cure: What to do about it; None where all is well.
        required: Whether a run can't do without; otherwise the cure is only advice.
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
    """Names of the libraries that the package needs, and the versions that it takes of each.

    Returns:
        Pairs such as ``torch`` and ``>=2.11``; only the names of the most important ones where the package is used
        without being installed.
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
    """Whether this Python is one of those that the package takes."""
    try:
        rule = metadata.metadata("wsss")["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        rule = ""
    version = platform.python_version()
    return Line(
        "Python", version, None if satisfies(version, rule) else f"must be {rule}; run `uv sync` in the project"
    )


def check_library(name: str, rule: str, load_module: Callable[[str], object] = importlib.import_module) -> Line:
    """Whether a library is there, of a version that is taken, and can be imported.

    Args:
        name: What it is called where it is installed from.
        rule: Versions that are taken, such as ``>=2.6.6,<3``; empty takes all.
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
    except Exception as error:  # noqa: BLE001 - whatever keeps a library from loading is what is to be told
        said = " ".join(str(error).split()) or type(error).__name__
        return Line(name, version, f"can't be imported ({said}); {REINSTALL.format(name=name)}")
    return Line(name, version)


def satisfies(version: str, rule: str) -> bool:
    """Whether a version keeps a rule made of ``>=``, ``>``, ``<``, ``<=``, ``==`` and ``!=``, separated by commas.

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
    """The release of a version: what stands before letters and plus signs."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()
