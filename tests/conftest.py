"""What every test shares: how hard Hypothesis tries, how many threads torch takes, and where the real data lies.

Imports nothing of spinn at the top: its functions are instrumented (jaxtyping) when a test first imports them.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Workers of pytest-xdist share the machine: one thread each. Set before torch is imported, here or in a subprocess.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"

# `default` tries the same examples every time, so that a red run is red again. `long` draws new ones, and more:
# HYPOTHESIS_PROFILE=long tox -e tests
hypothesis.settings.register_profile("default", deadline=None, max_examples=50, derandomize=True, database=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def mill() -> Path:
    """The real, decimated mill.mat beside the repository; it is not part of it."""
    path = ROOT.parent / "shared" / "data" / "mill_decimated.mat"
    if not path.exists():
        pytest.skip("the real data, ../shared/data/mill_decimated.mat, is not on this machine")
    return path
