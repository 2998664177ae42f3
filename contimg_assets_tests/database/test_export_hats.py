"""Sources as a HATS collection: LSDB opens it, finds what the database finds, and light curves lie nested in it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.export_hats import NESTED, export_hats
from contimg_assets.errors import InputError
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets_tests.database.survey import Survey


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


def test_what_cannot_be_written_is_refused(
    database: ProductsDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"LSDB, which is not installed; pip install 'contimg-assets\[hats\]'"):
        export_hats(database, tmp_path / "out")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
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
