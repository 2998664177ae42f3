"""Every format gives the same catalog; what is wrong is named."""

import gzip
import sqlite3
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.catalogs.names import iau_names
from contimg_assets.catalogs.read import read_catalog
from contimg_assets.config import CatalogConfig
from contimg_assets.errors import InputError

ROWS = pd.DataFrame(
    {
        "Name": ["A", "B", "C"],
        "RAJ2000": [0.0, 359.9999, 120.5],
        "DEJ2000": [-90.0, 0.0, 45.25],
        "e_RAJ2000": [0.001, 0.002, 0.003],
        "S": [0.001, 1.5, np.nan],
    }
)
COLUMNS = {
    "catalog_source_id": {"column": "Name"},
    "ra_err_arcsec": {"column": "e_RAJ2000", "unit": "deg"},
    "flux_mjy": {"column": "S", "unit": "Jy"},
}


def read(path: Path, **settings: object) -> pd.DataFrame:
    settings = {"freq_mhz": 1400.0, "columns": COLUMNS} | settings
    return read_catalog("test", CatalogConfig(path=path, **settings), path)[0].to_pandas()


def write_votable(path: Path) -> None:
    table = Table.from_pandas(ROWS)
    table["RAJ2000"].unit = table["DEJ2000"].unit = "deg"
    table.write(path, format="votable")


def write_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    ROWS.to_sql("sources", connection, index=False)
    connection.close()


WRITERS = {
    "a.csv": lambda path: ROWS.to_csv(path, index=False),
    "a.tsv": lambda path: ROWS.to_csv(path, index=False, sep="\t"),
    "a.txt": lambda path: path.write_text("# a comment\n" + ROWS.to_string(index=False, na_rep="NaN")),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(ROWS.to_csv(index=False).encode())),
    "a.parquet": lambda path: ROWS.to_parquet(path),
    "a.fits": lambda path: Table.from_pandas(ROWS).write(path),
    "a.fits.gz": lambda path: Table.from_pandas(ROWS).write(path),
    "a.xml": write_votable,
    "a.ecsv": lambda path: Table.from_pandas(ROWS).write(path, format="ascii.ecsv"),
    "a.sqlite3": write_sqlite,
    # The first bytes tell, not the name.
    "misnamed.csv": lambda path: ROWS.to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    table = read(tmp_path / name).set_index("catalog_source_id").loc[["A", "B", "C"]]
    np.testing.assert_allclose(table["ra_deg"], ROWS["RAJ2000"])
    np.testing.assert_allclose(table["dec_deg"], ROWS["DEJ2000"])
    np.testing.assert_allclose(table["ra_err_arcsec"], [3.6, 7.2, 10.8])
    np.testing.assert_allclose(table["dec_err_arcsec"], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(table["flux_mjy"], [1.0, 1500.0, np.nan])


def test_sorted_by_cell(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"ra": rng.uniform(0, 360, 500), "dec": rng.uniform(-90, 90, 500), "flux": 1.0})
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.sample(frac=1, random_state=1).to_csv(tmp_path / "b.csv", index=False)
    first, second = (read(tmp_path / name, columns={}) for name in ("a.csv", "b.csv"))
    assert first["healpix_29"].is_monotonic_increasing
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.filterwarnings("ignore:.*Invalid unit string")
def test_vizier_nvss_as_published(tmp_path: Path) -> None:
    # Sexagesimal positions, errors of right ascension in seconds of time, not on the sky.
    table = Table(
        {
            "NVSS": ["000000-400000", "121314+601500"],
            "RAJ2000": ["00 00 00.50", "12 13 14.00"],
            "DEJ2000": ["-40 00 10.0", "+60 15 00.0"],
            "e_RAJ2000": [0.1, 0.1],
            "e_DEJ2000": [0.6, 0.6],
            "S1.4": [15.0, 3.0],
            "e_S1.4": [0.6, 0.5],
        }
    )
    for name, unit in (("RAJ2000", '"h:m:s"'), ("DEJ2000", '"d:m:s"'), ("e_RAJ2000", "s"), ("e_DEJ2000", "arcsec")):
        table[name].unit = u.Unit(unit, parse_strict="silent")
    table["S1.4"].unit = table["e_S1.4"].unit = "mJy"
    table.write(tmp_path / "nvss.vot", format="votable")
    got = read_catalog(
        "nvss", CatalogConfig(preset="nvss", path=tmp_path / "nvss.vot"), tmp_path / "nvss.vot"
    )[0].to_pandas().set_index("catalog_source_id").loc[table["NVSS"].tolist()]  # fmt: skip
    expected = SkyCoord(table["RAJ2000"].tolist(), table["DEJ2000"].tolist(), unit=(u.hourangle, u.deg))
    np.testing.assert_allclose(got["ra_deg"], expected.ra.deg, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got["dec_deg"], expected.dec.deg, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got["ra_err_arcsec"], 1.5 * np.cos(expected.dec.rad))
    np.testing.assert_allclose(got["dec_err_arcsec"], 0.6)
    np.testing.assert_allclose(got["flux_mjy"], [15.0, 3.0])


