"""What people hold becomes what we compute with: units, frames, masks, and one sentence where it cannot."""

from __future__ import annotations

import subprocess
import sys
import timeit
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.coordinates import FK5, Angle, Galactic, Longitude, SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.calibration.flux_scale import calculate_flux_scale
from contimg_assets.calibration.selection import matched_fluxes
from contimg_assets.errors import InputError
from contimg_assets.schemas import association, catalogs, corrections, detections, matches, tables, variability
from contimg_assets.schemas.core import TableSchema
from contimg_assets.schemas.tables import (
    as_arcsec,
    as_frame,
    as_number,
    as_position,
    as_values,
    require,
    rows_among,
    stand_among,
    unit_of,
    with_columns,
    with_units,
)
from contimg_assets.sky.pairs import cross_match_sources

SCHEMAS = [
    schema
    for module in (association, catalogs, corrections, detections, matches, variability)
    for schema in vars(module).values()
    if isinstance(schema, TableSchema)
]
ANGLES = ("deg", "rad", "hourangle", "arcmin", "arcsec", "mas")
FLUXES = ("Jy", "mJy", "uJy", "W / (m2 Hz)")
PEAKS = ("Jy / beam", "mJy / beam", "uJy / beam", "mJy")
UNITS = {
    "ra_deg": ANGLES,
    "dec_deg": ANGLES,
    "uncertainty_ew_arcsec": ANGLES,
    "uncertainty_ns_arcsec": ANGLES,
    "flux_int_mjy": FLUXES,
    "flux_peak_mjy_beam": PEAKS,
}
BASES = {
    "ra_deg": ("ra", "RA"),
    "dec_deg": ("dec", "Dec"),
    "uncertainty_ew_arcsec": ("uncertainty_ew",),
    "uncertainty_ns_arcsec": ("uncertainty_ns",),
    "flux_int_mjy": ("flux_int",),
    "flux_peak_mjy_beam": ("flux_peak",),
}
NUMBER = st.floats(1e-3, 1e3)
PLACES = SkyCoord([1.0], [2.0], unit="deg")


@st.composite
def measurements(draw: st.DrawFn) -> pd.DataFrame:
    """A table of ours, of 1 to 6 rows; fluxes may be missing."""
    n = draw(st.integers(1, 6))

    def column(elements: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(elements, min_size=n, max_size=n))

    return pd.DataFrame(
        {
            "measurement_id": [f"m{k}" for k in range(n)],
            "ra_deg": column(st.floats(0, 359.9)),
            "dec_deg": column(st.floats(-90, 90)),
            "uncertainty_ew_arcsec": column(NUMBER),
            "uncertainty_ns_arcsec": column(NUMBER),
            "flux_int_mjy": column(NUMBER | st.just(np.nan)),
            "flux_peak_mjy_beam": column(NUMBER | st.just(np.nan)),
        }
    )


@st.composite
def held(draw: st.DrawFn, frame: pd.DataFrame) -> Table:
    """The table as somebody holds it: any units, our names with or without the unit, missing values masked."""
    kind = draw(st.sampled_from([Table, QTable]))
    result = kind({"measurement_id": frame["measurement_id"].to_list()})
    for ours, units in UNITS.items():
        unit = draw(st.sampled_from(units))
        name = draw(st.sampled_from((ours, *BASES[ours])))
        wanted = u.Unit(unit_of(ours))
        # mJy for a peak is what some finders write for mJy / beam.
        values = (frame[ours].to_numpy() * wanted).to_value(wanted if unit == "mJy" else unit)
        missing = np.isnan(values)
        if kind is QTable:
            plain = np.where(missing, 0.0, values) * u.Unit(unit)
            result[name] = Masked(plain, mask=missing) if missing.any() else plain
        else:
            result[name] = MaskedColumn(np.where(missing, 0.0, values), mask=missing, unit=unit)
    return result


@given(st.data())
def test_any_unit_in_any_table_gives_the_same(data: st.DataObject) -> None:
    frame = data.draw(measurements())
    table = data.draw(held(frame))
    found = as_frame(table, "measurements")
    assert set(found.columns) == set(frame.columns)
    for name in UNITS:
        np.testing.assert_allclose(found[name], frame[name], rtol=1e-12, atol=1e-300, err_msg=name)
    assert found["measurement_id"].tolist() == frame["measurement_id"].tolist()


