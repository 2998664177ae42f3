"""The function for scripts: its inputs, ids, tables, and what it says about bad input."""

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.coordinates import Angle
from astropy.table import QTable, Table

from contimg_assets.association import FoldState, associate_measurements, copy_fork_history
from contimg_assets.association.fold import fold
from contimg_assets.config import Association
from contimg_assets.errors import ConfigError, InputError
from contimg_assets.identity.ids import fork_ids, from_hex, hash_text, hashes_of, source_ids, text_of, to_hex
from contimg_assets.schemas.association import ALIGNMENT, ASSOCIATIONS, FORKS, RELATIONS
from contimg_assets.simulate import simulate_detections
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.association.skies import offset_table, scattered, sources_of, table

OURS = {"ra_deg": "deg", "dec_deg": "deg", "uncertainty_ew_arcsec": "arcsec"}
METHODS = ["basic", "advanced", "deruiter", "optimal"]


@pytest.mark.parametrize("method", METHODS)
def test_tables_are_as_their_schemas_say(method: str) -> None:
    tables = simulate_detections(300, 4, seed=2, double_fraction=0.3)
    result = associate_measurements(tables, Angle("5arcsec"), method)
    ASSOCIATIONS.to_arrow(result.associations)
    RELATIONS.to_arrow(result.relations.drop_duplicates(["from_source_id", "to_source_id"]))
    FORKS.to_arrow(result.forks)
    ALIGNMENT.to_arrow(result.alignment.loc[result.alignment["epoch"] == "epoch0001"].drop(columns="epoch"))
    assert set(result.associations["source_id"]) == set(result.sources["source_id"])
    assert set(result.associations["measurement_id"]) == set(pd.concat(tables)["measurement_id"])
    state = FoldState.empty()
    for each in tables:
        made = fold(state, each, Association(method=method, radius_arcsec=5.0))
        state = made.state
        ASSOCIATIONS.to_arrow(made.associations)
        RELATIONS.to_arrow(made.relations)
        FORKS.to_arrow(made.forks)
        ALIGNMENT.to_arrow(made.alignment)
    assert state == result.state


@pytest.mark.parametrize("method", METHODS)
def test_fold_and_copies_by_epoch_give_what_the_function_gives(method: str) -> None:
    """The asset copies histories epoch by epoch from stored tables; the function all at once."""
    tables = simulate_detections(200, 8, seed=3, double_fraction=0.6, blend_fraction=0.2, density_per_deg2=3000.0)
    parameters = Association(method=method, radius_arcsec=6.0)
    state, stored = FoldState.empty(), [ASSOCIATIONS.empty()]
    for each in tables:
        made = fold(state, each, parameters)
        state = made.state
        stored.append(pd.concat([made.associations, copy_fork_history(pd.concat(stored), made.forks)]))
    result = associate_measurements(tables, "6arcsec", method)
    key = ["source_id", "measurement_id"]
    expected = pd.concat(stored).sort_values(key, ignore_index=True)
    got = result.associations.sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(got, expected, check_dtype=False)
    counts = got["source_id"].value_counts().sort_index()
    known = result.sources.set_index("source_id")["n_measurements"].sort_index()
    pd.testing.assert_series_equal(counts, known, check_names=False)
    if method != "optimal":
        assert got["copied"].any()


def test_radius_is_what_basic_and_advanced_match_within() -> None:
    tables = [table([10.0], [0.0], epoch="e0"), offset_table(10.0, 0.0, [(4.0, 0)], epoch="e1")]
    for method in ("basic", "advanced"):
        assert len(associate_measurements(tables, Angle(3, "arcsec"), method).sources) == 2
        assert len(associate_measurements(tables, "4.5arcsec", method).sources) == 1
        assert len(associate_measurements(tables, Angle("0.1arcmin"), method).sources) == 1
        assert len(associate_measurements(tables, method=method).sources) == 1


def test_radius_is_inclusive() -> None:
    first = table([10.0], [0.0], epoch="e0")
    second = table([10.0], [1.0 / 3600.0], epoch="e1")
    assert len(associate_measurements([first, second], "1arcsec", "advanced").sources) == 1


