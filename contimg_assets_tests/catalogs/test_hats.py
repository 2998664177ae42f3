"""Catalogs in HATS: tiles near positions alone are opened, and rows are those of the same catalog in one file."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy_healpix import HEALPix

from contimg_assets.catalogs.hats import open_hats
from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog, write_catalog
from contimg_assets.config import CatalogConfig
from contimg_assets.crossmatch.matches import match_measurements
from contimg_assets.errors import InputError
from contimg_assets.sky.sphere import separation_arcsec

SETTINGS: dict[str, Any] = {"freq_mhz": 1400.0, "beam_arcsec": 45.0}


def sky(n: int = 4000, seed: int = 21) -> pd.DataFrame:
    """Sources over the whole sky, some of them beside RA 0 and at the poles, in a survey's own columns."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0.0, 360.0, n), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    ra[:20], dec[:20] = rng.uniform(-0.2, 0.2, 20) % 360.0, rng.uniform(15.8, 16.2, 20)
    dec[20:30], dec[30:40] = rng.uniform(89.8, 90.0, 10), rng.uniform(-90.0, -89.8, 10)
    return pd.DataFrame(
        {
            "name": [f"S{i:05d}" for i in range(n)],
            "mean_ra": ra,
            "mean_dec": dec,
            "S_total": rng.uniform(10.0, 500.0, n),
            "e_S_total": 1.0,
        }
    )


def write_hats(table: pd.DataFrame, folder: Path, *, collection: bool = False, suffix: str = ".parquet") -> Path:
    """A catalog in HATS with tiles of orders 1 and 2, as its standard describes it."""
    whole = folder
    if collection:
        folder = folder / "sources"
        whole.mkdir(parents=True)
        (whole / "collection.properties").write_text("#HATS Collection\nhats_primary_table_url=sources\n")
    pixels = {
        order: HEALPix(1 << order, order="nested").lonlat_to_healpix(
            table["mean_ra"].to_numpy() * u.deg, table["mean_dec"].to_numpy() * u.deg
        )
        for order in (1, 2)
    }
    # Where the first four tiles are, finer ones.
    orders = np.where(pixels[1] < 4, 2, 1)
    tiles = pd.DataFrame({"Norder": orders, "Npix": np.where(orders == 2, pixels[2], pixels[1])})
    for (order, pixel), rows in tiles.groupby(["Norder", "Npix"]):
        place = folder / "dataset" / f"Norder={order}" / "Dir=0"
        part = pa.Table.from_pandas(table.loc[rows.index], preserve_index=False)
        if suffix == "/":
            (place / f"Npix={pixel}").mkdir(parents=True)
            pq.write_table(part.slice(0, 3), place / f"Npix={pixel}" / "part0.parquet")
            pq.write_table(part.slice(3), place / f"Npix={pixel}" / "part1.parquet")
        else:
            place.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, place / f"Npix={pixel}{suffix}")
    tiles.drop_duplicates().to_csv(folder / "partition_info.csv", index=False)
    (folder / "hats.properties").write_text(
        "#HATS catalog\nobs_collection=x\ndataproduct_type=object\nhats_col_ra=mean_ra\nhats_col_dec=mean_dec\n"
        f"hats_nrows={len(table)}\nhats_npix_suffix={suffix}\n"
    )
    return whole


def catalogs(table: pd.DataFrame, folder: Path, **layout: Any) -> tuple[ReferenceCatalog, ReferenceCatalog]:
    """The same catalog in HATS and in one file, as a project keeps them."""
    write_hats(table, folder / "hats", **layout)
    table.sample(frac=1.0, random_state=1).to_parquet(folder / "one.parquet", index=False)
    columns = {"ra_deg": {"column": "mean_ra"}, "dec_deg": {"column": "mean_dec"}}
    flux = {"flux_mjy": {"column": "S_total"}, "flux_err_mjy": {"column": "e_S_total"}}
    for name, path, given in (("tiles", "hats", flux), ("one", "one.parquet", columns | flux)):
        config = CatalogConfig.model_validate({"path": path, "columns": given, **SETTINGS})
        write_catalog(build_catalog(name, config, folder), folder / "store" / f"{name}.parquet")
    return tuple(ReferenceCatalog("sky", folder / "store" / f"{name}.parquet") for name in ("tiles", "one"))  # type: ignore[return-value]