@given(st.data(), st.floats(1.0, 1e5))
def test_functions_give_the_same_whatever_holds_the_table(data: st.DataObject, radius: float) -> None:
    frame = data.draw(measurements())
    table, other = data.draw(held(frame)), frame.assign(dec_deg=(frame["dec_deg"] * 0.99))
    by_pair = ["detected_index", "catalog_index"]
    expected = cross_match_sources(frame, other, radius).sort_values(by_pair, ignore_index=True)
    found = cross_match_sources(table, other, (radius * u.arcsec).to(data.draw(st.sampled_from(ANGLES))))
    found = found.sort_values(by_pair, ignore_index=True)
    # A pair at the very radius may fall on either side of it.
    inner = [pairs[pairs["separation_arcsec"] < radius * (1 - 1e-9)] for pairs in (found, expected)]
    assert abs(len(found) - len(expected)) <= len(expected) - len(inner[1])
    pd.testing.assert_frame_equal(*inner, rtol=1e-6, atol=1e-6)
    scales = [
        calculate_flux_scale(matched_fluxes(expected, fluxes, other), "median").scale for fluxes in (table, frame)
    ]
    np.testing.assert_allclose(*scales, rtol=1e-9)


@given(measurements())
def test_what_is_ours_passes_untouched(frame: pd.DataFrame) -> None:
    assert as_frame(frame, "measurements") is frame
    pd.testing.assert_frame_equal(as_frame(pa.Table.from_pandas(frame), "measurements"), frame)


@given(measurements())
def test_there_and_back(frame: pd.DataFrame) -> None:
    table = with_units(frame)
    assert table.colnames == list(frame.columns)
    assert {name: str(table[name].unit) for name in UNITS} == {name: unit_of(name) for name in UNITS}
    pd.testing.assert_frame_equal(as_frame(table, "measurements"), frame, check_exact=True)


@given(
    st.lists(st.tuples(st.floats(0, 359.9), st.floats(-89, 89)), min_size=1, max_size=5),
    st.sampled_from(["icrs", FK5(equinox="J2000"), FK5(equinox="J1975"), Galactic(), "barycentricmeanecliptic"]),
    st.sampled_from(["alone", "column", "frame"]),
)
def test_positions_in_any_frame_become_icrs(places: list[tuple[float, float]], frame: Any, how: str) -> None:
    icrs = SkyCoord(*np.transpose(places), unit="deg")
    given = icrs.transform_to(frame)
    table: Any = {"alone": given, "column": QTable({"position": given}), "frame": given.frame}[how]
    found = as_frame(table, "positions")
    assert found.columns.tolist() == ["ra_deg", "dec_deg"]
    assert found["ra_deg"].between(0, 360, inclusive="left").all()
    there = SkyCoord(found["ra_deg"].to_numpy(), found["dec_deg"].to_numpy(), unit="deg")
    assert there.separation(icrs).arcsec.max() < 1e-6


def test_columns_that_are_no_numbers() -> None:
    table = QTable(
        {
            "name": np.array([b"A", b"B"]),
            "n": MaskedColumn([1, 2], mask=[True, False]),
            "time": Time([51544.5, 51545.5], format="mjd", scale="utc"),
            "ra": Longitude([-10, 20] * u.deg, wrap_angle=180 * u.deg),
            "map": np.zeros((2, 3)),
            "counts": np.arange(2, dtype=">i4"),
        }
    )
    found = as_frame(table, "t")
    assert found.columns.tolist() == ["name", "n", "mjd", "ra_deg", "counts"]
    assert found["name"].tolist() == ["A", "B"]
    assert found["n"].isna().tolist() == [True, False]
    assert found["mjd"].tolist() == [51544.5, 51545.5]
    assert found["ra_deg"].tolist() == [350.0, 20.0]
    assert found["counts"].dtype == np.dtype("=i4")


