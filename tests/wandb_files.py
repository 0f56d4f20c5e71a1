"""What wandb wrote offline, read without wandb's programs: a log of records, each a protocol buffer."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = 7
"""Bytes before the first block."""

BLOCK = 32 * 1024
"""A record that does not fit into what is left of a block goes on in the next one."""

WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path, seconds: float = 20) -> list[Any]:
    """Read the records of a ``.wandb`` file, in their order; wandb may write the last ones when its run has ended."""
    end = time.monotonic() + seconds
    while True:
        read = list(_records(file))
        if any(record.HasField("exit") for record in read) or time.monotonic() > end:
            return read
        time.sleep(0.02)


def _records(file: Path) -> Iterator[Any]:
    """Read LevelDB's log format: checksum, length, kind, content."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = file.read_bytes()
    place, gathered = HEADER, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        gathered += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            yield Record.FromString(gathered)
            gathered = b""


def stages(folder: Path) -> dict[str, list[Any]]:
    """The records of each stage that a run has tracked."""
    found = {}
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        read = records(file)
        (run,) = [record.run for record in read if record.HasField("run")]
        found[run.job_type] = read
    return found


def history(read: list[Any]) -> dict[str, Any]:
    """What was logged, by its name; of several values the last."""
    values: dict[str, Any] = {}
    for record in read:
        for item in record.history.item if record.HasField("history") else ():
            *outer, name = item.nested_key or [item.key]
            place = values
            for key in outer:
                place = place.setdefault(key, {})
            place[name] = json.loads(item.value_json)
    return values


def references(read: list[Any]) -> list[tuple[str, str, str]]:
    """Name, kind and address of everything that artefacts refer to."""
    return [
        (record.artifact.name, record.artifact.type, entry.ref)
        for record in read
        if record.HasField("artifact")
        for entry in record.artifact.manifest.contents
        if entry.ref
    ]