@pytest.mark.parametrize("layout", [{}, {"collection": True}, {"suffix": "/"}, {"suffix": ".snappy.parquet"}])
def test_rows_are_those_of_one_file_everywhere(tmp_path: Path, layout: dict[str, Any]) -> None:
    tiles, one = catalogs(sky(), tmp_path, **layout)
    assert len(tiles) == len(one) == 4000
    for ra, dec, radius in ((0.0, 16.0, 900.0), (123.0, 89.99, 7200.0), (10.0, -90.0, 900.0), (200.0, 0.0, 4e4)):
        near = tiles.within([ra], [dec], radius)
        pd.testing.assert_frame_equal(near, one.within([ra], [dec], radius))
        assert len(near)
    assert tiles.table.equals(one.table)
    assert tiles.has("S00003")
    assert not tiles.has("S0000")


def test_tiles_near_the_positions_alone_are_opened_and_once(tmp_path: Path) -> None:
    tiles, _ = catalogs(sky(), tmp_path)
    hats = open_hats(tmp_path / "hats")
    assert (len(hats), tiles.n_tiles_opened) == (60, 0)
    tiles.within([200.0, 201.0], [-0.5, 0.5], 60.0)
    opened = tiles.n_tiles_opened
    assert 1 <= opened <= 2
    tiles.within([200.5], [0.0], 60.0)
    assert tiles.n_tiles_opened == opened
    # Nothing of it goes to another process, which opens what it needs itself.
    sent = pickle.loads(pickle.dumps(tiles))
    assert sent.within([200.5], [0.0], 60.0).equals(tiles.within([200.5], [0.0], 60.0))


def test_a_source_just_across_the_border_of_a_tile_is_found(tmp_path: Path) -> None:
    table = sky(400)
    # Two of the twelve base tiles meet where sin dec = 2/3 (1 - RA / 45 deg); one source on each side, 4 arcsec apart.
    dec = np.degrees(np.arcsin(2 / 9))
    table.loc[:1, "mean_ra"], table.loc[:1, "mean_dec"] = [30.0 - 5e-4, 30.0 + 5e-4], [dec, dec]
    tiles, one = catalogs(table, tmp_path)
    near = tiles.within([30.0 - 5e-4], [dec], 5.0)
    assert sorted(near["catalog_source_id"]) == ["S00000", "S00001"]
    pd.testing.assert_frame_equal(near, one.within([30.0 - 5e-4], [dec], 5.0))
    assert tiles.n_tiles_opened == 2


def test_a_source_that_moved_out_of_its_tile_is_found(tmp_path: Path) -> None:
    table = sky(400).assign(pmRA=0.0, pmDE=0.0, ref_epoch=2000.0)
    dec = np.degrees(np.arcsin(2 / 9))
    table.loc[0, ["mean_ra", "mean_dec", "pmRA"]] = [30.0 - 0.03, dec, 10_000.0]
    write_hats(table, tmp_path / "hats")
    # 25 years at 10 arcsec a year: by 0.0712 deg in RA, over the border of a base tile at RA 30.
    config = CatalogConfig.model_validate(
        {"path": tmp_path / "hats", "positions_at_mjd": 51544.5 + 25 * 365.25, **SETTINGS}
    )
    catalog = ReferenceCatalog("sky", build_catalog("sky", config, tmp_path))
    found = catalog.within([30.0 - 0.03 + 250.0 / 3600.0 / np.cos(np.radians(dec))], [dec], 5.0)
    assert found["catalog_source_id"].tolist() == ["S00000"]


def test_matches_are_those_of_one_file_bit_for_bit(tmp_path: Path) -> None:
    table = sky()
    tiles, one = catalogs(table, tmp_path)
    rng = np.random.default_rng(3)
    separation = separation_arcsec(0.0, 16.0, table["mean_ra"].to_numpy(), table["mean_dec"].to_numpy())
    seen = table[separation < 1800.0]
    assert len(seen) > 15
    measurements = pd.DataFrame(
        {
            "measurement_id": [f"M{i}" for i in range(len(seen))],
            "ra_deg": (seen["mean_ra"].to_numpy() + rng.normal(0.0, 2e-4, len(seen))) % 360.0,
            "dec_deg": seen["mean_dec"].to_numpy() + rng.normal(0.0, 2e-4, len(seen)),
            "uncertainty_ew_arcsec": 0.7,
            "uncertainty_ns_arcsec": 0.7,
            "flux_int_mjy": seen["S_total"].to_numpy(),
            "flux_int_err_mjy": 1.0,
        }
    )
    images = pd.DataFrame({"image": ["tile1"], "bmaj_arcsec": [40.0], "freq_mhz": [1400.0]})
    matched, expected = (match_measurements(measurements, images, catalog) for catalog in (tiles, one))
    assert len(matched) >= len(seen)
    # The version says how the catalog was delivered; all else is the same.
    assert (matched.pop("catalog_version") != expected.pop("catalog_version")).all()
    pd.testing.assert_frame_equal(matched, expected, check_exact=True)
    assert 1 <= tiles.n_tiles_opened <= 4


