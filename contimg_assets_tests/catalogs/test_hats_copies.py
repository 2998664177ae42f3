"""Catalogs in HATS at URLs: tiles that positions need are fetched, once, and rows are those of the folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contimg_assets.catalogs.hats import open_hats
from contimg_assets.catalogs.manage import add_catalog, list_catalogs
from contimg_assets.catalogs.store import ReferenceCatalog, catalog_file, write_catalog
from contimg_assets.config import FILE_NAME, Config, load_config
from contimg_assets.errors import InputError
from contimg_assets.pipeline.survey_tables import catalog_versions, make_catalog, missing_catalog, reference_tables
from contimg_assets_tests.catalogs.test_copies import Server, serving_files
from contimg_assets_tests.catalogs.test_hats import SETTINGS, sky, write_hats
from contimg_assets_tests.object_store import Bucket, serving

COLUMNS = {"flux_mjy": {"column": "S_total"}, "flux_err_mjy": {"column": "e_S_total"}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving_files(tmp_path / "server") as running:
        yield running


def project(folder: Path, place: str | Path) -> Config:
    folder.mkdir()
    assert add_catalog(folder / FILE_NAME, "sky", place, columns=COLUMNS, **SETTINGS) == 4000
    return load_config(folder / FILE_NAME)


def made(config: Config) -> ReferenceCatalog:
    write_catalog(make_catalog(config, "sky"), catalog_file(config, "sky"))
    return ReferenceCatalog("sky", catalog_file(config, "sky"))


def is_stale(config: Config) -> bool:
    (table,) = reference_tables(config)
    return table.needs_making


def tiles_of(names: list[str]) -> list[str]:
    return [name for name in names if "/dataset/" in name]


@pytest.mark.parametrize("layout", [{}, {"collection": True}, {"suffix": ".snappy.parquet"}])
def test_rows_are_those_of_the_folder_and_needed_tiles_are_fetched_once(
    tmp_path: Path, server: Server, layout: dict[str, Any]
) -> None:
    write_hats(sky(), tmp_path / "server" / "sky_v1.0", **layout)
    remote = made(project(tmp_path / "remote", server.url("sky_v1.0")))
    local = made(project(tmp_path / "local", tmp_path / "server" / "sky_v1.0"))
    assert len(remote) == len(local) == 4000
    # One, to see what the columns are.
    assert len(tiles_of(server.fetched)) == 1
    for ra, dec, radius in ((0.0, 16.0, 900.0), (123.0, 89.99, 7200.0), (10.0, -90.0, 900.0)):
        near = remote.within([ra], [dec], radius)
        pd.testing.assert_frame_equal(near, local.within([ra], [dec], radius))
        assert len(near)
    fetched = tiles_of(server.fetched)
    assert len(set(fetched)) == len(fetched) <= 13
    again = ReferenceCatalog("sky", catalog_file(load_config(tmp_path / "remote" / FILE_NAME), "sky"))
    again.within([0.0], [16.0], 900.0)
    assert tiles_of(server.fetched) == fetched
    assert again.has(str(near["catalog_source_id"].iloc[0]))
    assert tiles_of(server.fetched) == fetched
    assert again.table.equals(local.table)
    assert len(tiles_of(server.fetched)) == 60


def test_a_look_reads_nothing_and_a_change_lets_the_tiles_go(tmp_path: Path, server: Server) -> None:
    folder = write_hats(sky(), tmp_path / "server" / "sky")
    config = project(tmp_path / "project", server.url("sky"))
    catalog = made(config)
    catalog.within([0.0], [16.0], 900.0)
    version, fetched = catalog_versions(config)["sky"], list(server.fetched)
    assert not is_stale(config)
    assert server.fetched == fetched
    shutil.rmtree(folder)
    write_hats(sky().assign(S_total=7.0), folder)
    server.etag = '"two"'
    assert is_stale(config)
    catalog = made(config)
    assert catalog_versions(config)["sky"] != version
    assert set(catalog.within([0.0], [16.0], 900.0)["flux_mjy"]) == {7.0}
    assert not is_stale(config)
    listed = list_catalogs(config).iloc[0]
    assert (listed["path"], bool(listed["exists"]), listed["n_rows"]) == (server.url("sky"), True, 4000)
    assert [path.name for path in config.catalog_path("sky").parent.glob(".*")] == []


def test_while_the_server_does_not_answer_what_was_fetched_is_used(tmp_path: Path, server: Server) -> None:
    write_hats(sky(), tmp_path / "server" / "sky")
    config = project(tmp_path / "project", server.url("sky"))
    made(config).within([0.0], [16.0], 900.0)
    server.shutdown()
    server.server_close()
    assert not is_stale(config)
    assert missing_catalog(config, "sky") is None
    catalog = made(config)
    assert len(catalog.within([0.0], [16.0], 900.0))
    with pytest.raises(InputError, match="not reachable"):
        catalog.within([200.0], [-40.0], 900.0)


def test_a_tile_that_the_server_lost_is_named(tmp_path: Path, server: Server) -> None:
    folder = write_hats(sky(), tmp_path / "server" / "sky")
    catalog = made(project(tmp_path / "project", server.url("sky")))
    lost = open_hats(folder).files(30)[0]
    lost.unlink()
    with pytest.raises(InputError, match=f"{lost.name}: the server has no such file"):
        _ = catalog.table


def _no_rows_said(folder: Path) -> None:
    file = folder / "hats.properties"
    file.write_text(file.read_text().replace("hats_nrows=4000\n", ""))


def _no_tiles_listed(folder: Path) -> None:
    (folder / "partition_info.csv").write_text("Norder,Npix\n")


def _a_page_in_place(folder: Path) -> None:
    (folder / "hats.properties").write_text("<html>href=1</html>")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_no_rows_said, "this catalog in HATS does not say hats_nrows; copy it and give its path"),
        (_no_tiles_listed, "it lists no tile; the catalog is empty"),
        (_a_page_in_place, r"this is a page of the web \(HTML\)"),
    ],
)
def test_what_is_no_whole_catalog_is_refused_in_a_sentence(
    tmp_path: Path, server: Server, damage: Any, sentence: str
) -> None:
    damage(write_hats(sky(), tmp_path / "server" / "sky"))
    with pytest.raises(InputError, match=sentence):
        add_catalog(tmp_path / FILE_NAME, "sky", server.url("sky"), columns=COLUMNS, **SETTINGS)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serving("sky") as (found, _):
        yield found


@pytest.mark.parametrize("layout", [{}, {"suffix": "/", "collection": True}])
def test_a_catalog_in_s3_is_read_as_the_folder(tmp_path: Path, bucket: Bucket, layout: dict[str, Any]) -> None:
    folder = write_hats(sky(), tmp_path / "sky", **layout)
    name = f"deep/{'_'.join(layout) or 'plain'}"
    bucket.put(folder, name)
    remote = made(project(tmp_path / "remote", f"{bucket.url}/{name}/"))
    local = made(project(tmp_path / "local", folder))
    pd.testing.assert_frame_equal(remote.within([0.0], [16.0], 900.0), local.within([0.0], [16.0], 900.0))
    copy = load_config(tmp_path / "remote" / FILE_NAME).catalog_path("sky")
    assert 1 < len(list(copy.rglob("*.parquet"))) < 12
