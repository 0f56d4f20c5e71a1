import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from wsss.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
network = torch.nn.Sequential(*[torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(4)])
images = torch.rand(2, 8, 256, 256)
for step in range(6):
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except ValueError:
        return False


def page_faults(mode: str, **environment: str) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, env=plain | environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not glibc(), reason="only glibc is told to keep what is freed")
def test_training_steps_take_the_memory_of_those_before_without_page_faults() -> None:
    kept, given_back = page_faults("kept"), page_faults("given back")
    # features of a step are 4 MiB a layer, a thousand pages of 4 KiB
    assert given_back > 1000
    assert kept < given_back / 4


@pytest.mark.skipif(not glibc(), reason="only glibc is told to keep what is freed")
def test_who_steers_the_allocator_is_left_alone() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        page_faults("kept", MALLOC_ARENA_MAX="8")
