"""Check whether this machine is ready for a run: libraries, CPU, memory, accelerator, disk, tracking."""

import contextlib
import fcntl
import html
import netrc
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss import console
from wsss.checks.libraries import REINSTALL, Line, check_library, check_python, requirements
from wsss.errors import SettingsError, WsssError

if TYPE_CHECKING:
    import torch

    from wsss.config import Config

LITTLE_MEMORY = 2.0
"""GB of free memory below which the default run may not fit."""

LITTLE_DISK = 1.0
"""GB of free disk space that a run needs at least."""

GB = 1e9


@dataclass(frozen=True)
class MachineReport:
    """Results of checking a machine.

    Attributes:
        lines: All checked items.
    """

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that a run needs is present and works."""
        return all(line.state != "broken" for line in self.lines)

    def table(self) -> str:
        """Format the lines as text, with cures."""
        rows = [
            [line.name, line.found, line.state if line.cure is None else f"{line.state}: {line.cure}"]
            for line in self.lines
        ]
        broken = sum(line.state == "broken" for line in self.lines)
        ending = "a run can start here" if self.ok else f"{broken} of {len(rows)} lines are broken; fix them first"
        return f"{console.format_table('', ['what', 'found', 'state'], rows)}\n\n{ending}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-compatible values."""
        return {"ok": self.ok, "lines": [{**asdict(line), "state": line.state} for line in self.lines]}

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.table())}</pre>"


def check_machine(*overrides: str, **settings: object) -> MachineReport:
    """Check everything that a run needs of a machine; libraries first, because the other checks use them.

    Args:
        overrides: Settings as on the command line; those of the store, the trainer and tracking are used.
        settings: More settings by name.

    Raises:
        SettingsError: If a setting does not exist or is invalid.
    """
    config = _config(overrides, settings)
    # without wandb tracking, metrics go to plain files only
    needless = {"wandb"} if config is not None and config.tracking.mode == "none" else set()
    lines = [check_python()]
    listed = requirements()
    with console.progress("loading libraries", len(listed)) as advance:
        for name, rule in listed:
            lines.append(replace(check_library(name, rule), required=name not in needless))
            advance()
    if config is None or any(line.state == "broken" for line in lines):
        cure = "fix the libraries first, then check again"
        return MachineReport((*lines, Line("everything else", "not looked at", cure, required=False)))
    lines += [_dense_crf(), _cores(), _memory(), _accelerator(config), _precision(config)]
    return MachineReport((*lines, *_store(Path(config.store.root)), _tracking(config)))


def _config(overrides: Sequence[str], settings: Mapping[str, object]) -> "Config | None":
    """Load the configuration; None if a library needed for it is missing or broken."""
    try:
        from wsss.config import load, overrides_of

        return load([*overrides, *overrides_of(settings)])
    except WsssError:
        raise
    except Exception:  # noqa: BLE001 - the broken library is identified later, when each is imported alone
        return None


def _dense_crf() -> Line:
    """Run the CRF on a 4 × 4 image with two labels, one pixel of which it must correct."""
    name = "dense CRF"
    try:
        import torch

        from wsss.functional.dense_crf import CrfSettings, dense_crf

        right = torch.arange(4).expand(4, 4) >= 2
        image = torch.where(right, 255, 0).to(torch.uint8).expand(3, 4, 4)
        scores = torch.stack([torch.where(right, 0.2, 0.8), torch.where(right, 0.8, 0.2)])
        scores[:, 1, 0] = torch.tensor([0.45, 0.55])
        labels = dense_crf(image, scores, CrfSettings(reference_side=None), labels=[0, 1]).argmax(0)
        mended = bool((labels == right).all())
    except Exception as error:  # noqa: BLE001 - any error of the CRF is to be reported
        return Line(name, f"fails ({' '.join(str(error).split())})", REINSTALL.format(name="pydensecrf2"))
    if not mended:
        return Line(name, "gives wrong labels", REINSTALL.format(name="pydensecrf2"))
    return Line(name, "corrects a test image of 4 × 4 pixels with two labels")


def _cores() -> Line:
    from wsss import ranks

    cores, usable = os.cpu_count() or 1, ranks.cores()
    return Line("cores", str(cores) if usable == cores else f"{usable} of {cores} may be used")


