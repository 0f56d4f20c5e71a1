"""Settings of the labels used in training: kinds, source, simulated noise and cost."""

from dataclasses import dataclass, field, fields

from wsss.annotations.base import KINDS
from wsss.annotations.cost import CostSettings
from wsss.errors import SettingsError, nearest, one_of, require
from wsss.functional.spreading import SpreadSettings

SOURCES = ("simulated", "manifest")
PER = ("instance", "class")


@dataclass(frozen=True, kw_only=True)
class PointSettings:
    """Points: placement of simulated clicks, and the size of each click."""

    per: str = "instance"
    """Simulated clicks: one for every ``instance``, or one for the largest component of every ``class``."""
    spread: float = 0.35
    """Standard deviation of clicks around an object's middle, relative to its thickness; 0.35 is like human clicks."""
    background: int = 1
    """Number of clicks on the background of each image."""
    radius: int = 2
    """Radius in pixels of the disc around a click that gets its label, simulated or not."""

    def __post_init__(self) -> None:
        one_of("per", self.per, PER)
        require(self.spread >= 0, "spread", "must not be negative", self.spread)
        require(self.background >= 0, "background", "must not be negative", self.background)
        require(0 <= self.radius <= 50, "radius", "must lie in [0, 50]", self.radius)


@dataclass(frozen=True, kw_only=True)
class ScribbleSettings:
    """Scribbles: shape of simulated strokes."""

    length: float = 0.6
    """Length of a stroke, as a share of the longest path along the object's medial axis."""
    width: int = 3
    """Width of the pen in pixels."""
    strokes: int = 3
    """Maximum number of strokes per object, and on the background; each further one goes to a large uncovered part."""
    spacing: float = 0.15
    """Distance from all strokes beyond which a part is uncovered, and its minimum side, in longer image sides."""
    background: bool = True
    """Whether the background gets strokes too."""

    def __post_init__(self) -> None:
        require(0 < self.length <= 1, "length", "must lie in (0, 1]", self.length)
        require(1 <= self.width <= 99, "width", "must lie in [1, 99]", self.width)
        require(1 <= self.strokes <= 99, "strokes", "must lie in [1, 99]", self.strokes)
        require(0 < self.spacing <= 1, "spacing", "must lie in (0, 1]", self.spacing)


