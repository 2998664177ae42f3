"""Sources as a HATS collection: LSDB opens it, finds what the database finds, and light curves lie nested in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contimg_assets.catalogs.hats import open_hats
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.export_hats import HatsUpdate, export_hats, update_hats
from contimg_assets.database.hats_folder import MARGIN, SOURCES, HatsFolder
from contimg_assets.database.matching import source_matching
from contimg_assets.database.nested_sources import NESTED
from contimg_assets.errors import InputError
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets_tests import postgres
from contimg_assets_tests.database.survey import Survey, nvss


@pytest.fixture
def database(sqlite_url: str, empty_database: Path, tmp_path: Path):
    shutil.copy(empty_database, tmp_path / "products.sqlite3")
    with ProductsDatabase(sqlite_url) as opened:
        yield opened


@pytest.mark.slow
def test_lsdb_finds_what_the_database_finds(database: ProductsDatabase, tmp_path: Path) -> None:
    lsdb = pytest.importorskip("lsdb", reason="pip install 'contimg-assets[hats]'")
    # Across RA 0; some sources have limits, and one more than the others.
    survey = Survey(n_sources=30, n_epochs=3)
    database.replace_epochs(survey.epochs()[:2])
    folder, link = tmp_path / "sources_hats", tmp_path / "link"
    folder.mkdir()
    export_hats(database, folder)
    link.symlink_to(folder)
    database.replace_epochs(survey.epochs()[2:])
    sources = database.read_table("sources")
    # The collection that is there is replaced, and nothing else is left.
    assert export_hats(database, link, margin_arcsec=90.0) == len(sources)
    assert [path.name for path in tmp_path.iterdir() if "hats" in path.name] == [folder.name]
    assert link.is_symlink()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt', which was not written here; name another folder"):
        export_hats(database, folder)

    # Another survey can take it as a reference catalog.
    read = ReferenceCatalog.read(folder, freq_mhz=1400, columns={"catalog_source_id": {"column": "id"}})
    assert sorted(read.table.column("catalog_source_id").to_pylist()) == sorted(sources["id"])

    catalog = lsdb.open_catalog(folder)
    assert catalog.margin.hc_structure.catalog_info.margin_threshold == 90.0
    rows = catalog.compute(progress_bar=False).set_index("id").sort_index()
    assert rows.index.tolist() == sorted(sources["id"])
    assert rows["ra_deg"].tolist() == sources.set_index("id").sort_index()["ra_deg"].tolist()

    near = separation_arcsec(0.0, 16.0, sources["ra_deg"].to_numpy(), sources["dec_deg"].to_numpy()) < 900.0
    assert 0 < near.sum() < len(sources)
    found = catalog.cone_search(ra=0.0, dec=16.0, radius_arcsec=900.0).compute(progress_bar=False)
    assert sorted(found["id"]) == sorted(sources["id"][near])

    for column, name in NESTED.items():
        nested = rows[column].nest.to_flat()
        wanted = database.query(f"SELECT * FROM {name} ORDER BY source_id").set_index("source_id")
        assert sorted(nested.index) == sorted(wanted.index)
        if name == "light_curves":
            got = nested.reset_index().sort_values(["id", "mjd"])
            assert got["mjd"].tolist() == wanted.reset_index().sort_values(["source_id", "mjd"])["mjd"].tolist()
            assert got["is_limit"].sum() == wanted["is_limit"].sum() > 0


def test_what_cannot_be_written_is_refused(database: ProductsDatabase, tmp_path: Path) -> None:
    # A collection that somebody else has written is theirs.
    theirs = tmp_path / "gaia_hats"
    theirs.mkdir()
    (theirs / "collection.properties").write_text("obs_collection=gaia_dr3\n")
    with pytest.raises(InputError, match=r"holds 'collection\.properties', which was not written here"):
        export_hats(database, theirs)
    assert [path.name for path in theirs.iterdir()] == ["collection.properties"]
    with pytest.raises(InputError, match="is a file; name a folder"):
        export_hats(database, theirs / "collection.properties")
    for margin in (0.0, 1e7, float("inf"), float("nan")):
        with pytest.raises(InputError, match="give one up to 600 arcsec"):
            export_hats(database, tmp_path / "out", margin)
    with pytest.raises(InputError, match="there are no sources to write; run `contimg run` first"):
        export_hats(database, tmp_path / "out")
    with pytest.raises(InputError, match="does not exist; create it first"):
        export_hats(database, tmp_path / "nowhere" / "out")


def _files(folder: Path) -> dict[str, int]:
    """Files of tiles of the current state, by table and tile, with what tells whether they were written again."""
    name = _state(folder)
    tables = (folder / f"{table}_{name}" / "dataset" for table in (SOURCES, MARGIN))
    return {
        f"{data.parent.name[:6]} {file.name}": file.stat().st_ino for data in tables for file in data.rglob("Npix=*")
    }


def _northern(folder: Path) -> dict[int, bool]:
    """Whether each tile lies in the north."""
    catalog = open_hats(folder)
    dec = [pq.read_table(catalog.files(tile)[0], columns=["dec_deg"])["dec_deg"] for tile in range(len(catalog))]
    return {int(pixel): column[0].as_py() > 0 for pixel, column in zip(catalog.pixels, dec, strict=True)}


def _state(folder: Path) -> str:
    state = HatsFolder(folder).state()
    assert state is not None
    return state.name


def _rows(folder: Path) -> pa.Table:
    """All sources, as a reader that opens the collection finds them."""
    catalog = open_hats(folder)
    return pa.concat_tables(pq.read_table(catalog.files(tile)[0], partitioning=None) for tile in range(len(catalog)))


def test_only_tiles_that_changed_are_written(database: ProductsDatabase, tmp_path: Path) -> None:
    here, far, folder = Survey(n_sources=40, n_epochs=3), Survey(40, 2, dec=-40.0, prefix="far"), tmp_path / "hats"
    database.replace_epochs([*here.epochs()[:2], *far.epochs()[:1]])
    first = update_hats(database, folder)
    assert first.n_written == first.n_files > 2
    before, name = _files(folder), _state(folder)
    assert update_hats(database, folder) == HatsUpdate(first.n_sources, first.n_files, 0)
    opened = open_hats(folder)
    database.replace_epochs(here.epochs()[2:])
    second = update_hats(database, folder)
    after = _files(folder)
    same = {file for file in after if after[file] == before.get(file)}
    assert 0 < len(same) == second.n_files - second.n_written
    # Those that are far away are the same files; who opened the state before still reads it.
    changed = {pixel for pixel, near in _northern(folder).items() if near}
    assert {int(name.split("=")[1].partition(".")[0]) for name in set(after) - same} <= changed
    assert sum(pq.read_metadata(opened.files(tile)[0]).num_rows for tile in range(len(opened))) == first.n_sources
    # Back to what was: that state is still there.
    database.replace_epochs([], delete=here.names[2:])
    assert update_hats(database, folder).n_sources == first.n_sources
    assert (_state(folder), _files(folder)) == (name, before)
    database.replace_epochs([], delete=[*here.names, *far.names])
    assert update_hats(database, folder) == HatsUpdate()
    assert not (folder / "collection.properties").exists()


def test_whatever_changes_ends_in_what_a_first_export_writes(database: ProductsDatabase, tmp_path: Path) -> None:
    survey, folder = Survey(n_sources=30, n_epochs=4), tmp_path / "hats"
    catalog = source_matching([nvss(survey)], Matching())
    epochs = survey.epochs()
    source = ""

    def decide() -> None:
        database.decide_match("reject", source, "nvss", "N002", "a side lobe", matching=catalog)

    steps = [
        lambda: database.replace_epochs(epochs[:2]),
        lambda: database.replace_epochs(epochs[2:], matching=catalog),
        decide,
        lambda: database.replace_epochs([survey.epoch(1, flux_factor=1.5)], matching=catalog),
        lambda: database.replace_epochs(
            [survey.epoch(k, skip=frozenset({0})) for k in (1, 2, 3)], matching=catalog, delete=[survey.names[0]]
        ),
        lambda: database.replace_epochs([], matching=None),
    ]
    for number, step in enumerate(steps):
        step()
        source = source or str(database.read_table("sources")["id"][3])
        update_hats(database, folder)
        update_hats(database, tmp_path / f"fresh_{number}")
        assert _state(folder) == _state(tmp_path / f"fresh_{number}")
    rows = _rows(folder)
    assert rows["id"].to_pylist() == _rows(tmp_path / f"fresh_{number}")["id"].to_pylist()
    wanted = database.read_table("sources").set_index("id")["n_measurements"]
    points = {one["id"]: len(one["light_curve"]["mjd"]) for one in rows.select(["id", "light_curve"]).to_pylist()}
    limits = database.read_table("sources").set_index("id")["n_limits"]
    assert points == (wanted + limits).to_dict()


def test_postgresql_ends_in_the_same_collection(
    database: ProductsDatabase, postgres_server: str, empty_divided: str, tmp_path: Path
) -> None:
    survey = Survey(n_sources=20, n_epochs=3)
    catalog = source_matching([nvss(survey)], Matching())
    with ProductsDatabase(postgres.fresh_database(postgres_server, like=empty_divided)) as divided:
        for number, one in enumerate((database, divided)):
            one.replace_epochs(survey.epochs(), matching=catalog)
            update_hats(one, tmp_path / str(number))
    assert _state(tmp_path / "0") == _state(tmp_path / "1")


class _Killed(BaseException):
    pass


@pytest.mark.slow
def test_who_is_killed_leaves_a_whole_state(
    database: ProductsDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = Survey(n_sources=20, n_epochs=2)
    database.replace_epochs(survey.epochs()[:1])
    whole = tmp_path / "whole"
    update_hats(database, whole)
    old = _state(whole)
    database.replace_epochs(survey.epochs()[1:])
    shutil.copytree(whole, tmp_path / "new")
    update_hats(database, tmp_path / "new")
    states, n_steps = {old, _state(tmp_path / "new")}, 0
    for step in range(1000):
        folder = tmp_path / f"killed_{step}"
        shutil.copytree(whole, folder)
        left = [step]

        def counted(act, *arguments, left=left, **options):
            left[0] -= 1
            if left[0] < 0:
                raise _Killed
            return act(*arguments, **options)

        with monkeypatch.context() as patch:
            for owner, name in ((Path, "rename"), (Path, "replace"), (os, "link"), (shutil, "rmtree"), (Path, "mkdir")):
                act = getattr(owner, name)
                patch.setattr(owner, name, lambda *a, _act=act, **k: counted(_act, *a, **k))
            try:
                update_hats(database, folder)
                break
            except _Killed:
                n_steps += 1
        assert _state(folder) in states
        assert len(_rows(folder)) > 0
        update_hats(database, folder)
        assert {one.name for one in folder.iterdir()} == {one.name for one in (tmp_path / "new").iterdir()}
        assert _rows(folder).equals(_rows(tmp_path / "new"))
        shutil.rmtree(folder)
    assert n_steps > 8
