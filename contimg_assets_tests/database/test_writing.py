"""Writing: the same rows whatever the history, all or nothing, nothing when nothing changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy_healpix import HEALPix
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching, Variability
from contimg_assets.database import EpochProducts, ProductsDatabase, epoch_products, light_curves
from contimg_assets.database.matching import source_matching
from contimg_assets.database.writing import statistics
from contimg_assets.errors import SchemaError, StoreError
from contimg_assets.ingest.footprints import coverage_table
from contimg_assets.sky.cells import cells_within
from contimg_assets.sky.coverage import merged
from contimg_assets_tests.database.conftest import HISTORY, assert_same_rows, copied, dump
from contimg_assets_tests.database.survey import Survey, with_forks


def test_rows_add_up(database: ProductsDatabase) -> None:
    survey = Survey(n_images=2)
    epochs = survey.epochs()
    database.replace_epochs(epochs)
    rows = dump(database)
    assert len(rows["epochs"]) == 4
    assert len(rows["images"]) == 8
    detected = int(survey.seen.sum())
    limits = database.query("SELECT count(*) AS n FROM upper_limits").n[0]
    assert len(rows["measurements"]) == detected == len(rows["associations"])
    assert len(rows["sources"]) == survey.seen.any(axis=0).sum() == len(rows["variability"])
    assert limits == (~survey.seen[:, survey.seen.any(axis=0)]).sum()
    assert database.recorded_versions() == {name: {"measurements": "1"} for name in survey.names}


def test_any_order_ends_in_the_same_rows(database: ProductsDatabase, empty_database: Path, tmp_path: Path) -> None:
    epochs = Survey(n_sources=25, n_epochs=4, n_images=2).epochs()
    with copied(empty_database, tmp_path, "reference.sqlite3") as reference:
        reference.replace_epochs(epochs)
        expected = dump(reference)
    for order in itertools.islice(itertools.permutations(epochs), 0, 24, 5):
        database.rebuild([])
        for products in order:
            database.replace_epochs([products])
        assert_same_rows(dump(database, HISTORY), {k: v for k, v in expected.items() if k not in HISTORY})


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["write", "write", "changed", "delete"])), min_size=1, max_size=7
    ),
    seed=st.integers(0, 1000),
)
def test_history_leaves_no_trace(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, steps: list, seed: int
) -> None:
    survey = Survey(n_sources=12, n_epochs=4, seed=seed, n_images=2, detected=0.6)
    folder = tmp_path_factory.mktemp("history")
    present: dict[int, EpochProducts] = {}
    with copied(empty_database, folder, "lived.sqlite3") as lived:
        for number, what in steps:
            if what == "delete":
                if number in present:
                    del present[number]
                    lived.delete_epoch(survey.names[number])
                continue
            factor = 1.3 if what == "changed" else 1.0
            present[number] = survey.epoch(number, flux_factor=factor, version=what)
            lived.replace_epochs([present[number]])
        with copied(empty_database, folder, "fresh.sqlite3") as fresh:
            fresh.replace_epochs(list(present.values()))
            assert_same_rows(dump(lived, HISTORY), dump(fresh, HISTORY))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["plain", "mapped", "deep", "moved", "delete"])),
        min_size=2,
        max_size=7,
    ),
    seed=st.integers(0, 1000),
)
def test_history_leaves_no_trace_in_matches_and_coverage(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, steps: list, seed: int
) -> None:
    """Rms maps come and go and change, people decide on counterparts: the rows are those of a rewrite from scratch."""
    survey = Survey(n_sources=30, n_epochs=4, seed=seed, n_images=2, detected=0.6)
    catalog = pd.DataFrame({"catalog_source_id": [f"N{i}" for i in range(30)], "ra_deg": survey.ra})
    reference = ReferenceCatalog("nvss", catalog.assign(dec_deg=survey.dec, flux_mjy=survey.flux), 1400.0, 45.0, "1")
    matching = source_matching([reference], Matching())
    folder = tmp_path_factory.mktemp("history")
    present: dict[int, EpochProducts] = {}
    with copied(empty_database, folder, "lived.sqlite3") as lived:
        for number, what in steps:
            if what == "delete":
                if present.pop(number, None) is not None:
                    lived.delete_epoch(survey.names[number], matching=matching)
                continue
            epoch = survey.epoch(number, flux_factor=1.3 if what == "moved" else 1.0)
            rms = {"mapped": np.nan, "deep": 0.1}.get(what)
            present[number] = epoch if rms is None else replace(epoch, coverage=northern_half(epoch, survey, rms))
            lived.replace_epochs([present[number]], matching=matching)
        ids = lived.read_table("sources")["id"]
        for index, source in enumerate(ids[::7]):
            lived.decide_match(["accept", "reject"][index % 2], source, "nvss", f"N{index}", matching=matching)
        expected = dump(lived, HISTORY)
        lived.rebuild([], matching=matching)
        lived.rebuild(list(present.values()), matching=matching)
        assert_same_rows(dump(lived, HISTORY), expected)


def northern_half(epoch: EpochProducts, survey: Survey, rms_mjy_beam: float) -> pd.DataFrame:
    """A coverage of the first image: what lies north of the patch's middle."""
    cells = cells_within(survey.centre[0], survey.centre[1], 3.0, 9)
    lat = HEALPix(1 << 9, order="nested").healpix_to_lonlat(cells)[1].to_value(u.deg)
    cells = cells[lat > survey.centre[1]]
    north = merged(cells << 40, (cells + 1) << 40, np.full(len(cells), rms_mjy_beam))
    images = list(pd.DataFrame(epoch.images)["image"])
    return coverage_table(images, [north, *[None] * (len(images) - 1)])