@dataclass(frozen=True, kw_only=True)
class BoxSettings:
    """Boxes: placement of simulated boxes, and the use of all boxes."""

    loosen: float = 0.0
    """Distance of each side from the object, as a share of the box's height or width."""
    reset_below: float = 0.3
    """Share of its box below which an object's pseudo labels are replaced by the whole box (SDI); 0: never."""
    tight: bool = False
    """Whether pseudo labels ignore the background in rows and columns of a box without a pixel of its class."""
    grabcut: bool = True
    """Whether objects are segmented in their boxes by GrabCut (SDI's rules); else only pixels outside are settled."""
    core: float = 0.0
    """Depth inside a cut-out object from which its pixels are settled, in halves of the box's shorter side; 0: all."""

    def __post_init__(self) -> None:
        require(0 <= self.loosen <= 1, "loosen", "must lie in [0, 1]", self.loosen)
        require(0 <= self.core <= 2, "core", "must lie in [0, 2]", self.core)
        require(0 <= self.reset_below <= 1, "reset_below", "must lie in [0, 1]", self.reset_below)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """Errors of simulated labels, to measure their effect."""

    missing_tags: float = 0.0
    """Share of an image's classes, besides its largest, that are missed by the tags and by all other kinds."""
    wrong_tags: float = 0.0
    """Share of images that are tagged with one absent class."""
    missed_clicks: float = 0.0
    """Share of clicks that land just outside of their object."""
    stroke_jitter: float = 0.0
    """Standard deviation of the noise on the corners of strokes, in pixels."""
    box_jitter: float = 0.0
    """Standard deviation of the noise on each side of a box, as a share of its height or width."""

    def __post_init__(self) -> None:
        for name in ("missing_tags", "wrong_tags", "missed_clicks"):
            require(0 <= getattr(self, name) <= 1, name, "must lie in [0, 1]", getattr(self, name))
        require(0 <= self.stroke_jitter <= 100, "stroke_jitter", "must lie in [0, 100]", self.stroke_jitter)
        require(0 <= self.box_jitter <= 1, "box_jitter", "must lie in [0, 1]", self.box_jitter)


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Labels that are used in training."""

    kinds: tuple[str, ...] = ("tags",)
    """Kinds of labels used in training: any of tags, points, scribbles and boxes."""
    source: str = "simulated"
    """Source of the labels: ``simulated`` (tags from the data, the rest from its masks), or ``manifest``."""
    manifest: str | None = None
    """Label file to read, as written by `wsss data import`."""
    masks: int = 0
    """Number of randomly drawn training images with a full mask, from the manifest if it has any."""
    budget_seconds: float | None = None
    """Annotation budget in seconds; images beyond it are not used at all. null labels all images."""
    full_schedule: bool = True
    """Whether images within a budget are repeated so that training takes as many steps as on all images."""
    seed: int = 0
    """Seed of simulated labels, their errors and the order of images within a budget."""
    points: PointSettings = field(default_factory=PointSettings)
    """Settings of points."""
    scribbles: ScribbleSettings = field(default_factory=ScribbleSettings)
    """Settings of scribbles."""
    boxes: BoxSettings = field(default_factory=BoxSettings)
    """Settings of boxes."""
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    """Errors of simulated labels."""
    spread: SpreadSettings = field(default_factory=SpreadSettings)
    """Spreading of annotated labels to nearby pixels in the first scores."""
    cost: CostSettings = field(default_factory=CostSettings)
    """Annotation times."""

    def __post_init__(self) -> None:
        weak = tuple(kind for kind in KINDS if kind != "masks")
        require(len(self.kinds) > 0, "kinds", f"must name one or more of {', '.join(weak)}", list(self.kinds))
        for kind in self.kinds:
            if kind == "masks":
                raise SettingsError("kinds", "takes no masks, few images have them; say how many by labels.masks=k")
            if kind not in weak:
                raise SettingsError("kinds", f"knows no {kind!r}; {nearest(kind, weak)}")
        require(len(set(self.kinds)) == len(self.kinds), "kinds", "may name a kind once", list(self.kinds))
        one_of("source", self.source, SOURCES)
        told = (self.source == "manifest") == (self.manifest is not None)
        require(told, "manifest", "must be given exactly when labels.source=manifest", self.manifest)
        if self.source == "manifest":
            self._require_nothing_drawn()
        require(self.masks >= 0, "masks", "must not be negative", self.masks)
        paid = self.budget_seconds is None or self.budget_seconds > 0
        require(paid, "budget_seconds", "must be positive or null", self.budget_seconds)
        require(0 <= self.seed < 2**31, "seed", "must lie in [0, 2^31)", self.seed)

    def _require_nothing_drawn(self) -> None:
        """Reject settings of simulated labels if the labels come from a manifest."""
        plain = LabelSettings()
        for section, names in DRAWN.items():
            own, usual = getattr(self, section), getattr(plain, section)
            for name in names:
                value = getattr(own, name)
                require(
                    value == getattr(usual, name),
                    f"{section}.{name}",
                    "must keep its default with labels.source=manifest, it applies to simulated labels only",
                    value,
                )


DRAWN = {
    "points": ("per", "spread", "background"),
    "scribbles": tuple(entry.name for entry in fields(ScribbleSettings)),
    "boxes": ("loosen",),
    "noise": tuple(entry.name for entry in fields(NoiseSettings)),
}
"""Settings of simulated labels, by section; they have no effect on given labels."""
