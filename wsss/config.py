"""The configuration: one tree of settings for the shell, notebooks and tests.

The settings are frozen dataclasses defined beside the code that uses them; here they are only assembled. Values are
parsed with Hydra's override grammar, and OmegaConf converts them to the types of the settings. The YAML files in
``experiments`` are named lists of overrides.
"""

import ast
import copy
import difflib
import inspect
import math
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from wsss.annotations.settings import LabelSettings
from wsss.data import DATASETS, DatasetSettings
from wsss.errors import SettingsError, offer, one_of, require
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.dsrg import DsrgSettings
from wsss.functional.seeds import SeedSettings
from wsss.functional.superpixels import SuperpixelSettings
from wsss.networks import NETWORKS
from wsss.networks.backbones import BACKBONES
from wsss.networks.classifier import NO_CLASS_WEIGHTS
from wsss.networks.timm_backbones import is_timm, possible_names
from wsss.plotting import PALETTES
from wsss.refine import REFINERS
from wsss.refine.settings import GrowingSettings
from wsss.stages.settings import CamSettings, PseudoLabelSettings, SelfTrainingSettings
from wsss.store import StoreSettings, digest_of
from wsss.tasks.settings import ClassifierSettings, GraphSettings, SegmenterSettings, TrainerSettings
from wsss.tasks.sparse_settings import SparseSettings
from wsss.tracking import TrackingSettings

DEFAULT_EXPERIMENT = "synthetic"
"""The experiment used if neither an experiment nor a data set is given."""

ELSEWHERE = ("store", "tracking", "trainer", "until", "start", "run", "experiment", "palette")
"""Settings that cannot change a result: locations, resources, output."""

RESERVED = ("store", "studies", "locks", ".", "..")
"""Names that no run folder may have: folders of these names are shared by all runs."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The complete configuration of a run."""

    experiment: str | None = None
    """Name of a file in experiments/, or a path to a YAML file; your own settings override those in it."""
    seed: int = 0
    """Seed of all randomness."""
    rounds: int = 2
    """Number of segmenter trainings: the first on labels from CAMs, later ones on labels from its own scores."""
    network: str = "mobilenet_v2"
    """Backbone: tiny, mobilenet_v2, mobilenet_v3_small or _large, squeezenet, resnet18, resnet50, or timm/<name>."""
    refine: tuple[str, ...] = ("growing", "graph", "crf")
    """Refiners of the labels, in this order: any list of growing, graph and crf; unused by dsrg and sparse."""
    ceiling: bool = False
    """Whether to also train a segmenter on ground truth, by cross entropy, to report percent of full supervision."""
    until: str | None = None
    """Last stage to run, `name` or `name:round`; a finished run keeps its summary of all stages."""
    start: str | None = None
    """First stage to run, `name` or `name:round`; results of earlier ones must be in the store."""
    run: str | None = None
    """Name of the run's folder; by default derived from the experiment and the configuration's hash."""
    palette: str = "voc"
    """Colours of labels in figures: voc, or colour_blind, which is distinguishable with any colour vision."""
    data: DatasetSettings = field(default_factory=DATASETS["synthetic"].settings)
    """The data set: data=synthetic, voc, coco or folder."""
    labels: LabelSettings = field(default_factory=LabelSettings)
    """Labels used in training."""
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    """Training of the classifier."""
    cams: CamSettings = field(default_factory=CamSettings)
    """Class activation maps."""
    seeds: SeedSettings = field(default_factory=SeedSettings)
    """Scores and seeds from class activation maps."""
    superpixels: SuperpixelSettings = field(default_factory=SuperpixelSettings)
    """Superpixels."""
    growing: GrowingSettings = field(default_factory=GrowingSettings)
    """Seeded region growing."""
    graph: GraphSettings = field(default_factory=GraphSettings)
    """Region graphs and their network."""
    crf: CrfSettings = field(default_factory=CrfSettings)
    """The dense CRF."""
    pseudo_labels: PseudoLabelSettings = field(default_factory=PseudoLabelSettings)
    """Training labels from the last refiner's scores."""
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    """Training of the segmenter, and prediction."""
    sparse: SparseSettings = field(default_factory=SparseSettings)
    """Losses on sparse annotations, with segmenter.supervision=sparse."""
    dsrg: DsrgSettings = field(default_factory=DsrgSettings)
    """Seeds that grow during training, with segmenter.supervision=dsrg."""
    self_training: SelfTrainingSettings = field(default_factory=SelfTrainingSettings)
    """Seeds from a segmenter's scores for the next round, and the stopping rule."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Devices, precision, processes."""
    store: StoreSettings = field(default_factory=StoreSettings)
    """Location of all results."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    """Experiment tracking with wandb."""

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", "must be at least 1", self.rounds)
        require(0 <= self.seed < 2**31, "seed", "must lie in [0, 2^31)", self.seed)
        named = self.run is None or (self.run not in RESERVED and not set(self.run) & set("/\\\0"))
        rule = "must be a folder's name, not a path, 'store', 'studies' or 'locks'; set store.root to move it"
        require(named, "run", rule, self.run)
        one_of("palette", self.palette, tuple(PALETTES))
        one_of("segmenter.network", self.segmenter.network, tuple(NETWORKS))
        known = possible_names(self.network) if is_timm(self.network) else BACKBONES
        if self.network not in known:
            raise unknown_name("network", self.network, [*known, *(() if is_timm(self.network) else ("timm/<name>",))])
        for name in self.refine:
            if name not in REFINERS:
                raise unknown_name("refine", name, REFINERS)
        require(len(set(self.refine)) == len(self.refine), "refine", "may name a refiner once", list(self.refine))
        settled = self.labels.kinds != ("tags",) or self.labels.masks > 0
        if self.segmenter.supervision == "sparse" and not settled:
            needs = (
                "must not be 'sparse' without pixel labels; set labels.kinds to points, scribbles or boxes, or masks"
            )
            raise SettingsError("segmenter.supervision", needs)
        pixel_loss = self.segmenter.loss == "cross_entropy" or self.segmenter.supervision == "pseudo_labels"
        rule = (
            f"must be cross_entropy with segmenter.supervision={self.segmenter.supervision}, which has its own losses"
        )
        require(pixel_loss, "segmenter.loss", rule, self.segmenter.loss)
        mapped = self.classifier.hidden == 0 or self.cams.method != "cam"
        require(mapped, "cams.method", NO_CLASS_WEIGHTS, self.cams.method)

    @property
    def dataset(self) -> str:
        """Name of the data set kind: synthetic, voc, coco or folder."""
        return next(name for name, entry in DATASETS.items() if type(self.data) is entry.settings)

    @property
    def hash(self) -> str:
        """Hash of the settings that can change a result, a precision that was asked for among them."""
        plain = to_dict(self)
        asked = {} if self.trainer.precision == "auto" else {"precision": self.trainer.precision}
        return digest_of({name: value for name, value in plain.items() if name not in ELSEWHERE} | asked)[:12]

    @property
    def folder(self) -> Path:
        """The run's folder, the same in every process."""
        label = Path(self.experiment).stem if self.experiment else self.dataset
        return Path(self.store.root) / (self.run or f"{label}-{self.hash[:8]}")


