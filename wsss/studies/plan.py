"""Plan of a study: its file, read and checked before anything is executed."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from wsss.config import Config, load, split_override, studies, written_leaves
from wsss.errors import SettingsError, nearest, require
from wsss.store import digest_of

BUDGET = "labels.budget_seconds"
"""The setting that a budget changes."""

AXES = ("seeds", "runs", "budgets")
"""Parts of a study that can be selected, beside settings for all of its runs."""

LONGEST = 60
"""Maximum number of characters per selection in the name of a study's folder."""

PARTS = ("study", "base", "runs", "seeds", "seeded", "budgets", "budgeted")
"""Keys of a study's file."""

RESERVED = {"seed": "seeds=[0,1]", "run": "store.root=PATH"}
"""Settings that a study sets itself for each run, and their alternatives."""

Pairs = tuple[tuple[str, str], ...]
"""Names and written values of settings."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Annotation budget: seconds, or a share of what labelling all images costs.

    Attributes:
        share: In (0, 1); None if seconds are given.
        seconds: Positive; None if a share is given.
    """

    share: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.seconds:g} s" if self.share is None else f"{100 * self.share:g} %"


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        variant: Name of the settings in which it differs from other runs.
        seed: Its seed.
        budget: Annotation budget; None labels all images.
        whole: Its configuration without a budget.
    """

    variant: str
    seed: int
    budget: Budget | None
    whole: Config

    @property
    def label(self) -> str:
        """Common name of all seeds: variant and budget."""
        return self.variant if self.budget is None else f"{self.variant} · {self.budget}"

    @property
    def title(self) -> str:
        """Name of the run; unique in the study."""
        return f"{self.label} · seed {self.seed}"

    @property
    def waits(self) -> bool:
        """Whether its configuration depends on the cost of labelling all images."""
        return self.budget is not None and self.budget.share is not None

    def config(self, cost: float | None = None) -> Config:
        """Its configuration.

        Args:
            cost: Seconds that labelling all images takes, if the budget is a share of it.
        """
        if self.budget is None:
            return self.whole
        seconds = self.budget.seconds if self.budget.share is None else self.budget.share * (cost or 1.0)
        return with_setting(self.whole, BUDGET, round(seconds or 0.0, 3))


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """Plan of a study.

    Attributes:
        name: Its name.
        question: Its question.
        folder: Folder of its table and figures.
        labels: Lines of its table, in order.
        runs: Runs in execution order: those on all images, seed by seed, then those with budgets.
    """

    name: str
    question: str
    folder: Path
    labels: tuple[str, ...]
    runs: tuple[PlannedRun, ...]

    def unlimited(self, run: PlannedRun) -> PlannedRun:
        """The run of the same variant and seed that labels all images."""
        wanted = (run.variant, run.seed, None)
        return next(other for other in self.runs if (other.variant, other.seed, other.budget) == wanted)


def plan_study(name: str, overrides: Sequence[str] = ()) -> StudyPlan:
    """Read a study and compose all of its configurations, so that errors are found before anything runs.

    Args:
        name: Name of a study in experiments/, or a path to a YAML file.
        overrides: Settings for all runs, as on the command line, and ``seeds=``, ``runs=`` (by name) or ``budgets=`` to
            replace those of the file.

    Raises:
        SettingsError: If there is no such study, or it or one of its configurations is invalid.
    """
    path = _find(name)
    given = [split_override(override) for override in overrides]
    common = tuple(pair for pair in given if pair[0] not in AXES)
    chosen = {key: _parsed(key, text) for key, text in given if key in AXES}
    return _Reader(path, _content(path), common, chosen).plan()


class _Reader:
    """Creates a plan from a study's file and the command line.

    Args:
        path: The file.
        content: Its parsed content.
        common: Settings for all runs, which take precedence over the file's.
        chosen: Selections that replace the file's.
    """

    def __init__(self, path: Path, content: dict[str, Any], common: Pairs, chosen: dict[str, Any]) -> None:
        self.path, self.content, self.common, self.chosen = path, content, common, chosen
        self.base = self._pairs("base", content.get("base") or {})
        self.variants = self._variants()
        self.seeds = _seeds(chosen.get("seeds", content.get("seeds", [0])))
        self.budgets = _budgets(chosen.get("budgets", content.get("budgets") or []))

    def plan(self) -> StudyPlan:
        self._check_common()
        budgeted, seeded = self._budgeted(), _listed("seeded", self.content.get("seeded", ["seed"]))
        base = self._compose(())
        wholes = {name: self._compose(pairs, name) for name, pairs in self.variants.items()}
        _refuse_twins(wholes)
        runs = [
            PlannedRun(variant=name, seed=seed, budget=budget, whole=_seeded(wholes[name], seeded, seed))
            for budget in (None, *self.budgets)
            for seed in self.seeds
            for name in (wholes if budget is None else budgeted)
        ]
        for run in runs:
            run.config()
        labels = dict.fromkeys(run.label for name in wholes for run in runs if run.variant == name)
        return StudyPlan(
            name=self.path.stem,
            question=str(self.content["study"]),
            folder=self._folder(base),
            labels=tuple(labels),
            runs=tuple(runs),
        )

    def _folder(self, base: Config) -> Path:
        """Folder of the study; changed base settings and each selection of runs have folders of their own."""
        unchanged = not self.common or load(_words(self.base)).hash == base.hash
        names = [self.path.stem, *([] if unchanged else [base.folder.name]), *self._choices()]
        return Path(base.store.root) / "studies" / "-".join(names)

    def _choices(self) -> list[str]:
        """Selections from the command line: ``seeds=0,1``, ``budgets=none``."""
        taken = {
            "seeds": [str(seed) for seed in self.seeds],
            "runs": list(self.variants),
            "budgets": [str(budget).replace(" ", "") for budget in self.budgets] or ["none"],
        }
        return [f"{axis}={_short(taken[axis])}" for axis in AXES if axis in self.chosen]

    def _compose(self, own: Pairs, name: str | None = None) -> Config:
        try:
            return load(_words((*self.base, *own, *self.common)))
        except SettingsError as error:
            field = error.field if name is None else f"run '{name}': {error.field}"
            raise SettingsError(field, error.reason) from None

    def _variants(self) -> dict[str, Pairs]:
        rows = _listed("runs", self.content.get("runs"))
        found: dict[str, Pairs] = {}
        for row in rows:
            named = isinstance(row, dict) and isinstance(row.get("name"), str) and row["name"].strip()
            require(bool(named), "runs", "must each have a name and settings", row)
            require(row["name"] not in found, "runs", "must each have a name of their own", row["name"])
            found[row["name"]] = self._pairs("runs", {key: value for key, value in row.items() if key != "name"})
        chosen = _listed("runs", self.chosen.get("runs", list(found)))
        for name in chosen:
            if name not in found:
                raise _unknown("runs", name, found)
        return {name: pairs for name, pairs in found.items() if name in chosen}

    def _budgeted(self) -> list[str]:
        """Variants that are also executed with budgets."""
        names = [row["name"] for row in self.content["runs"]]
        listed = _listed("budgeted", self.content.get("budgeted", names))
        for name in listed:
            if name not in names:
                raise _unknown("budgeted", name, names)
        return [name for name in self.variants if name in listed]

    def _pairs(self, part: str, values: Any) -> Pairs:  # noqa: ANN401 - whatever the file holds
        require(isinstance(values, dict), part, "must hold settings, name: value", values)
        pairs = tuple(written_leaves(values))
        for key, _ in pairs:
            if key in RESERVED:
                raise SettingsError(key, f"is set by the study for each run; write {RESERVED[key]}")
        return pairs

    def _check_common(self) -> None:
        """Reject settings that would remove differences between the study's runs."""
        seeded = set(_listed("seeded", self.content.get("seeded", ["seed"])))
        own = {key for pairs in self.variants.values() for key, _ in pairs} | ({BUDGET} if self.budgets else set())
        for key, _ in self.common:
            if key in RESERVED:
                raise SettingsError(key, f"is set by the study for each run; write {RESERVED[key]}")
            if key in seeded:
                raise SettingsError(key, f"is set by the seeds of study '{self.path.stem}'; choose them with seeds=[…]")
            if key in own:
                raise SettingsError(
                    key, f"is what runs of study '{self.path.stem}' differ in; choose them with runs=[…] or budgets=[…]"
                )


