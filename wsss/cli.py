"""The command line: one function per verb; the implementations are imported only when a verb is used."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsss import __version__, console
from wsss.errors import WsssError

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

SETTINGS = "settings as key=value, for example: experiment=voc21 data.root=PATH rounds=2 refine=[growing,crf]"

STUDY_SETTINGS = (
    "settings for all runs as key=value, and which runs to execute: seeds=[0,1] runs=[NAME,NAME] budgets=[25%%]"
)

FORMATS = ("manifest", "whats_the_point", "scribblesup", "voc", "coco", "cues", "tags")
"""Label formats that can be read; repeated here so that the help needs no imports."""

UNWRITTEN = ("cues",)
"""Formats that cannot be written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the command line.

    Args:
        arguments: Command line arguments; by default those of this process.

    Returns:
        The exit code: 0 done, 1 a check found a fault, 2 error, 130 interrupted, 141 broken pipe.
    """
    given = _parsed(arguments)
    try:
        return int(given.verb(given) or 0)
    except WsssError as error:
        console.note(f"wsss: {error}")
        return 2
    except KeyboardInterrupt:
        console.note("wsss: interrupted; run the same command again to go on")
        return 130
    except BrokenPipeError:
        # such as `wsss config | head`; discard the output still buffered
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; settings may also follow options."""
    parser = _parser()
    given, left = parser.parse_known_args(arguments)
    if left and (not hasattr(given, "settings") or any(word.startswith("-") for word in left)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        given.settings += left
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsss",
        description="From cheap labels to segmentation networks.",
        epilog="`wsss run` runs the whole pipeline on synthetic images; `wsss config` shows every setting.",
    )
    parser.add_argument("--version", action="version", version=f"wsss {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_run_verbs(verbs)
    _add_check_verbs(verbs.add_parser("check", help="check whether the data or this machine are ready for a run"))
    _add_data_verbs(verbs.add_parser("data", help="import labels from published formats, and export them"))
    _add_result_verbs(verbs)
    # used by a run to start its other processes
    join = verbs.add_parser("join")
    join.add_argument("run", type=Path)
    join.set_defaults(verb=_join)
    return parser


def _add_run_verbs(verbs: "Verbs") -> None:
    run = verbs.add_parser("run", help="run the pipeline, or the rest of it")
    run.add_argument("settings", nargs="*", metavar="key=value", help=SETTINGS)
    run.add_argument("--dry-run", action="store_true", help="only list the stages, their keys, and which are cached")
    run.set_defaults(verb=_run)

    study = verbs.add_parser("study", help="execute several runs that answer one question, or the rest of them")
    study.add_argument("study", metavar="STUDY", help="name of a study in experiments/, or a YAML file")
    study.add_argument("settings", nargs="*", metavar="key=value", help=STUDY_SETTINGS)
    study.add_argument("--dry-run", action="store_true", help="only list the runs, and how much of each is left to do")
    study.add_argument("--report-only", action="store_true", help="only write the table and figures of finished runs")
    study.set_defaults(verb=_study)

    config = verbs.add_parser("config", help="print the resolved settings as YAML, each with its help text")
    config.add_argument("settings", nargs="*", metavar="key=value", help=SETTINGS)
    config.set_defaults(verb=_config)


def _add_check_verbs(check: argparse.ArgumentParser) -> None:
    subjects = check.add_subparsers(title="what is checked", metavar="WHAT", required=True)
    data = subjects.add_parser("data", help="count images, classes and sizes; find all errors at once")
    data.add_argument("settings", nargs="*", metavar="key=value", help=SETTINGS)
    data.add_argument("--out", type=Path, metavar="PNG", help="contact sheet to write (default: in store.root)")
    data.add_argument("--strict", action="store_true", help="remarks, such as tags against masks, count as faults")
    data.add_argument("--json", action="store_true", help="print JSON, with every finding, instead of tables")
    data.set_defaults(verb=_check_data)
    machine = subjects.add_parser("env", help="libraries, CPU, memory, accelerator, disk, tracking")
    machine.add_argument("settings", nargs="*", metavar="key=value", help=SETTINGS)
    machine.add_argument("--json", action="store_true", help="print JSON instead of a table")
    machine.set_defaults(verb=_check_machine)


def _add_result_verbs(verbs: "Verbs") -> None:
    evaluate = verbs.add_parser("evaluate", help="score a folder of label PNGs against a folder of ground truth")
    evaluate.add_argument("--labels", type=Path, required=True, metavar="DIR", help="PNGs to score")
    evaluate.add_argument("--truth", type=Path, required=True, metavar="DIR", help="ground truth, of the same names")
    evaluate.add_argument("--classes", type=Path, metavar="FILE", help="names of the classes, as in a data set")
    evaluate.add_argument(
        "--convention",
        choices=("union", "zero", "truth"),
        default="union",
        help="which classes the mean counts: seen in truth or labels (default), all (absent ones as 0), seen in truth",
    )
    evaluate.add_argument(
        "--no-background",
        action="store_true",
        help="label 0 is not a class: unknown in the ground truth, missing in the labels",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of tables")
    evaluate.set_defaults(verb=_evaluate)

    show = verbs.add_parser("show", help="draw the results of a run's stages for some images")
    show.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    show.add_argument("--split", choices=("train", "val"), help="which images (default: train)")
    show.add_argument("--count", type=int, metavar="N", help="how many images (default: 12)")
    show.add_argument("--class", dest="of", metavar="NAME", help="only images tagged with this class")
    show.add_argument(
        "--worst",
        type=int,
        metavar="N",
        help="number of images, the worst first by IoU of their labels with the truth; with --class by that class's",
    )
    show.add_argument("--images", metavar="ID,ID", help="these images, whatever their split")
    colours = "colours of the labels, voc or colour_blind (default: the run's)"
    show.add_argument("--palette", metavar="NAME", help=colours)
    show.add_argument("--out", type=Path, metavar="PNG", help="file to write (default: in the run's figures)")
    show.set_defaults(verb=_show)

    predict = verbs.add_parser("predict", help="label images of any size with a run's segmenter")
    predict.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="image files, and folders of them")
    predict.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: in the run)")
    predict.set_defaults(verb=_predict)