def to_dict(config: Config) -> dict[str, Any]:
    """Convert a configuration to plain values, with the kind of data set as ``data.name``."""
    plain = asdict(config)
    plain["data"] = {"name": config.dataset, **plain["data"]}
    return _listed(plain)


def _listed(value: Any) -> Any:  # noqa: ANN401 - plain values of any kind
    if isinstance(value, dict):
        return {name: _listed(entry) for name, entry in value.items()}
    return [_listed(entry) for entry in value] if isinstance(value, list | tuple) else value


def from_dict(values: Mapping[str, Any]) -> Config:
    """Create a configuration from the result of ``to_dict``.

    Raises:
        SettingsError: If a name is unknown or a value is invalid.
    """
    # all values are given, so the experiment is only a name: its file may have changed or moved
    return _assemble(written_leaves(values))


def load(overrides: Sequence[str] = ()) -> Config:
    """Compose the configuration; without an experiment and a data set it is ``experiment=synthetic``.

    Args:
        overrides: ``key=value`` in Hydra's grammar: ``rounds=3``, ``refine=[growing,crf]``, ``experiment=voc21``.

    Raises:
        SettingsError: If a key, name or value is invalid; the message suggests similar ones.
    """
    given = [split_override(override) for override in overrides]
    named = dict(given)
    if "experiment" not in named and "data" not in named:
        given.insert(0, ("experiment", DEFAULT_EXPERIMENT))
        named["experiment"] = DEFAULT_EXPERIMENT
    experiment = named.get("experiment", "null").strip("'\"")
    before = [] if experiment == "null" else _experiment_overrides(experiment)
    return _assemble([*before, *given])


def _assemble(pairs: Sequence[tuple[str, str]]) -> Config:
    """Create a configuration from names and written values; later ones take precedence."""
    merged = dict(pairs)
    kind = merged.pop("data", "synthetic").strip("'\"")
    if kind not in DATASETS:
        raise unknown_name("data", kind, DATASETS)
    _check_keys(merged, kind)
    return _compose(merged, kind)


