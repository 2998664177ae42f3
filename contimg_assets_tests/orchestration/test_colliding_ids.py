"""Ids are 64-bit numbers: among 10^9 two are equal now and then. Here they are so short that hundreds are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contimg_assets.association import fold
from contimg_assets.ingest import epoch as reading
from contimg_assets.sky.arrays import Hashes
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

ID_BITS_OF_SOURCES, ID_BITS_OF_MEASUREMENTS = 6, 9


@pytest.fixture
def short_ids() -> Iterator[dict[str, list[int]]]:
    """Ids of so few bits that many collide; how many did, call by call (epochs are read by several threads at once)."""
    met: dict[str, list[int]] = {"measurements": [], "sources": []}
    source_hashes, measurement_hashes, free_hashes = fold.source_hashes, reading.measurement_hashes, fold.free_hashes

    def short(hashes: Hashes, bits: int) -> Hashes:
        return hashes & np.uint64((1 << bits) - 1)

    def counted(what: str) -> Any:
        def free(wanted: Hashes, taken: Hashes) -> Hashes:
            found = free_hashes(wanted, taken)
            met[what].append(int((found != wanted).sum()))
            return found

        return free

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "source_hashes", lambda birth: short(source_hashes(birth), ID_BITS_OF_SOURCES))
        patch.setattr(
            reading, "measurement_hashes", lambda *names: short(measurement_hashes(*names), ID_BITS_OF_MEASUREMENTS)
        )
        patch.setattr(fold, "free_hashes", counted("sources"))
        patch.setattr(reading, "free_hashes", counted("measurements"))
        yield met


def light_curves(rows: dict[str, pd.DataFrame]) -> set[frozenset[tuple[str, str, str]]]:
    """Detections of each source, by their names in the catalogs."""
    joined = rows["associations"].merge(rows["measurements"], on=["epoch", "measurement_id"])
    names = joined[["epoch", "image", "component_id"]].apply(tuple, axis=1)
    return {frozenset(of_source) for _, of_source in names.groupby(joined["source_id"])}


@pytest.mark.slow
def test_things_that_got_one_id_are_told_apart(
    made: TestProject, short_ids: dict[str, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project", made.survey)
    monkeypatch.chdir(project.folder)
    project.deliver()
    assert project.run().complete
    assert sum(short_ids["sources"]) > 30
    assert sum(short_ids["measurements"]) > 10
    rows = project.rows()
    assert light_curves(rows) == light_curves(made.rows())
    assert rows["sources"]["id"].is_unique
    assert not project.project.products.orphans()

    # The last epoch first: whoever comes later gives the ids again in time order.
    backwards = make_project(tmp_path / "backwards", made.survey)
    monkeypatch.chdir(backwards.folder)
    for name in reversed(project.epochs):
        backwards.deliver(name)
        assert backwards.run().complete
    assert_same_rows(backwards.rows(), rows, without=["source_aliases"])