def test_preset_on_a_file_with_our_own_columns(tmp_path: Path) -> None:
    rows = {"ref_id": ["x"], "ra_deg": [10.0], "dec_deg": [60.0], "ra_err_arcsec": [2.0], "flux_mjy": [4.5]}
    pd.DataFrame(rows).to_parquet(tmp_path / "n.parquet")
    got = (
        read_catalog("n", CatalogConfig(preset="nvss", path="n.parquet"), tmp_path / "n.parquet")[0].to_pandas().iloc[0]
    )
    assert got["catalog_source_id"] == "x"
    # Ours is on the sky already; north there is none, so survey and noise: hypot(1, 45 / (2 * 10)).
    assert got["ra_err_arcsec"] == pytest.approx(2.0)
    assert got["dec_err_arcsec"] == pytest.approx(np.hypot(1.0, 2.25))


def test_errors_have_scale_and_floor(tmp_path: Path) -> None:
    pd.DataFrame({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "e_ra": [2.0, np.nan], "e_dec": [0.0, 3.0]}).to_csv(
        tmp_path / "a.csv", index=False
    )
    got = read(
        tmp_path / "a.csv", columns={}, position_err_scale=0.5, position_err_floor_arcsec=0.3, position_err_arcsec=0.4
    ).sort_values("ra_deg")
    np.testing.assert_allclose(got["ra_err_arcsec"], [np.hypot(1.0, 0.3), 0.5])
    np.testing.assert_allclose(got["dec_err_arcsec"], [0.5, np.hypot(1.5, 0.3)])


def test_names_are_never_row_numbers(tmp_path: Path) -> None:
    rows = pd.DataFrame({"source_id": [1, 2], "ra_deg": [187.70593, 187.70593], "dec_deg": [12.39112, -0.00001]})
    rows.to_parquet(tmp_path / "a.parquet")
    assert set(read(tmp_path / "a.parquet", columns={})["catalog_source_id"]) == {
        "J123049.42+122328.0",
        "J123049.42-000000.0",
    }


def test_repeated_and_missing_names(tmp_path: Path) -> None:
    rows = pd.DataFrame({"name": ["A", "A", None], "ra": [10.0, 10.0001, 20.0], "dec": [5.0, 5.0, 5.0]})
    rows.to_parquet(tmp_path / "a.parquet")
    assert set(read(tmp_path / "a.parquet", columns={})["catalog_source_id"]) == {"A", "A-2", "J012000.00+050000.0"}


def test_iau_names_are_truncated_not_rounded() -> None:
    coordinates = SkyCoord(["23h59m59.999s", "00h00m01.239s"], ["-00d00m59.99s", "+89d59m59.99s"])
    assert iau_names(coordinates.ra.deg, coordinates.dec.deg).tolist() == ["J235959.99-000059.9", "J000001.23+895959.9"]


@given(st.floats(0, 359.999999), st.floats(-90, 90))
def test_iau_names_lie_where_the_source_is(ra: float, dec: float) -> None:
    (name,) = iau_names(np.array([ra]), np.array([dec]))
    assert len(name) == 19
    named = SkyCoord(f"{name[1:3]}h{name[3:5]}m{name[5:10]}s", f"{name[10:13]}d{name[13:15]}m{name[15:]}s")
    assert abs((named.ra.deg - ra + 180) % 360 - 180) * 240 < 0.0101
    # "-00" loses its sign in SkyCoord's degrees; the text has it.
    sign = -1 if name[10] == "-" else 1
    assert abs(sign * abs(named.dec.deg) - dec) * 3600 < 0.101


def test_long_integer_names_keep_all_digits(tmp_path: Path) -> None:
    ids = np.ma.MaskedArray([2**62 + 1, 2**62 + 3, 0], mask=[False, False, True])
    Table({"name": ids, "ra": [1.0, 2.0, 3.0], "dec": [0.0, 0.0, 0.0]}).write(tmp_path / "a.xml", format="votable")
    names = read(tmp_path / "a.xml", columns={}).sort_values("ra_deg")["catalog_source_id"].tolist()
    assert names == ["4611686018427387905", "4611686018427387907", "J001200.00+000000.0"]


def test_rows_without_position_are_counted(tmp_path: Path) -> None:
    pd.DataFrame({"ra": [1.0, np.nan, 2.0], "dec": [1.0, 1.0, 95.0]}).to_csv(tmp_path / "a.csv", index=False)
    table, left_out = read_catalog("a", CatalogConfig(path="a.csv", freq_mhz=1.0), tmp_path / "a.csv")
    assert (table.num_rows, left_out) == (1, 2)


