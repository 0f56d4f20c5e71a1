"""What training may see of the labels, where they come from, what is wrong with them, and what they cost."""

from dataclasses import dataclass, field, fields

from wsss.annotations.base import KINDS
from wsss.annotations.cost import CostSettings
from wsss.errors import SettingsError, nearest, one_of, require
from wsss.functional.spreading import SpreadSettings

SOURCES = ("simulated", "manifest")
PER = ("instance", "class")


@dataclass(frozen=True, kw_only=True)
class PointSettings:
    """Points: how simulated ones are placed, and how large each is."""

    per: str = "instance"
    """What gets a click each: every ``instance``, or the largest piece of every ``class``."""
    spread: float = 0.35
    """How far clicks stray from the middle of a thing, in its thicknesses; 0 never does, 0.35 strays as people do."""
    background: int = 1
    """Clicks on the background of each image."""
    radius: int = 2
    """Pixels around a click that take its label, simulated or not."""

    def __post_init__(self) -> None:
        one_of("per", self.per, PER)
        require(self.spread >= 0, "spread", "must not be negative", self.spread)
        require(self.background >= 0, "background", "must not be negative", self.background)
        require(0 <= self.radius <= 50, "radius", "must lie in [0, 50]", self.radius)


@dataclass(frozen=True, kw_only=True)
class ScribbleSettings:
    """Scribbles: how simulated ones run."""

    length: float = 0.6
    """Length of a stroke, as a share of the longest way through the middle of the thing."""
    width: int = 3
    """Width of the pen in pixels."""
    strokes: int = 3
    """Most strokes on one thing, and on the background; a further one where a large part is far from the rest."""
    spacing: float = 0.15
    """Distance from all strokes beyond which a part is far, and its least side, in longer sides of the image."""
    background: bool = True
    """Whether the background gets strokes too."""

    def __post_init__(self) -> None:
        require(0 < self.length <= 1, "length", "must lie in (0, 1]", self.length)
        require(1 <= self.width <= 99, "width", "must lie in [1, 99]", self.width)
        require(1 <= self.strokes <= 99, "strokes", "must lie in [1, 99]", self.strokes)
        require(0 < self.spacing <= 1, "spacing", "must lie in (0, 1]", self.spacing)


@dataclass(frozen=True, kw_only=True)
class BoxSettings:
    """Boxes: how simulated ones lie, and what is made of a box."""

    loosen: float = 0.0
    """How far each side lies outside of the thing, as a share of the box's height or width."""
    reset_below: float = 0.3
    """Share of its box below which a thing's pseudo labels are replaced by the whole box (SDI); 0 replaces none."""
    grabcut: bool = True
    """Whether things are cut out of their boxes by colour (SDI's rules); else only what lies outside is settled."""
    core: float = 0.0
    """Depth inside of what was cut out from which it is settled, in halves of its box's smaller side; 0 settles all."""

    def __post_init__(self) -> None:
        require(0 <= self.loosen <= 1, "loosen", "must lie in [0, 1]", self.loosen)
        require(0 <= self.core <= 2, "core", "must lie in [0, 2]", self.core)
        require(0 <= self.reset_below <= 1, "reset_below", "must lie in [0, 1]", self.reset_below)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """Mistakes that simulated labels have, so that one can ask what they cost."""

    missing_tags: float = 0.0
    """Share of the classes besides an image's largest that are not tagged; other kinds don't name them either."""
    wrong_tags: float = 0.0
    """Share of images that are tagged with one class that is not there."""
    missed_clicks: float = 0.0
    """Share of clicks that land just beside their thing."""
    stroke_jitter: float = 0.0
    """How far the corners of strokes stray, in pixels (standard deviation)."""
    box_jitter: float = 0.0
    """How far each side of a box strays, as a share of the box's height or width (standard deviation)."""

    def __post_init__(self) -> None:
        for name in ("missing_tags", "wrong_tags", "missed_clicks"):
            require(0 <= getattr(self, name) <= 1, name, "must lie in [0, 1]", getattr(self, name))
        require(0 <= self.stroke_jitter <= 100, "stroke_jitter", "must lie in [0, 100]", self.stroke_jitter)
        require(0 <= self.box_jitter <= 1, "box_jitter", "must lie in [0, 1]", self.box_jitter)


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """What training may see."""

    kinds: tuple[str, ...] = ("tags",)
    """Kinds of labels that training may see: any of tags, points, scribbles and boxes."""
    source: str = "simulated"
    """Where they come from: ``simulated`` (tags as the data has them, the rest from its masks), or ``manifest``."""
    manifest: str | None = None
    """File of labels to read, as `wsss data import` writes it."""
    masks: int = 0
    """So many training images show their full mask, one of the manifest if it has any; they are drawn from the seed."""
    budget_seconds: float | None = None
    """Seconds of work that may be spent on labels; images beyond it are not seen at all. null labels all images."""
    full_schedule: bool = True
    """Whether images within a budget are shown so often that trainings take as many steps as on all images."""
    seed: int = 0
    """Where simulated labels, their mistakes and the order of images within a budget come from."""
    points: PointSettings = field(default_factory=PointSettings)
    """Points."""
    scribbles: ScribbleSettings = field(default_factory=ScribbleSettings)
    """Scribbles."""
    boxes: BoxSettings = field(default_factory=BoxSettings)
    """Boxes."""
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    """Mistakes of simulated labels."""
    spread: SpreadSettings = field(default_factory=SpreadSettings)
    """How far settled labels reach in the first scores."""
    cost: CostSettings = field(default_factory=CostSettings)
    """Seconds that a person needs for labels."""

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
        """Refuse settings of labels that are drawn where none are."""
        plain = LabelSettings()
        for section, names in DRAWN.items():
            own, usual = getattr(self, section), getattr(plain, section)
            for name in names:
                value = getattr(own, name)
                require(
                    value == getattr(usual, name),
                    f"{section}.{name}",
                    "must be left alone with labels.source=manifest, it is for drawn labels only",
                    value,
                )


DRAWN = {
    "points": ("per", "spread", "background"),
    "scribbles": tuple(entry.name for entry in fields(ScribbleSettings)),
    "boxes": ("loosen",),
    "noise": tuple(entry.name for entry in fields(NoiseSettings)),
}
"""What says how simulated labels are drawn, by section; of labels that were given nothing reads it."""
