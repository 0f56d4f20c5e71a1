"""Real weights for tests, where the checkout has them beside it."""

from pathlib import Path

import pytest

MOBILENET = Path(__file__).parents[2].parent / "shared" / "weights" / "mobilenet_v2_imagenet_fp16.pth"

needs_mobilenet = pytest.mark.skipif(not MOBILENET.is_file(), reason=f"no {MOBILENET.name} in ../shared/weights")