def split_override(override: str) -> tuple[str, str]:
    """Split ``key=value`` into the name of the setting and its written value.

    Raises:
        SettingsError: If it does not have this form.
    """
    # callers from Python may pass any type
    key, equals, value = override.partition("=") if isinstance(override, str) else ("", "", "")
    if not equals or not key:
        raise SettingsError(repr(override), "is not a setting; write key=value, for example rounds=3")
    return _key(key.strip()), value


def _key(name: str) -> str:
    """``data: voc`` and ``data: {name: voc, …}`` both name the kind of data set."""
    return "data" if name == "data.name" else name


def _compose(merged: Mapping[str, str], kind: str) -> Config:
    """Parse the values with Hydra's grammar, and convert and check them by the types of the settings."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    node, texts = copy.deepcopy(_defaults(kind))
    overrides = [f"{key}={_quoted(value) if key in texts else value}" for key, value in merged.items()]
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            key = override.key_or_group
            if override.is_sweep_override():
                raise _several(key, merged[key], listed=OmegaConf.is_list(OmegaConf.select(node, key)))
            OmegaConf.update(node, key, override.value())
        plain: Any = OmegaConf.to_container(node, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _unreadable(error, merged) from error
    return _build(Config, plain, kind)


@cache
def _defaults(kind: str) -> tuple[Any, frozenset[str]]:
    """The settings for a kind of data set as a writable omegaconf tree, and the names of free-text settings."""
    from omegaconf import OmegaConf

    default = Config(data=DATASETS[kind].settings.__call__())
    node = OmegaConf.structured(default)
    _open(node)
    return node, frozenset(_texts(default))


def _texts(settings: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401 - any settings dataclass
    """Full names of the settings that take any text, such as paths."""
    hints = get_type_hints(type(settings))
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            yield from _texts(value, f"{prefix}{entry.name}.")
        elif hints[entry.name] in (str, str | None):
            yield f"{prefix}{entry.name}"


def _quoted(value: str) -> str:
    """Quote a text, so that paths may contain characters with a meaning in Hydra's grammar."""
    return value if value == "null" or value[:1] in ("'", '"') else written(value)


def _open(node: Any) -> None:  # noqa: ANN401 - an omegaconf node
    """Clear the read-only flag at every level: frozen dataclasses set it, which would prevent overrides."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, False)
    for name in node:
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none():
            _open(child)


def _several(key: str, text: str, *, listed: bool) -> SettingsError:
    """Error for a comma outside brackets, or choice(): Hydra's syntax for several runs."""
    return _no_list(key, text) if listed else SettingsError(key, f"can't be read: must be one value, got {text!r}")


def _no_list(key: str, text: str) -> SettingsError:
    return SettingsError(key, f"can't be read: must be a list; write {key}=[{text}]")


def _unreadable(error: Exception, merged: Mapping[str, str]) -> SettingsError:
    key = str(getattr(error, "full_key", None) or "")
    if key in merged and "is not a ListConfig" in str(error):
        return _no_list(key, merged[key])
    first = str(error).strip().splitlines()[0]
    return SettingsError(key or "a setting", f"can't be read: {first}")


def _build(cls: type, values: Mapping[str, Any], kind: str, prefix: str = "") -> Any:  # noqa: ANN401 - an instance of cls
    """Create the settings objects, which check themselves."""
    hints = get_type_hints(cls)
    made: dict[str, Any] = {}
    for entry in fields(cls):
        value = values[entry.name]
        section = DATASETS[kind].settings if entry.name == "data" and cls is Config else hints[entry.name]
        if is_dataclass(section):
            made[entry.name] = _build(section, value, kind, f"{prefix}{entry.name}.")
        else:
            made[entry.name] = tuple(value) if isinstance(value, list) else value
    try:
        settings = cls(**made)
        for name, value in made.items():
            parts = value if isinstance(value, tuple) else (value,)
            require(math.inf not in parts and -math.inf not in parts, name, "must be finite", value)
    except SettingsError as error:
        raise SettingsError(f"{prefix}{error.field}", error.reason) from None
    return settings


def keys(kind: str) -> list[str]:
    """Full names of all settings for a kind of data set, ``section.name``."""
    return [key for key, _, _ in _entries(Config(data=DATASETS[kind].settings.__call__()))]