def test_writing_twice_changes_nothing(database: ProductsDatabase) -> None:
    survey = Survey()
    database.replace_epochs(survey.epochs())
    before = dump(database)
    report = database.replace_epochs([survey.epoch(2)])
    assert (report.written, report.unchanged) == ([], [survey.names[2]])
    assert_same_rows(dump(database), before)


def test_blocks_of_an_earlier_version_are_written_again(
    database: ProductsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = Survey()
    with monkeypatch.context() as before:
        before.setattr(epoch_products, "BLOCK_VERSION", "1")
        database.replace_epochs(survey.epochs())
    report = database.replace_epochs(survey.epochs())
    assert (report.written, report.unchanged) == (survey.names, [])


def test_rows_in_another_order_are_the_same_content(sqlite_url: str) -> None:
    survey = Survey()
    first, rng = survey.epoch(0), np.random.default_rng(0)
    shuffled = {
        name: frame.sample(frac=1, random_state=int(rng.integers(99))).reset_index(drop=True)
        for name in ("images", "measurements", "associations", "corrections")
        if isinstance(frame := getattr(first, name), pd.DataFrame)
    }
    assert replace(first, **shuffled).content_version == first.content_version


def test_unchanged_epoch_leaves_the_file_alone(sqlite_url: str) -> None:
    survey = Survey()
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
        database.replace_epochs(survey.epochs())
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    before = file.read_bytes()
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
        database.replace_epochs(survey.epochs())
        wal = file.with_name(file.name + "-wal")
        assert not wal.exists() or wal.stat().st_size == 0
    assert file.read_bytes() == before


def test_new_versions_of_the_same_content_are_recorded(database: ProductsDatabase) -> None:
    survey = Survey()
    database.replace_epochs(survey.epochs())
    report = database.replace_epochs([survey.epoch(1, version="2")])
    assert report.unchanged == [survey.names[1]]
    assert database.recorded_versions()[survey.names[1]] == {"measurements": "2"}
    assert database.recorded_versions()[survey.names[0]] == {"measurements": "1"}


def test_only_touched_sources_are_recomputed(database: ProductsDatabase) -> None:
    here, there = Survey(n_sources=20, dec=16.0), Survey(n_sources=30, dec=-40.0, seed=2, prefix="far-")
    database.replace_epochs(here.epochs()[:3])
    database.replace_epochs(there.epochs())
    report = database.replace_epochs([here.epoch(3)])
    assert report.n_sources == len(dump(database)["sources"])
    assert report.n_recomputed == here.seen.any(axis=0).sum() < report.n_sources


def test_a_source_that_is_left_alone_has_no_neighbor(database: ProductsDatabase) -> None:
    here, there = (
        Survey(n_sources=1, n_epochs=1, detected=1.0),
        Survey(n_sources=5, n_epochs=1, dec=-40.0, prefix="far-"),
    )
    database.replace_epochs([*here.epochs(), *there.epochs()])
    separation = database.read_table("sources")["neighbour_arcsec"]
    assert separation.notna().all()
    # Everything that the epoch touches goes; what stays is elsewhere.
    database.delete_epoch(there.names[0])
    assert database.read_table("sources")["neighbour_arcsec"].isna().tolist() == [True]


def test_other_parameters_recompute_every_source(database: ProductsDatabase) -> None:
    epochs = Survey(n_images=2).epochs()
    database.replace_epochs(epochs)
    other = Variability(scale_error=False, upper_limit_sigma=3.0)
    report = database.replace_epochs([], other)
    assert report.n_recomputed == report.n_sources
    changed = dump(database)
    database.rebuild([])
    database.replace_epochs(epochs, other)
    assert_same_rows(changed, dump(database))


def test_a_bad_table_writes_nothing(database: ProductsDatabase) -> None:
    survey = Survey()
    database.replace_epochs([survey.epoch(0)])
    before = dump(database)
    bad = survey.epoch(1)
    bad = replace(bad, measurements=bad.measurements.assign(ra_deg=400.0))
    with pytest.raises(SchemaError, match="ra_deg = 400"):
        database.replace_epochs([survey.epoch(2), bad])
    assert_same_rows(dump(database), before)


def test_an_association_of_nothing_writes_nothing(database: ProductsDatabase) -> None:
    survey = Survey()
    database.replace_epochs([survey.epoch(0)])
    before = dump(database)
    bad = survey.epoch(1)
    bad = replace(
        bad, associations=bad.associations.assign(measurement_id=[f"{i:016x}" for i in range(len(bad.associations))])
    )
    with pytest.raises(StoreError, match="do not fit"):
        database.replace_epochs([bad])
    assert_same_rows(dump(database), before)


def test_an_epoch_given_twice_is_refused(database: ProductsDatabase) -> None:
    survey = Survey()
    with pytest.raises(StoreError, match="more than once"):
        database.replace_epochs([survey.epoch(0), survey.epoch(0)])
    with pytest.raises(StoreError, match="not in the products database"):
        database.delete_epoch("never")


def test_an_empty_epoch(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=10, n_epochs=3)
    survey.seen[1] = False
    database.replace_epochs(survey.epochs())
    assert database.query("SELECT n_measurements FROM epochs ORDER BY epoch").n_measurements.tolist()[1] == 0
    # Every source was covered by it and not seen.
    limits = database.query("SELECT count(*) AS n FROM upper_limits WHERE epoch = :e", {"e": survey.names[1]})
    assert limits.n[0] == survey.seen.any(axis=0).sum()


def test_an_empty_epoch_alone(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=10, n_epochs=1)
    survey.seen[0] = False
    report = database.replace_epochs(survey.epochs())
    assert report.n_sources == 0
    assert database.delete_epoch(survey.names[0]).deleted == [survey.names[0]]


def test_duplicates_stay_out_of_light_curves(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=5, n_epochs=2, detected=1.0)
    first = survey.epoch(0)
    kept, duplicate = first.measurements.measurement_id[0], first.measurements.measurement_id[1]
    marked = first.measurements.assign(duplicate_of=[None, kept, None, None, None])
    database.replace_epochs([replace(first, measurements=marked), survey.epoch(1)])
    assert database.query("SELECT n_duplicates FROM epochs WHERE epoch = :e", {"e": first.epoch}).n_duplicates[0] == 1
    assert duplicate not in set(database.query("SELECT measurement_id FROM light_curves").measurement_id)
    n = database.query("SELECT id, n_measurements FROM sources").set_index("id").n_measurements
    assert sorted(n) == [1, 2, 2, 2, 2]


def test_a_large_database_is_worked_on_in_pieces(
    sqlite_url: str, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = Survey(n_sources=30, n_epochs=4, n_images=2)
    # What a fork copied stands in its parent's light curve, which may be in another piece.
    epochs, forks = with_forks(survey.epochs(), 8)
    with copied(empty_database, tmp_path, "whole.sqlite3") as whole:
        whole.replace_epochs(epochs)
        expected = dump(whole)
        counts = whole.read_table("sources").set_index("id")["n_measurements"]
    assert (counts[forks] > 1).any()
    monkeypatch.setattr(light_curves, "MAX_POINTS", 40)
    monkeypatch.setattr(statistics, "CHUNK_POINTS", 7)
    with copied(empty_database, tmp_path, "pieces.sqlite3") as pieces:
        pieces.replace_epochs(epochs[:3])
        pieces.replace_epochs(epochs[3:])
        assert_same_rows(dump(pieces), expected)


def test_a_generator_is_written_all_or_not(database: ProductsDatabase) -> None:
    survey = Survey()
    report = database.replace_epochs(survey.epoch(number) for number in (0, 1))
    assert report.written == survey.names[:2]
    before = dump(database)

    def breaks() -> Iterator[EpochProducts]:
        yield survey.epoch(2)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        database.replace_epochs(breaks())
    assert_same_rows(dump(database), before)