def _another_row(folder: Path) -> None:
    file = next((folder / "dataset").rglob("*.parquet"))
    table = pq.read_table(file).to_pandas()
    pq.write_table(pa.Table.from_pandas(pd.concat([table, table.iloc[:1]]), preserve_index=False), file)


def _another_flux(folder: Path) -> None:
    file = next((folder / "dataset").rglob("*.parquet"))
    table = pq.read_table(file).to_pandas()
    table.loc[0, "S_total"] = 9999.0
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), file)


@pytest.mark.parametrize("change", [_another_row, _another_flux])
def test_a_changed_collection_has_another_version(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = write_hats(sky(400), tmp_path / "hats")
    before = open_hats(folder)
    stamp, version = before.stamp(), before.version()
    assert (open_hats(folder).stamp(), open_hats(folder).version()) == (stamp, version)
    # A file that was touched is looked at again, and is the same.
    os.utime(next((folder / "dataset").rglob("*.parquet")), (1e9, 1e9))
    assert open_hats(folder).stamp() != stamp
    assert open_hats(folder).version() == version
    change(folder)
    assert open_hats(folder).stamp() != stamp
    assert open_hats(folder).version() != version


def test_a_tile_without_a_usable_row_is_no_fault_but_a_catalog_without_columns_is(tmp_path: Path) -> None:
    table = sky(400)
    # All rows of one tile have no position of their own any more.
    folder = write_hats(table, tmp_path / "hats")
    file = open_hats(folder).files(5)[0]
    empty = pq.read_table(file).to_pandas().assign(mean_ra=np.nan)
    pq.write_table(pa.Table.from_pandas(empty, preserve_index=False), file)
    config = CatalogConfig.model_validate({"path": folder, **SETTINGS})
    assert ReferenceCatalog("sky", build_catalog("sky", config, tmp_path)).table.num_rows == 400 - len(empty)
    properties = folder / "hats.properties"
    properties.write_text(properties.read_text().replace("mean_ra", "nothing").replace("mean_dec", "nothing"))
    with pytest.raises(InputError, match="no column"):
        build_catalog("sky", config, tmp_path)


def _without_list(folder: Path) -> None:
    (folder / "partition_info.csv").unlink()


def _list_of_nothing(folder: Path) -> None:
    (folder / "partition_info.csv").write_text("Norder,Npix\n")


def _list_off_the_sky(folder: Path) -> None:
    (folder / "partition_info.csv").write_text("Norder,Npix\n1,47\n1,48\n")


def _list_of_words(folder: Path) -> None:
    (folder / "partition_info.csv").write_text("a,b\n1,2\n")


def _without_a_tile(folder: Path) -> None:
    next((folder / "dataset").rglob("*.parquet")).unlink()


def _cut_tile(folder: Path) -> None:
    file = open_hats(folder).files(7)[0]
    file.write_bytes(file.read_bytes()[:-20])


def _margin(folder: Path) -> None:
    file = folder / "hats.properties"
    file.write_text(file.read_text().replace("=object", "=margin"))


def _led_away(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "elsewhere")
    (folder / "collection.properties").write_text("hats_primary_table_url=../elsewhere\n")


def _suffix_that_leads_away(folder: Path) -> None:
    file = folder / "hats.properties"
    file.write_text(file.read_text().replace("=.parquet", "=/../../../elsewhere.parquet"))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_suffix_that_leads_away, "which is no end of a file's name"),
        (_without_list, "partition_info.csv: no such file, which lists the tiles of a catalog in HATS"),
        (_list_of_nothing, "it lists no tile; the catalog is empty"),
        (_list_off_the_sky, "row 2: there is no tile Norder=1, Npix=48 on the sky"),
        (_list_of_words, r"this does not list tiles \(columns Norder, Npix\)"),
        (_without_a_tile, r"lists tile Norder=\d, Npix=\d+, and its file is not there; copy the catalog again"),
        (_cut_tile, "this is no whole Parquet file; copy the catalog again"),
        (_margin, "this is a HATS table of type 'margin', and a reference catalog is of type object or source"),
        (_led_away, "hats_primary_table_url is '../elsewhere', and should name a folder in the collection"),
    ],
)
def test_what_is_no_whole_catalog_is_refused_in_a_sentence(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    folder = write_hats(sky(400), tmp_path / "hats")
    damage(folder)
    config = CatalogConfig.model_validate({"path": folder, **SETTINGS})
    with pytest.raises(InputError, match=sentence):
        build_catalog("sky", config, tmp_path)