@pytest.mark.parametrize(
    "ids", [[1, 2, 3], ["a", "bb", "J1234+567"], [f"{k:016x}" for k in range(3)], ["ffff", "0" * 16, "Z" * 16]]
)
def test_ids_may_be_anything_and_come_back_as_they_are(ids: list) -> None:
    result = associate_measurements([table([1.0, 2.0, 3.0], [0.0] * 3, ids=ids)])
    assert list(result.associations["measurement_id"].sort_values()) == sorted(ids)
    assert result.sources["source_id"].str.fullmatch("[0-9a-f]{16}").all()
    assert result.associations.set_index("measurement_id")["source_id"].nunique() == 3


def test_source_ids_are_those_of_identity() -> None:
    ids = to_hex(hash_text(["a", "b", "c"]))
    result = associate_measurements([table([1.0, 2.0, 3.0], [0.0] * 3, ids=ids)])
    named = result.associations.set_index("measurement_id")["source_id"]
    assert list(named.loc[ids]) == list(source_ids(ids))
    more = to_hex(hash_text(["d", "e"]))
    first, second = table([1.0], [0.0], ids=ids[:1]), offset_table(1.0, 0.0, [(0.1, 0), (1, 0)], epoch="e1", ids=more)
    forked = associate_measurements([first, second], "5arcsec", "basic")
    assert list(forked.forks["child_source_id"]) == list(fork_ids(source_ids(ids[:1]), more[1:]))


def test_numbers_of_ids() -> None:
    ids = np.array(["00000000000000ff", "not hexadecimal!", "short", "0123456789ABCDEF", "é" * 8], dtype=object)
    got = hashes_of(pd.Series(ids))
    assert got[0] == 255
    assert list(got[1:]) == list(hash_text(ids[1:]))
    assert list(hashes_of(pd.Series(ids[:1]))) == [255]
    random = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    assert list(text_of(random)) == list(to_hex(random))
    assert (hashes_of(text_of(random)) == random).all()
    assert (hashes_of(pd.Series(to_hex(random), dtype=object)) == from_hex(to_hex(random))).all()
    assert (hashes_of(text_of(random).iloc[5:9]) == random[5:9]).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_id_twice_is_named(method: str) -> None:
    with pytest.raises(InputError, match="measurement_id comes more than once: same"):
        associate_measurements([table([1.0, 2.0], [0.0, 0.0], ids=["same", "same"])], "5arcsec", method)
    tables = [table([1.0], [0.0], epoch=f"e{k}", ids=["again"]) for k in range(2)]
    with pytest.raises(InputError, match="measurement_id again comes more than once, in tables 0, 1"):
        associate_measurements(tables, "5arcsec", method)
    far = [table([1.0], [0.0], epoch="e0", ids=["again"]), table([9.0], [0.0], epoch="e1", ids=["again"])]
    with pytest.raises(InputError, match="again"):
        associate_measurements(far, "5arcsec", method)