def describe(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Iterate over the settings: full name, value, help."""
    for key, value, cls in _entries(config):
        yield key, value, help_of(cls)[key.rpartition(".")[2]]


def _entries(config: Config) -> Iterator[tuple[str, Any, type]]:
    """Iterate over the settings, including the kind of data set: full name, value, and the class that defines it."""
    shown = False
    for key, value, cls in _fields(config, ""):
        if key.startswith("data.") and not shown:
            shown = True
            yield "data", config.dataset, Config
        yield key, value, cls


def _fields(settings: Any, prefix: str) -> Iterator[tuple[str, Any, type]]:  # noqa: ANN401 - any settings dataclass
    """Iterate over the fields of settings, nested ones included."""
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            yield from _fields(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", value, type(settings)


@cache
def help_of(cls: type) -> dict[str, str]:
    """The help texts below the fields of a settings class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    helps = {base_name: text for base in cls.__mro__[-2:0:-1] for base_name, text in help_of(base).items()}
    for above, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(above.target, ast.Name)
            helps[above.target.id] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return helps


def _check_keys(merged: Mapping[str, str], kind: str) -> None:
    known = keys(kind)
    for key in merged:
        if key not in known:
            elsewhere = f"; data={kind} has no such setting" if key.startswith("data.") else ""
            raise SettingsError(key, f"is not a setting{elsewhere}{_near(key, known)}")


def unknown_name(
    setting: str, name: str, known: "Mapping[str, Any] | Sequence[str]", last_line: str = "see all with: wsss config"
) -> SettingsError:
    """Error for a setting whose value is an unknown name, with similar names, and a last line on where to find all."""
    return SettingsError(setting, f"knows no {name!r}{_near(name, known, last_line)}")


def _near(word: str, known: "Mapping[str, Any] | Sequence[str]", last_line: str = "see all with: wsss config") -> str:
    """Suggest similar names; the last line says where to find all."""
    last = {name.rsplit(".", 1)[-1]: name for name in known}
    found = [name for name in known if name.endswith(f".{word}")]
    found += difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    found += [last[name] for name in difflib.get_close_matches(word.rsplit(".", 1)[-1], last, n=2)]
    near = list(dict.fromkeys(found))[:3]
    # without near names all are listed already
    return "".join(f"\n{line}" for line in dict.fromkeys([offer(near, list(known)), last_line]))


def experiments() -> dict[str, Path]:
    """The available experiments: those in the working directory, beside the code, and in the package."""
    return {name: path for name, path in _named_files().items() if not _asks(path)}


def studies() -> dict[str, Path]:
    """The available studies (files of several runs), from the same folders as experiments."""
    return {name: path for name, path in _named_files().items() if _asks(path)}


def _asks(path: Path) -> bool:
    """Whether a file is a study: only those have the key ``study``."""
    try:
        return re.search(rb"^study\s*:", path.read_bytes(), flags=re.MULTILINE) is not None
    except OSError as error:
        raise SettingsError("experiment", f"'{path}' can't be read ({error.strerror}); mend or delete it") from error


def _named_files() -> dict[str, Path]:
    here = Path(__file__).resolve().parent
    found: dict[str, Path] = {}
    for folder in (here / "experiments", here.parent / "experiments", Path.cwd() / "experiments"):
        found |= {path.stem: path for path in sorted(folder.glob("*.yaml")) if path.is_file()}
    return found


def _experiment_overrides(name: str) -> list[tuple[str, str]]:
    path = Path(name) if name.endswith((".yaml", ".yml")) else _named_files().get(name)
    if path is None or not path.is_file():
        raise unknown_name("experiment", name, experiments(), f"there are: {', '.join(experiments())}")
    if _asks(path):
        raise SettingsError("experiment", f"can't be {name!r}, a study of several runs; write: wsss study {name}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError("experiment", f"'{path}' is not YAML: {str(error).splitlines()[0]}") from error
    require(isinstance(content, dict), "experiment", "must be a file of settings, name: value", os.fspath(path))
    return written_leaves(content)


def written_leaves(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and written values of nested settings."""
    return [(_key(name), written(value)) for name, value in _leaves(values)]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested settings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def written(value: Any) -> str:  # noqa: ANN401 - plain values of any kind
    """Write a value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # in Hydra's grammar a backslash is literal unless followed by a quote
        escaped = re.sub(r"(\\+)(?='|\Z)", r"\1\1", value).replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, list | tuple):
        return f"[{','.join(written(entry) for entry in value)}]"
    return repr(value)


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """Write settings given by name as on the command line."""
    return [f"{name}={written(value)}" for name, value in settings.items()]


def annotated_yaml(config: Config) -> str:
    """Write the configuration as YAML, with the help of each setting as a comment."""
    lines: list[str] = []
    opened: set[tuple[str, ...]] = set()
    for key, value, text in describe(config):
        *above, name = ["data", "name"] if key == "data" else key.split(".")
        for depth, heading in enumerate(above):
            if (section := tuple(above[: depth + 1])) not in opened:
                opened.add(section)
                lines.append(f"{'  ' * depth}{heading}:")
        shown = yaml.safe_dump(_listed(value), default_flow_style=True, width=10_000).splitlines()[0]
        lines.append(f"{'  ' * len(above)}{name}: {shown}  # {text}")
    return "\n".join(lines)


def to_yaml(config: Config) -> str:
    """Write the configuration as YAML that ``load`` can read as an experiment."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
