"""Epochs far from a change are not read, and nothing is missed for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contimg_assets.database import ProductsDatabase, bulk
from contimg_assets.database.blocks import CELL_ORDER, COPIED
from contimg_assets.database.engine import reading
from contimg_assets.database.light_curves import StoredEpochs, pack_cells, unpack_cells
from contimg_assets.database.writing.sources import n_relations
from contimg_assets.identity.ids import from_hex
from contimg_assets.sky.cells import coarser, healpix_29
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.database.survey import Survey, with_forks


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The epochs whose points are read."""
    names: list[str] = []
    original = bulk.fetch_bytes

    def counted(connection, table: str, column: str, epoch: str) -> bytes:
        names.append(epoch)
        return original(connection, table, column, epoch)

    monkeypatch.setattr(bulk, "fetch_bytes", counted)
    return names


@pytest.mark.parametrize("dec", [16.0, 89.9])
def test_only_epochs_about_a_change_are_read(database: ProductsDatabase, read: list[str], dec: float) -> None:
    near, far = Survey(20, 4, dec=dec), Survey(20, 3, dec=-40.0, prefix="far", seed=3)
    forked, forks = with_forks(near.epochs(), 2)
    everything = [*forked, *far.epochs()]
    database.replace_epochs(everything)
    expected = dump(database)
    database.replace_epochs([survey.epoch(2, flux_factor=1.1, version="2") for survey in (near, far)][::-1])
    read.clear()
    database.replace_epochs([forked[2]])
    assert set(read) == {near.names[k] for k in (0, 1, 3)}
    read.clear()
    database.replace_epochs([everything[-1]])
    assert set(read) == set(far.names[:2])
    assert set(forks) <= set(database.read_table("sources")["id"])
    assert inconsistencies(database) == {}
    assert_same_rows(dump(database), expected)


_PLACES = st.tuples(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))


@given(_PLACES, st.floats(0, 2 * np.pi), st.floats(0, 18 * 60))
@example((0.0, 90.0), 0.0, 1000.0)
@example((359.999, 0.0), np.pi / 2, 1000.0)
@settings(max_examples=50, deadline=None)
def test_an_epoch_with_a_point_within_18_arcmin_is_near(place: tuple[float, float], angle: float, apart: float) -> None:
    ra, dec = (np.array([value]) for value in place)
    other = displaced(ra, dec, np.array([apart * np.sin(angle)]), np.array([apart * np.cos(angle)]))
    cells = [coarser(healpix_29(*other), CELL_ORDER), coarser(healpix_29((ra + 180.0) % 360.0, -dec), CELL_ORDER)]
    stored = [unpack_cells(pack_cells(one)) for one in cells]
    assert [one.tolist() for one in stored] == [one.tolist() for one in cells]
    ones = np.ones(2, np.int64)
    epochs = StoredEpochs(["near", "far"], COPIED.empty_table(), ones, stored, {}, ones.astype(bool))
    assert epochs.about(ra, dec).near.tolist() == [True, False]


def test_relations_are_counted_by_their_sources_alone(database: ProductsDatabase) -> None:
    """As many as there are sources, or few of many: the same numbers."""
    survey = Survey(30, 3, detected=1.0)
    forked, forks = with_forks(survey.epochs(), 12)
    database.replace_epochs(forked)
    counts = database.read_table("sources").set_index("id")["n_relations"]
    assert counts[forks].tolist() == [1] * 12
    assert counts.sum() == 24
    for few in (forks[:2], list(counts.index[:5]), list(counts.index)):
        ids = np.sort(from_hex(np.array(few, dtype=object)))
        with reading(database.engine) as connection:
            assert n_relations(connection, ids).tolist() == counts[sorted(few)].tolist()


def test_a_point_farther_from_its_source_than_any_association_reaches_is_not_missed(
    database: ProductsDatabase, read: list[str]
) -> None:
    survey = Survey(20, 4, detected=1.0)
    # Five degrees off in one epoch: in no cell about the others.
    survey.shift[1, 1] = 18_000.0
    survey.ra[:], survey.dec[:] = survey.ra[0], survey.dec[0] + np.arange(20) / 60.0 - 0.15
    epochs = survey.epochs()
    database.replace_epochs(epochs)
    expected = dump(database)
    database.replace_epochs([survey.epoch(3, flux_factor=1.1, version="2")])
    read.clear()
    database.replace_epochs([epochs[3]])
    assert read.count(survey.names[1]) == 1
    assert_same_rows(dump(database), expected)