def test_units_in_parquet_metadata_are_used(tmp_path: Path) -> None:
    fields = [
        pa.field("ra_deg", pa.float64()),
        pa.field("dec_deg", pa.float64()),
        pa.field("flux", pa.float64(), metadata={"unit": "Jy"}),
    ]
    pq.write_table(pa.table([[1.0], [2.0], [0.5]], schema=pa.schema(fields)), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", columns={})["flux_mjy"].tolist() == [500.0]


GOOD = "name,ra,dec,flux\nA,10.0,20.0,1.0\n"


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"", {}, "empty"),
        (b"SIMPLE  = but not really FITS" + b" " * 3000, {}, "damaged FITS file"),
        (b"PAR1nonsense", {}, "damaged Parquet file"),
        (b"SQLite format 3\0nonsense", {}, "damaged SQLite file"),
        (b"<?xml version='1.0'?><VOTABLE>", {}, "damaged VOTable file"),
        (b"name,flux\nA,1.0\n", {}, "no column of positions.*name, flux"),
        (GOOD.replace("A", "M\xfcller").encode("latin1"), {}, "not UTF-8.*iconv"),
        (GOOD.encode(), {"columns": {"flux_mjy": {"column": "S_int"}}}, "no column 'S_int'.*flux_mjy"),
        (GOOD.replace("1.0", "bright").encode(), {}, "row 1, column 'flux': 'bright' is not a number"),
        (GOOD.replace("10.0", "").encode(), {}, "no row has a position"),
        (GOOD.replace("10.0", "ten o'clock").encode(), {}, "'ra' holds what is no angle"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: bytes, settings: dict, message: str) -> None:
    file = tmp_path / "catalogue.dat"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read(file, **({"columns": {}} | settings))
    assert str(file) in str(raised.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.fits: not readable"):
        read(tmp_path / "nowhere.fits")


def test_missing_sqlite_table_is_named(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "a.sqlite3")
    with pytest.raises(InputError, match="no table 'catalogue'; there are sources"):
        read(tmp_path / "a.sqlite3", table="catalogue")


def test_a_unit_of_another_kind_is_refused_by_the_configuration() -> None:
    with pytest.raises(ValueError, match="'arcsec' cannot be turned into 'mJy'"):
        CatalogConfig(path="a.csv", freq_mhz=1400.0, columns={"flux_mjy": {"column": "flux", "unit": "arcsec"}})


def test_the_unit_that_a_file_states_goes_before_the_presets_but_not_before_a_persons(tmp_path: Path) -> None:
    path = tmp_path / "nvss.fits"
    Table({"RAJ2000": [1.0], "DEJ2000": [1.0], "S1.4": [0.01] * u.Jy}).write(path)
    assert read(path, preset="nvss", columns={})["flux_mjy"].tolist() == pytest.approx([10.0])
    mine = {"flux_mjy": {"column": "S1.4", "unit": "uJy"}}
    assert read(path, preset="nvss", columns=mine)["flux_mjy"].tolist() == pytest.approx([1e-5])


def test_nvss_without_units_has_errors_of_right_ascension_in_seconds_of_time(tmp_path: Path) -> None:
    path = tmp_path / "nvss.csv"
    path.write_text("NVSS,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,S1.4\nA,00 00 00.1,+00 00 00.5,0.30,5.0,2.5\n")
    row = read(path, preset="nvss", columns={}).iloc[0]
    assert row[["ra_err_arcsec", "dec_err_arcsec"]].tolist() == pytest.approx([4.5, 5.0])


def test_names_that_look_like_numbered_ones_stay_apart_whatever_the_sky_order(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": ["A", "A", "A-2"], "ra": [1.0, 2.0, 3.0], "dec": 0.0, "flux": [5.0, 2.0, 3.0]})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.assign(ra=[2.0, 1.0, 3.0]).to_csv(tmp_path / "b.csv", index=False)
    for file in ("a.csv", "b.csv"):
        got = read(tmp_path / file, columns={}).set_index("flux_mjy")["catalog_source_id"]
        assert got.to_dict() == {5.0: "A", 2.0: "A-3", 3.0: "A-2"}


def test_names_that_are_no_whole_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"name": [1.5, 2.5], "ra": [1.0, 2.0], "dec": 0.0}).to_parquet(tmp_path / "a.parquet")
    assert set(read(tmp_path / "a.parquet", columns={})["catalog_source_id"]) == {"1.5", "2.5"}


def test_a_long_preamble_and_vizier_rows_of_units(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    names, values = "RAJ2000\tDEJ2000\tS\tname\n", "01 02 03\t+04 05 06\t12.0\tX\n"
    path.write_text("# what it is\n" * 80 + names + '"h:m:s"\t"d:m:s"\tJy\t \n-----\t-----\t--\t-\n' + values)
    row = read(path, columns={"flux_mjy": {"column": "S"}}).iloc[0]
    assert row[["catalog_source_id", "flux_mjy"]].tolist() == ["X", 12_000.0]
    assert row["ra_deg"] == pytest.approx(15.5125)
    path.write_text("# what it is\n" * 80 + names + values)
    assert read(path, columns={}).iloc[0]["catalog_source_id"] == "X"


def test_hours_as_text(tmp_path: Path) -> None:
    table = Table({"ra": ["12.5"], "dec": ["1"]})
    table["ra"].unit = "h"
    table.write(tmp_path / "a.vot", format="votable")
    assert read(tmp_path / "a.vot", columns={})["ra_deg"].tolist() == [187.5]
