"""Reference catalogs in HATS as tables of the survey: made again when they changed, and never for a copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contimg_assets.catalogs.inspect import inspect_reference
from contimg_assets.catalogs.manage import add_catalog, list_catalogs
from contimg_assets.catalogs.store import catalog_file, query_sources, write_catalog
from contimg_assets.config import FILE_NAME, Config, load_config
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import version_of_table
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.store_check import check_store
from contimg_assets.pipeline.survey_files import CONTENT
from contimg_assets.pipeline.survey_tables import (
    catalog_versions,
    made_catalogs,
    make_catalog,
    missing_catalog,
    reference_tables,
)
from contimg_assets.schemas.described import describe
from contimg_assets_tests.catalogs.test_hats import sky, write_hats


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A project to which a catalog in HATS was added as people do."""
    write_hats(sky(400), tmp_path / "catalogs" / "sky_hats", collection=True)
    n_rows = add_catalog(
        tmp_path / FILE_NAME,
        "sky",
        tmp_path / "catalogs" / "sky_hats",
        freq_mhz=1400.0,
        columns={"flux_mjy": {"column": "S_total", "unit": "mJy"}},
    )
    assert n_rows == 400
    return load_config(tmp_path / FILE_NAME)


def make(config: Config) -> str | None:
    """Make the catalog as its asset and the store do; its version."""
    table = make_catalog(config, "sky")
    write_catalog(describe(table, {CONTENT: version_of_table(table)}), catalog_file(config, "sky"))
    return catalog_versions(config)["sky"]


def is_stale(config: Config) -> bool:
    (table,) = reference_tables(config)
    return table.needs_making


def a_tile(config: Config) -> Path:
    return next((config.catalog_path("sky") / "sources" / "dataset").rglob("*.parquet"))


def test_a_catalog_is_stale_when_a_tile_changed_and_the_same_after_a_copy(config: Config) -> None:
    assert is_stale(config)
    version = make(config)
    assert not is_stale(config)
    # Touched, as by a copy: looked at again, and nothing that was matched with it is stale.
    os.utime(a_tile(config), (1e9, 1e9))
    assert is_stale(config)
    assert make(config) == version
    assert not is_stale(config)
    table = pq.read_table(a_tile(config)).to_pandas()
    table.loc[0, "S_total"] = 9999.0
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), a_tile(config))
    assert is_stale(config)
    assert make(config) != version
    assert not is_stale(config)


def test_what_the_configuration_says_of_its_columns_counts_for_its_version(config: Config, tmp_path: Path) -> None:
    version = make(config)
    file = tmp_path / FILE_NAME
    file.write_text(file.read_text().replace("unit: mJy", "unit: Jy"))
    changed = load_config(file)
    assert is_stale(changed)
    assert make(changed) != version
    # Rows follow it too: fluxes are a thousand times as large.
    assert made_catalogs(changed)["sky"].table.column("flux_mjy").to_numpy().min() >= 1e4


def test_a_project_that_was_moved_reads_its_tiles_where_they_are_now(config: Config, tmp_path: Path) -> None:
    version = make(config)
    shutil.move(tmp_path / "catalogs" / "sky_hats", tmp_path / "catalogs" / "elsewhere")
    file = tmp_path / FILE_NAME
    file.write_text(file.read_text().replace("sky_hats", "elsewhere"))
    moved = load_config(file)
    assert is_stale(moved)
    assert make(moved) == version
    assert len(query_sources("sky", 200.0, 0.0, 20.0, config=moved))


def test_what_is_said_of_it_counts_all_rows_and_reads_one_tile(config: Config) -> None:
    make(config)
    listed = list_catalogs(config).iloc[0]
    assert (listed["n_rows"], bool(listed["exists"]), bool(listed["materialized"])) == (400, True, True)
    found = inspect_reference(config.catalog_path("sky"), config.catalogs["sky"])
    assert found.n_rows < 400
    assert any("a catalog in HATS with 5" in warning and "400 rows" in warning for warning in found.warnings)
    config.incoming.mkdir()
    assert check_store(Project(config)) == []


def test_a_catalog_that_is_gone_is_missed_in_a_sentence(config: Config) -> None:
    make(config)
    folder = config.catalog_path("sky")
    shutil.rmtree(folder / "sources" / "dataset")
    # It is looked at again, and what is wrong with it is said then.
    assert is_stale(config)
    with pytest.raises(InputError, match="its file is not there; copy the catalog again"):
        make(config)
    (folder / "collection.properties").unlink()
    assert "this folder of the catalog 'sky' is not in HATS; correct catalogs.sky.path" in str(
        missing_catalog(config, "sky")
    )
    shutil.rmtree(folder)
    assert "no such file for the catalog 'sky'" in str(missing_catalog(config, "sky"))
    with pytest.raises(InputError, match="sky_hats"):
        made_catalogs(config)["sky"].cone(0.0, 16.0, 1.0)
