"""Catalogues on disk: only what is needed is read, and nothing is missed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.catalogs import store
from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog, catalog_file, query_sources, write_catalog
from contimg_assets.config import CatalogConfig, Config
from contimg_assets.errors import InputError, StoreError
from contimg_assets.sky import sphere


def sources(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return pd.DataFrame(
        {
            "name": [f"S{i:06d}" for i in range(n)],
            "ra_deg": rng.uniform(0, 360, n),
            "dec_deg": dec,
            "flux_mjy": rng.lognormal(2, 1, n),
        }
    )


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> ReferenceCatalog:
    root = tmp_path_factory.mktemp("catalog")
    sources(60_000).to_parquet(root / "all.parquet")
    table = build_catalog("all", CatalogConfig(path="all.parquet", freq_mhz=1400.0, beam_arcsec=45.0), root)
    write_catalog(table, root / "store" / "all.parquet")
    return ReferenceCatalog("all", root / "store" / "all.parquet")


def test_file_says_what_it_is(catalog: ReferenceCatalog) -> None:
    assert (catalog.freq_mhz, catalog.beam_arcsec, len(catalog)) == (1400.0, 45.0, 60_000)
    assert len(catalog.version) == 16


@settings(max_examples=30, deadline=None)
@given(
    ra=st.floats(0, 360, exclude_max=True) | st.sampled_from([0.0, 45.0, 90.0, 359.99999]),
    dec=st.floats(-90, 90) | st.sampled_from([-90.0, -41.81, 0.0, 41.81, 90.0]),
    radius=st.floats(0, 8) | st.sampled_from([60.0, 180.0]),
)
def test_cone_is_what_all_separations_say(catalog: ReferenceCatalog, ra: float, dec: float, radius: float) -> None:
    fresh = ReferenceCatalog("all", catalog.path)
    found = fresh.cone(ra, dec, radius)
    everything = catalog.table.to_pandas()
    separation = sphere.separation_arcsec(ra, dec, everything["ra_deg"], everything["dec_deg"])
    expected = everything[separation <= radius * 3600.0]
    assert set(found["catalog_source_id"]) == set(expected["catalog_source_id"])
    assert found["separation_arcsec"].is_monotonic_increasing


def test_a_small_part_of_the_sky_reads_a_small_part_of_the_file(catalog: ReferenceCatalog) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_groups

    def counted(self: pq.ParquetFile, groups: list[int], **options: object) -> object:
        read.append(len(groups))
        return original(self, groups, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read_row_groups", counted)
        ReferenceCatalog("all", catalog.path).cone(200.0, 30.0, 1.0)
    assert pq.read_metadata(catalog.path).num_row_groups == 8
    assert sum(read) <= 2


def test_within_is_exact(catalog: ReferenceCatalog) -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 300), rng.uniform(-90, 90, 300)
    found = ReferenceCatalog("all", catalog.path).within(ra, dec, 600.0)
    everything = catalog.table.to_pandas()
    _, near, _ = sphere.pairs_within(
        sphere.unit_vectors(ra, dec), sphere.unit_vectors(everything["ra_deg"], everything["dec_deg"]), 600.0
    )
    assert set(found["catalog_source_id"]) == set(everything["catalog_source_id"].iloc[np.unique(near)])
    assert catalog.within([], [], 600.0).empty


def test_version_is_of_the_content(tmp_path: Path) -> None:
    def version(rows: pd.DataFrame, freq: float = 1400.0) -> str:
        rows.to_parquet(tmp_path / "a.parquet")
        table = build_catalog("a", CatalogConfig(path="a.parquet", freq_mhz=freq), tmp_path)
        return table.schema.metadata[b"contimg_version"].decode()

    rows = sources(200)
    first = version(rows)
    assert version(rows.sample(frac=1, random_state=3)) == first
    assert version(rows, freq=1425.0) != first
    changed = rows.copy()
    changed.loc[7, "flux_mjy"] *= 1.000001
    assert version(changed) != first


def test_in_memory_is_as_on_disk(catalog: ReferenceCatalog) -> None:
    table = catalog.table
    memory = ReferenceCatalog("all", table.to_pandas().sample(frac=1, random_state=2), 1400.0, 45.0)
    assert memory.version == catalog.version
    pd.testing.assert_frame_equal(memory.cone(10.0, 10.0, 3.0), catalog.cone(10.0, 10.0, 3.0))


def test_query_sources_reads_the_configured_catalogue(tmp_path: Path) -> None:
    rows = sources(3000)
    rows.to_csv(tmp_path / "all.csv", index=False)
    config = Config(catalogs={"all": {"path": "all.csv", "freq_mhz": 1400.0}}, root=tmp_path)
    from_file = query_sources("all", 0.0, 90.0, 20.0, config=config)
    assert len(from_file) > 50
    assert from_file["catalog_type"].eq("all").all()
    assert set(from_file["catalog_source_id"]) == set(rows["name"][rows["dec_deg"] >= 70.0])
    write_catalog(build_catalog("all", config.catalogs["all"], tmp_path), catalog_file(config, "all"))
    (tmp_path / "all.csv").unlink()
    pd.testing.assert_frame_equal(query_sources("all", 0.0, 90.0, 20.0, config=config), from_file)
    bright = query_sources("all", 0.0, 90.0, 20.0, min_flux_mjy=10.0, max_sources=5, config=config)
    assert bright["flux_mjy"].tolist() == sorted(from_file["flux_mjy"], reverse=True)[:5]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    config = Config(catalogs={"all": {"path": "all.csv", "freq_mhz": 1400.0}}, root=tmp_path)
    with pytest.raises(InputError, match="'nvss' is not configured; there are all"):
        query_sources("nvss", 0, 0, 1, config=config)
    with pytest.raises(InputError, match=r"all\.csv: not readable"):
        query_sources("all", 0, 0, 1, config=config)
    with pytest.raises(InputError, match="materialize reference/gone"):
        ReferenceCatalog("gone", tmp_path / "gone.parquet")
    with pytest.raises(InputError, match="frequency and beam"):
        ReferenceCatalog("bare", sources(3).rename(columns={"name": "catalog_source_id"}))
    sources(3).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="no column"):
        ReferenceCatalog("other", tmp_path / "other.parquet")


def test_bad_cones_are_refused(catalog: ReferenceCatalog) -> None:
    for ra, dec, radius in ((np.nan, 0, 1), (0, 91, 1), (0, 0, -1), (0, 0, 181), (0, np.nan, 1)):
        with pytest.raises(InputError, match="not on the sky"):
            catalog.cone(ra, dec, radius)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources(10).to_parquet(tmp_path / "a.parquet")
    table = build_catalog("a", CatalogConfig(path="a.parquet", freq_mhz=1.0), tmp_path)
    target = tmp_path / "store" / "a.parquet"
    write_catalog(table, target)
    before = target.read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.pq, "write_table", fails)
    with pytest.raises(StoreError, match=r"No space left on device.*make room"):
        write_catalog(table, target)
    assert target.read_bytes() == before
    assert [file.name for file in target.parent.iterdir()] == ["a.parquet"]
