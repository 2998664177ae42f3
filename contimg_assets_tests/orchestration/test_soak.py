"""Ten steps of the soak test: kills, full disks, damaged files, two runs at once, decisions, readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from contimg_assets_tests.benchmarks.soak import Soak
from contimg_assets_tests.histories import CONFIGURATIONS, Sky, quick

N_STEPS = 10


@pytest.mark.slow
def test_whatever_befalls_a_project_it_ends_as_from_scratch(tmp_path: Path) -> None:
    with quick():
        soak = Soak(tmp_path / "project", Sky(tmp_path / "sky", CONFIGURATIONS["forking"]), seed=6)
        for _ in range(N_STEPS):
            soak.step()
        soak.rest()