def test_missing_columns_and_ids_are_named() -> None:
    good = table([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(InputError, match="dec_deg, uncertainty_ns_arcsec"):
        associate_measurements([good.drop(columns=["dec_deg", "uncertainty_ns_arcsec"])])
    with pytest.raises(InputError, match=r"measurement_id is missing in row\(s\) 1"):
        associate_measurements([good.assign(measurement_id=["a", None])])
    with pytest.raises(InputError, match="ra_deg is not numbers"):
        associate_measurements([good.assign(ra_deg=["1h", "2h"])])


def test_unknown_parameters_and_methods_are_refused() -> None:
    meant = r"unknown key 'association\.de_ruter_radius' \(is 'de_ruiter_radius' meant\?\); allowed here: .*de_ruiter"
    with pytest.raises(ConfigError, match=meant):
        associate_measurements([], de_ruter_radius=3.0)
    with pytest.raises(ConfigError, match=r"^association\.method = 'best': must be 'basic', .*$"):
        associate_measurements([], method="best")
    with pytest.raises(ConfigError, match=r"^association\.radius_arcsec = -5\.0: .*greater than or equal to 0$"):
        associate_measurements([], "-5arcsec")


@pytest.mark.parametrize("radius", [5.0, "5parsec", "five", None, "nan arcsec"])
def test_a_radius_that_is_no_angle_is_refused(radius: object) -> None:
    with pytest.raises(InputError, match=r"association_radius .* is no angle; give one with its unit"):
        associate_measurements([], radius)


@pytest.mark.parametrize("wrong", [[1, 2], None, {"ra_deg": [1.0]}, "table.csv"])
def test_what_is_no_table_is_named(wrong: object) -> None:
    with pytest.raises(InputError, match=r"table 1 of the list is a \w+; give a pandas, astropy or Arrow table"):
        associate_measurements([table([1.0], [0.0]), wrong])


def test_one_table_is_no_list() -> None:
    one = table([1.0, 2.0], [0.0, 0.0])
    for given in (one, Table.from_pandas(one), pa.Table.from_pandas(one)):
        with pytest.raises(InputError, match="give a list of tables"):
            associate_measurements(given)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_units_of_astropy_columns_count(kind: type[Table]) -> None:
    tables = simulate_detections(50, 3, seed=1)
    bare = [Table.from_pandas(each.drop(columns="second_source")) for each in tables]
    for each in bare:
        for name, unit in (("ra_deg", "deg"), ("dec_deg", "arcmin"), ("uncertainty_ew_arcsec", "deg")):
            each[name] = (each[name] * u.Unit(OURS[name])).to(unit)
    got, expected = associate_measurements(list(map(kind, bare))), associate_measurements(tables)
    assert list(got.associations["measurement_id"]) == list(expected.associations["measurement_id"])
    for name in ("dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec"):
        np.testing.assert_allclose(got.sources[name], expected.sources[name], rtol=1e-9)
    bare[1]["uncertainty_ns_arcsec"].unit = "Jy"
    with pytest.raises(InputError, match=r"table 1 of the list: column 'uncertainty_ns_arcsec' has the unit 'Jy'"):
        associate_measurements(list(map(kind, bare)))


def test_without_epochs_tables_are_numbered() -> None:
    tables = [each.drop(columns="epoch") for each in scattered(np.array([10.0]), np.array([0.0]), 3)]
    assert list(associate_measurements(tables).associations["epoch"]) == [0, 1, 2]


def test_given_tables_are_not_changed() -> None:
    tables = simulate_detections(100, 3, seed=1)
    copies = [each.copy() for each in tables]
    associate_measurements(tables)
    for each, copy in zip(tables, copies, strict=True):
        pd.testing.assert_frame_equal(each, copy)


def test_tables_may_be_of_astropy_or_arrow() -> None:
    tables = simulate_detections(50, 3, seed=1)
    expected = associate_measurements(tables)
    bare = [each.drop(columns="second_source") for each in tables]
    for others in ([Table.from_pandas(each) for each in bare], [pa.Table.from_pandas(each) for each in bare]):
        got = associate_measurements(others)
        assert got.state == expected.state
        assert sources_of(got) == sources_of(expected)


@pytest.mark.parametrize("sigma", [1e-160, 1e200])
def test_errors_that_are_no_weights_are_named(sigma: float) -> None:
    with pytest.raises(InputError, match="uncertainty_ew_arcsec"):
        associate_measurements([table([1.0], [0.0], sigma)])


def test_an_epoch_without_its_name_is_named() -> None:
    with pytest.raises(InputError, match="epoch"):
        fold(FoldState.empty(), table([1.0], [0.0]).drop(columns="epoch"), Association())


def test_ra_of_360_is_0() -> None:
    tables = [table([360.0], [10.0], epoch="e0"), table([0.0], [10.0], epoch="e1")]
    result = associate_measurements(tables)
    assert list(result.sources["ra_deg"]) == [0.0]


def test_diagnostics_count_what_happened() -> None:
    first = offset_table(10.0, 0.0, [(0, 0), (100, 0), (200, 0)], 1.0, epoch="e0", image="a")
    second = offset_table(10.0, 0.0, [(1, 0), (300, 0)], 1.0, epoch="e1", image="b")
    images = pd.DataFrame({"image": ["b"], "ra_deg": [10.0], "dec_deg": [0.0], "radius_deg": [150.0 / 3600.0]})
    state = fold(FoldState.empty(), first, Association()).state
    result = fold(state, second, Association(), images)
    got = result.diagnostics
    assert (got["n_measurements"], got["n_matched"], got["n_new"], got["n_forked"]) == (2, 1, 1, 0)
    assert (got["n_related"], got["n_sources"], got["n_unmatched_in_coverage"]) == (0, 4, 1)
    assert got["median_de_ruiter"] == pytest.approx(1.0 / np.sqrt(2.0), rel=1e-6)
    assert sum(got["de_ruiter_histogram"]) == 1
    assert got["de_ruiter_histogram"][1] == 1  # 0.5 to 1
    assert len(got["de_ruiter_edges"]) == len(got["de_ruiter_histogram"]) + 1
    assert fold(state, second, Association()).diagnostics["n_unmatched_in_coverage"] is None


def test_forks_of_forks_copy_all_that_came_before() -> None:
    """a; then b forks from a; then c forks from b: c has the rows of a up to b's birth, and b's own after that."""
    tables = [
        offset_table(10.0, 0.0, [(0, 0)], epoch="e0", ids=["a0"]),
        offset_table(10.0, 0.0, [(0, 0), (4, 0)], epoch="e1", ids=["a1", "b1"]),
        offset_table(10.0, 0.0, [(0, 0), (4.0, 0)], epoch="e2", ids=["a2", "b2"]),
        offset_table(10.0, 0.0, [(0, 0), (4.0, 0), (8.0, 0)], epoch="e3", ids=["a3", "b3", "c3"]),
    ]
    result = associate_measurements(tables, "6.5arcsec", "basic")
    assert sources_of(result) == {
        ("a0", "a1", "a2", "a3"): 1,
        ("a0", "b1", "b2", "b3"): 1,
        ("a0", "b1", "b2", "c3"): 1,
    }


def test_copies_are_of_the_parents_only() -> None:
    history = pd.DataFrame(
        {
            "source_id": ["p", "p", "q"],
            "measurement_id": ["m1", "m2", "m3"],
            "epoch": ["e0", "e1", "e1"],
            "separation_arcsec": [np.nan, 1.0, 2.0],
            "de_ruiter": [np.nan, 0.5, 0.6],
            "copied": [True, False, False],
        }
    )
    forks = pd.DataFrame(
        {
            "parent_source_id": ["p", "q", "p"],
            "child_source_id": ["c2", "x", "c1"],
            "measurement_id": ["m4", "m5", "m6"],
            "copies_history": [True, False, True],
        }
    )
    got = copy_fork_history(history, forks)
    assert list(got["source_id"]) == ["c1", "c1", "c2", "c2"]
    assert list(got["measurement_id"]) == ["m1", "m2", "m1", "m2"]
    assert list(got["epoch"]) == ["e0", "e1", "e0", "e1"]
    assert got["copied"].all()
    assert got["separation_arcsec"].isna().sum() == 2
    assert copy_fork_history(history, forks.iloc[:0]).empty
    assert list(copy_fork_history(history, forks.iloc[:0]).columns) == list(history.columns)


def test_shared_measurements_relate_their_sources() -> None:
    """A measurement between two known sources, with neither seen itself, belongs to both in the methods of vast."""
    first = offset_table(10.0, 0.0, [(-3, 0), (3, 0)], epoch="e0", ids=["w", "e"])
    second = offset_table(10.0, 0.0, [(0.5, 0)], epoch="e1", ids=["m"])
    for method in ("advanced", "deruiter"):
        result = associate_measurements([first, second], "5arcsec", method)
        assert sources_of(result) == {("m", "w"): 1, ("e", "m"): 1}
        assert set(result.relations["kind"]) == {"shared"}
        assert len(result.relations) == 2
    assert sources_of(associate_measurements([first, second], "5arcsec", "basic")) == {("w",): 1, ("e", "m"): 1}


def test_elliptical_errors_are_east_and_north() -> None:
    """Errors of 3 arcsec east and 0.3 north: an offset of 4 arcsec east is no news, the same north is."""
    first = table([10.0], [60.0], epoch="e0").assign(uncertainty_ew_arcsec=3.0, uncertainty_ns_arcsec=0.3)
    east = displaced([10.0], [60.0], [4.0], [0.0])
    north = displaced([10.0], [60.0], [0.0], [4.0])
    for method in ("deruiter", "optimal"):
        for (ra, dec), expected in ((east, 1), (north, 2)):
            second = table(ra, dec, epoch="e1").assign(uncertainty_ew_arcsec=3.0, uncertainty_ns_arcsec=0.3)
            result = associate_measurements([first, second], "5arcsec", method)
            assert len(result.sources) == expected
            if expected == 1:
                assert result.associations["de_ruiter"].max() == pytest.approx(4.0 / np.hypot(3.0, 3.0), rel=1e-6)