def _find(name: str) -> Path:
    known = studies()
    path = Path(name) if name.endswith((".yaml", ".yml")) else known.get(name)
    if path is None or not path.is_file():
        there = ", ".join(sorted(known))
        raise SettingsError("study", f"knows no {name!r}; there are: {there}; a file of your own is named by its path")
    return path


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError("study", f"'{path}' is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not isinstance(content.get("study"), str):
        raise SettingsError("study", f"'{path}' is not a study; it must state its question, study: QUESTION")
    for part in content:
        if part not in PARTS:
            raise _unknown(os.fspath(path), part, PARTS)
    return content


def _unknown(part: str, name: object, known: Iterable[str]) -> SettingsError:
    return SettingsError(part, f"knows no {str(name)!r}; {nearest(str(name), list(known))}")


def _short(values: Sequence[str]) -> str:
    """Values as part of a folder's name; too many or odd ones are shortened and given a hash."""
    name = ",".join(re.sub(r"[^\w.%+-]", "_", value, flags=re.ASCII) for value in values)
    whole = name == ",".join(values) and len(name) <= LONGEST
    return name if whole else f"{name[:LONGEST]}-{digest_of(list(values))[:8]}"


def _parsed(axis: str, text: str) -> Any:  # noqa: ANN401 - whatever was written
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(axis, f"must be a list, {axis}=[…], got {text!r}") from None


def _listed(part: str, value: Any) -> list[Any]:  # noqa: ANN401 - whatever was written
    values = value if isinstance(value, list) else [] if value is None else [value]
    require(bool(values), part, "must not be empty", value)
    return values


def _seeds(value: Any) -> tuple[int, ...]:  # noqa: ANN401 - whatever was written
    seeds = _listed("seeds", value)
    for seed in seeds:
        whole = isinstance(seed, int) and not isinstance(seed, bool)
        require(whole, "seeds", "must be whole numbers", seed)
    require(len(set(seeds)) == len(seeds), "seeds", "must differ", seeds)
    return tuple(seeds)


def _budgets(value: Any) -> tuple[Budget, ...]:  # noqa: ANN401 - whatever was written
    budgets = [_budget(entry) for entry in (value if isinstance(value, list) else [value])]
    require(len(set(budgets)) == len(budgets), "budgets", "must differ", value)
    return tuple(budgets)


def _budget(entry: Any) -> Budget:  # noqa: ANN401 - whatever was written
    rule = "must be shares of the cost, such as 25%, or seconds"
    text = str(entry).strip()
    is_share = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        raise SettingsError("budgets", f"{rule}, got {entry!r}") from None
    require(0 < number < (100 if is_share else float("inf")), "budgets", rule, entry)
    return Budget(share=number / 100) if is_share else Budget(seconds=number)


def _words(pairs: Pairs) -> list[str]:
    return [f"{key}={value}" for key, value in pairs]


def _seeded(config: Config, settings: Sequence[str], seed: int) -> Config:
    for key in settings:
        config = with_setting(config, key, seed)
    return config


def _refuse_twins(configs: dict[str, Config]) -> None:
    """Reject identical configurations under two names: a setting of one of them was forgotten."""
    first: dict[str, str] = {}
    for name, config in configs.items():
        other = first.setdefault(config.hash, name)
        if other != name:
            raise SettingsError("runs", f"'{other}' and '{name}' have the same settings; change or remove one of them")


def with_setting(settings: Any, key: str, value: object) -> Any:  # noqa: ANN401 - any settings dataclass
    """Change one setting of a configuration.

    Args:
        settings: A configuration, or a section of one.
        key: Name of the setting, ``section.name``.
        value: The new value.

    Raises:
        SettingsError: If there is no such setting or the value is invalid.
    """
    name, _, rest = key.partition(".")
    names = [entry.name for entry in fields(settings)]
    if name not in names or (rest and not is_dataclass(getattr(settings, name))):
        raise SettingsError(name, f"is not a setting; {nearest(name, names)}")
    if not rest:
        return replace(settings, **{name: value})
    try:
        changed = with_setting(getattr(settings, name), rest, value)
    except SettingsError as error:
        raise SettingsError(f"{name}.{error.field}", error.reason) from None
    return replace(settings, **{name: changed})