def _memory() -> Line:
    total, free = (size / GB for size in _memory_sizes())
    cure = f"less than {LITTLE_MEMORY:.0f} GB may not be enough; end other programs or choose smaller batches"
    return Line("memory", f"{free:.1f} of {total:.1f} GB free", cure if free < LITTLE_MEMORY else None, required=False)


def _memory_sizes() -> tuple[int, int]:
    """Total and free memory in bytes; limited by the container's limit if there is one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = total
    with contextlib.suppress(OSError):
        entries = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        free = next((1024 * int(entry[1]) for entry in entries if entry[0] == "MemAvailable:"), free)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        total, free = min(total, limit), min(free, limit - int((group / "memory.current").read_text()))
    return total, free


def _accelerator(config: "Config") -> Line:
    import torch

    from wsss.tasks.devices import choose_device

    name = "accelerator"
    try:
        device = choose_device(config.trainer.accelerator)
    except SettingsError as error:
        return Line(name, "no CUDA", f"trainer.{error}")
    if device.type == "cpu":
        return Line(name, "none, networks run on the CPU")
    there, wanted = torch.cuda.device_count(), config.trainer.devices
    found = "; ".join(_gpu(index) for index in range(there))
    try:
        torch.ones(8, device=device).sum().item()
    except RuntimeError as error:
        said = " ".join(str(error).split())
        return Line(name, found, f"can't compute ({said}); fix the driver or set trainer.accelerator=cpu")
    return Line(name, found, f"trainer.devices must be at most {there}, got {wanted}" if wanted > there else None)


def _gpu(index: int) -> str:
    import torch

    free, total = torch.cuda.mem_get_info(index)
    return f"{torch.cuda.get_device_name(index)}, {free / GB:.1f} of {total / GB:.1f} GB free"


def _precision(config: "Config") -> Line:
    import torch

    from wsss.tasks.devices import choose_device, resolve_precision

    trainer = config.trainer
    accelerator = trainer.accelerator if torch.cuda.is_available() else "cpu"
    device = choose_device(accelerator)
    slow = resolve_precision("auto", accelerator) != "bf16-mixed"
    share = _seconds_of_convolution(torch.bfloat16, device) / _seconds_of_convolution(torch.float32, device)
    found = f"bf16 is {'emulated' if slow else 'native'}, a convolution takes {share:.2f} times as long as in float32"
    cure = "trainer.precision=auto uses float32 here, which is faster"
    return Line("precision", found, cure if slow and trainer.precision == "bf16-mixed" else None, required=False)


def _seconds_of_convolution(dtype: "torch.dtype", device: "torch.device") -> float:
    """Minimum time of several convolutions of typical size."""
    import torch
    from torch.nn.functional import conv2d

    pixels = torch.ones((2, 64, 48, 48), dtype=dtype, device=device).to(memory_format=torch.channels_last)
    weights = torch.ones((64, 64, 3, 3), dtype=dtype, device=device).to(memory_format=torch.channels_last)
    shortest = float("inf")
    with torch.inference_mode():
        for _ in range(5):
            start = time.perf_counter()
            conv2d(pixels, weights)
            if device.type == "cuda":
                torch.cuda.synchronize()
            shortest = min(shortest, time.perf_counter() - start)
    return shortest


def _store(root: Path) -> Iterator[Line]:
    """Check whether the store can be written and locked, and its free space; leaves no files behind."""
    place = next(folder for folder in (root.resolve(), *root.resolve().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"wsss")
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Line("store", f"{root} can be written and locked")
    except OSError as error:
        yield Line(
            "store", str(root), f"can't be written and locked ({error.strerror or error}); choose another store.root"
        )
    free = shutil.disk_usage(place).free / GB
    cure = f"must be at least {LITTLE_DISK:.0f} GB; free some there or choose another store.root"
    yield Line("disk of the store", f"{free:.1f} GB free", cure if free < LITTLE_DISK else None)


def _tracking(config: "Config") -> Line:
    mode = config.tracking.mode
    said = {"offline": "files in the run folder, nothing is sent", "none": "metrics.jsonl only"}
    if mode in said:
        return Line("tracking", f"{mode}: {said[mode]}")
    cure = "no key was found; log in with `wandb login`, or set tracking.mode=offline"
    return Line("tracking", f"{mode}: metrics are sent to wandb", None if _has_key() else cure, required=False)


def _has_key() -> bool:
    """Whether wandb would find the user's key where `wandb login` stores it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("://")[2].rstrip("/")
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