def _add_data_verbs(data: argparse.ArgumentParser) -> None:
    verbs = data.add_subparsers(title="what is done", metavar="WHAT", required=True)
    formats = ", ".join(FORMATS)
    bring = verbs.add_parser("import", help="convert labels in any published format to a manifest (docs/MANIFEST.md)")
    bring.add_argument("file", type=Path, metavar="FILE", help="label file; a folder for formats with one per image")
    bring.add_argument("--format", metavar="NAME", help=f"{formats} (default: detected from the content)")
    bring.add_argument("--classes", type=Path, metavar="FILE", help="names of the classes, for files without them")
    bring.add_argument("--images", type=Path, metavar="DIR", help="the images, whose sizes are checked and stored")
    bring.add_argument("--ids", type=Path, metavar="FILE", help="list that assigns cues to images, for SEC and DSRG")
    bring.add_argument("--grid", type=int, metavar="N", help="points along a side of the cues' grid (default: 41)")
    bring.add_argument("--out", type=Path, required=True, metavar="MANIFEST", help="manifest to write")
    bring.set_defaults(verb=_import)
    give = verbs.add_parser("export", help="write the part of a manifest that a format can hold")
    give.add_argument("manifest", type=Path, metavar="MANIFEST", help="the labels")
    writable = ", ".join(name for name in FORMATS if name not in UNWRITTEN)
    give.add_argument("--format", required=True, metavar="NAME", help=writable)
    give.add_argument("--out", type=Path, required=True, metavar="PATH", help="file, or folder of files, to write")
    give.set_defaults(verb=_export)


def _run(given: argparse.Namespace) -> None:
    from wsss.config import load
    from wsss.runs import dry_run, run

    config = load(given.settings)
    if given.dry_run:
        console.result(dry_run(config))
    else:
        ended = run(config=config)
        # with a launcher, all processes reach this point, and only one prints
        if os.environ.get("RANK", "0") == "0":
            console.result(ended.table())


def _study(given: argparse.Namespace) -> int:
    from wsss.studies.study import dry_run, study

    if given.dry_run:
        console.result(dry_run(given.study, given.settings))
        return 0
    done = study(given.study, *given.settings, report_only=given.report_only)
    console.result(done.table())
    return int(bool(done.failed))


def _config(given: argparse.Namespace) -> None:
    from wsss.config import annotated_yaml, load

    console.result(annotated_yaml(load(given.settings)))


def _check_data(given: argparse.Namespace) -> int:
    import json

    from wsss.checks.data import check_data

    report = check_data(*given.settings, out=given.out)
    console.result(json.dumps(report.to_dict(), indent=1) if given.json else report.table())
    return int(not report.ok or (given.strict and bool(report.findings)))


def _check_machine(given: argparse.Namespace) -> int:
    import json

    from wsss.checks.machine import check_machine

    report = check_machine(*given.settings)
    console.result(json.dumps(report.to_dict(), indent=1) if given.json else report.table())
    return int(not report.ok)


def _evaluate(given: argparse.Namespace) -> None:
    import json

    from wsss.data.files import read_classes
    from wsss.scoring import score_folders

    names = read_classes(given.classes) if given.classes else None
    background = not given.no_background
    scores = score_folders(given.labels, given.truth, classes=names, convention=given.convention, background=background)
    console.result(json.dumps(scores.to_dict(), indent=1) if given.json else scores.table())


def _import(given: argparse.Namespace) -> None:
    from wsss.data.files import read_classes
    from wsss.data.manifests import import_labels, write_manifest

    classes = read_classes(given.classes) if given.classes else None
    options = {"grid": given.grid} if given.grid is not None else {}
    sources = {"classes": classes, "images": given.images, "ids": given.ids}
    labels = import_labels(given.file, given.format, **sources, **options)
    write_manifest(given.out, labels.annotations, labels.classes, labels.sizes)
    console.result(f"{given.out}: {labels.outline()}")


def _export(given: argparse.Namespace) -> None:
    from wsss.data.manifests import export_labels, import_labels

    changed = export_labels(import_labels(given.manifest, "manifest"), given.format, given.out)
    console.result(f"written: {given.out}")
    if changed:
        lost = ", ".join(f"{part} of {count} images" for part, count in changed.items())
        console.note(f"the format '{given.format}' does not hold all of the manifest; read back, these differ: {lost}")


def _show(given: argparse.Namespace) -> None:
    from wsss.runs import load_run

    images = None if given.images is None else given.images.split(",")
    run = load_run(given.run)
    drawn = run.show(
        given.split, given.count, given.out, images=images, of=given.of, worst=given.worst, palette=given.palette
    )
    console.result(f"drawn: {drawn}")


def _predict(given: argparse.Namespace) -> None:
    from wsss.runs import load_run

    written = load_run(given.run).predict(*given.images, out=given.out)
    console.result(f"labels of {len(written)} images: {written[0].parent}; overlays beside them")


def _join(given: argparse.Namespace) -> None:
    from wsss.runs import join

    join(given.run)