def test_our_own_name_goes_before_one_without_unit() -> None:
    found = as_frame(Table({"ra": [1.0] * u.hourangle, "ra_deg": [2.0], "mine": [3.0] * u.Jy}), "t")
    assert found.iloc[0].to_dict() == {"ra": 1.0, "ra_deg": 2.0, "mine": 3.0}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([1, 2], "t is a list; give a pandas, astropy or Arrow table"),
        (None, "t is a NoneType; give a pandas"),
        (Table({"ra": [1.0] * u.Jy}), "t: column 'ra' has the unit 'Jy', which does not convert to deg; give it in"),
        (QTable({"flux_int_mjy": [1.0] * u.m}), "column 'flux_int_mjy' has the unit 'm', which does not convert to"),
        (Table({"flux": [1.0] * u.mag}), "column 'flux' has the unit 'mag'"),
        (Table({"ra": MaskedColumn(["12:30"], unit="hourangle")}), "column 'ra' holds what is no number"),
        (SkyCoord(1, 2, unit="deg", frame="altaz"), "t: positions in the frame 'altaz' do not convert to ICRS"),
        (QTable({"a": PLACES, "b": PLACES}), "t has positions in 'a' and 'b'; keep one of these columns"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(table: Any, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        as_frame(table, "t")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(InputError, match="no column ra_deg; it has 'RA', which says no unit: name it ra_deg if it is"):
        require(pd.DataFrame({"RA": [1.0], "dec_deg": [1.0]}), ("ra_deg", "dec_deg"), "t")
    with pytest.raises(InputError, match=r"^t: no column ra_deg, dec_deg$"):
        require(pd.DataFrame({"x": [1.0]}), ("ra_deg", "dec_deg"), "t")


# --- numbers ------------------------------------------------------------------------------------------------------


@given(NUMBER, st.sampled_from(ANGLES))
def test_an_angle_in_any_unit(arcsec: float, unit: str) -> None:
    value = (arcsec * u.arcsec).to(unit)
    for given_as in (value, Angle(value), f"{float(value.value)!r} {unit}", [value], QTable({"a": [value]})["a"]):
        assert as_arcsec(given_as, "radius") == pytest.approx(arcsec, rel=1e-12)
    assert as_arcsec(arcsec, "radius") == arcsec
    assert as_number(round(arcsec), "arcsec", "radius") == round(arcsec)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (5 * u.Jy, "radius has the unit 'Jy', which does not convert to arcsec; give it in a unit that does"),
        ("10", "radius '10' is no number with its unit, such as '10 arcsec'"),
        ("ten", "radius 'ten' is no number with its unit"),
        (None, "radius is None; give numbers in arcsec"),
        ({}, "radius holds what is no number"),
        ([1.0, 2.0] * u.arcsec, "radius has 2 values; give one"),
    ],
)
def test_what_is_no_angle(value: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        as_arcsec(value, "radius")


@given(st.lists(NUMBER, min_size=1, max_size=5), st.sampled_from(FLUXES))
def test_values_in_any_unit_masked_or_not(values: list[float], unit: str) -> None:
    held = (values * u.mJy).to(unit)
    mask = np.arange(len(values)) % 2 == 1
    np.testing.assert_allclose(as_values(held, "mJy", "flux"), values, rtol=1e-12)
    for masked in (Masked(held, mask=mask), MaskedColumn(held.value, unit=unit, mask=mask)):
        found = as_values(masked, "mJy", "flux")
        np.testing.assert_allclose(found, np.where(mask, np.nan, values), rtol=1e-12)
    for plain in (values, np.array(values), pd.Series(values), pd.array(values, dtype="Float64")):
        np.testing.assert_array_equal(as_values(plain, "mJy", "flux"), values)


@pytest.mark.parametrize(
    "given_as",
    [
        (187.5, 12.5),
        (187.5 * u.deg, Angle("12.5 deg")),
        ("12h30m", "12d30m"),
        (SkyCoord(187.5, 12.5, unit="deg"), None),
        (SkyCoord([187.5], [12.5], unit="deg").galactic, None),
    ],
)
def test_one_position(given_as: tuple[Any, Any]) -> None:
    assert as_position(*given_as, "centre") == pytest.approx((187.5, 12.5), abs=1e-10)


@pytest.mark.parametrize(
    ("given_as", "sentence"),
    [
        ((1.0, None), "centre has no declination"),
        ((SkyCoord(1, 2, unit="deg"), 2.0), "centre is a SkyCoord and needs no declination"),
        ((SkyCoord([1, 2], [2, 3], unit="deg"), None), "centre has 2 positions; give one"),
        ((1 * u.Jy, 1.0), "right ascension of centre has the unit 'Jy'"),
    ],
)
def test_what_is_no_position(given_as: tuple[Any, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        as_position(*given_as, "centre")


# --- units of our columns -----------------------------------------------------------------------------------------


def test_units_are_those_of_every_schema() -> None:
    for schema in SCHEMAS:
        for column in schema:
            assert u.Unit(unit_of(column.name)) == u.Unit(column.unit), f"{schema.name}.{column.name}"


def test_names_end_with_their_units() -> None:
    """So that columns that no schema describes have units too; times are told by the schemas."""
    for schema in SCHEMAS:
        for column in schema:
            end = tables._SUFFIX.fullmatch(column.name)
            if column.name not in ("mjd_a", "mjd_b", "measured_at"):
                said = tables._SUFFIXES[end.group(2)] if end else ""
                assert u.Unit(said) == u.Unit(column.unit), f"{schema.name}.{column.name}"
    assert unit_of("my_flux_mjy_beam") == "mJy / beam"
    assert unit_of("name") == ""


def test_results_of_every_kind_get_units() -> None:
    from contimg_assets.calibration.flux_scale import FluxScale

    table = with_units(
        pd.DataFrame(
            {
                "id": ["a", None],
                "n": pd.array([1, None], dtype="Int64"),
                "new": pd.array([True, None], dtype="boolean"),
                "v": [0.1, np.nan],
                "hash": np.array([1, 2**63], np.uint64),
                "mjd": [1.0, 2.0],
            }
        )
    )
    assert table["mjd"].unit == u.day
    assert [list(table[name].mask) for name in ("id", "n", "new")] == [[False, True]] * 3
    assert table["n"].dtype == np.int64
    assert table["new"].dtype == bool
    assert table["hash"].dtype == np.uint64
    assert np.isnan(table["v"][1])
    scale = with_units(FluxScale("median", 3, scale=1.1, offset_mjy=2.0))
    assert (scale["offset_mjy"][0], scale["scale"][0]) == (2.0 * u.mJy, 1.1)
    source = with_units(pd.Series({"id": "a", "ra_deg": 1.5, "n_epochs": 3}))
    assert (source["id"][0], source["ra_deg"][0], source["n_epochs"][0]) == ("a", 1.5 * u.deg, 3)
    with pytest.raises(InputError, match="a list is no table"):
        with_units([1, 2])


# --- what it costs ------------------------------------------------------------------------------------------------


def test_our_own_tables_cost_nothing() -> None:
    frame = pd.DataFrame({"ra_deg": [1.0], "dec_deg": [1.0]})

    def border() -> None:
        as_frame(frame, "t")
        require(frame, ("ra_deg", "dec_deg"), "t")
        as_arcsec(5.0, "radius")
        as_position(1.0, 2.0, "centre")

    assert min(timeit.repeat(border, number=200, repeat=20)) / 200 < 20e-6


def test_astropy_is_loaded_only_for_what_is_astropys() -> None:
    code = (
        "import sys, pandas as pd; from contimg_assets.sky.pairs import cross_match_sources;"
        "t = pd.DataFrame({'ra_deg': [1.0], 'dec_deg': [1.0]}); assert len(cross_match_sources(t, t, 1.0)) == 1;"
        "sys.exit('astropy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_columns_are_added_as_assign_adds_them() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[7, 7])
    columns = {"c": np.array([0.5, np.nan]), "b": np.array(["y", "z"], dtype=object), "d": True}
    pd.testing.assert_frame_equal(with_columns(table, columns), table.assign(**columns))
    pd.testing.assert_frame_equal(with_columns(table.iloc[:0], {"c": 1.0}), table.iloc[:0].assign(c=1.0))
    assert list(table.columns) == ["a", "b"]


@pytest.mark.parametrize("kind", ["str", object, "category"])
def test_what_stands_among_others_is_what_pandas_says(kind: Any) -> None:
    column = pd.Series(["b", None, "a", "é", "", "b"]).astype(kind)
    for values in ([], ["a", ""], ["b", "b", None], ["é", "nowhere"]):
        among = pd.Series(values, dtype=object).astype(kind)
        assert stand_among(column, among).tolist() == column.isin(among).tolist()
    assert stand_among(pd.Index(column), pd.Index(["a"])).tolist() == [False, False, True, False, False, False]
    assert stand_among(pd.Series([1, 2]), pd.Series([2.0])).tolist() == [False, True]


@pytest.mark.parametrize("kind", ["str", object, "category"])
def test_rows_among_others_are_what_pandas_says(kind: Any) -> None:
    column = pd.Series(["b", None, "a", "é", "", "b"]).astype(kind)
    for values in ([], ["a", ""], ["b", None], ["é", "nowhere", "b"]):
        keys = pd.Series(values, dtype=object).astype(kind)
        assert rows_among(column, keys).tolist() == pd.Index(keys).get_indexer(pd.Index(column)).tolist()
    assert rows_among(pd.Index(["c", "a"]), pd.Series(["a", "b", "c"])).tolist() == [2, 0]
    assert rows_among(pd.Series([3, 1]), pd.Series([1, 2])).tolist() == [-1, 0]
    with pytest.raises(pd.errors.InvalidIndexError):
        rows_among(column, pd.Series(["a", "a"]).astype(kind))
