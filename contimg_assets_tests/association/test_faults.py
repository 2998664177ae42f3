"""The faults of vast-pipeline (numbers: reference/association_vast.md section 11), each with the right answer."""

import numpy as np
import pandas as pd
import pytest

from contimg_assets.association import FoldState, associate_measurements
from contimg_assets.association.fold import fold
from contimg_assets.config import Association
from contimg_assets.errors import InputError
from contimg_assets.sky.sphere import displaced, separation_arcsec
from contimg_assets_tests.association.skies import offset_table, scattered, sources_of, table

METHODS = ["basic", "advanced", "deruiter", "optimal"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        (0.1, 10.0),
        (0.0, 10.0),
        (0.05, 89.5),
        (90.0, -30.0),
        (270.0, 40.0),
        (180.0, 0.0),
        (12.0, 89.999),
        (200.0, -89.9999),
    ],
)
def test_faults_1_2_3_4_one_source_is_one_source_anywhere(method: str, ra: float, dec: float) -> None:
    """RA 0 and 0.1 (wrap rule), 90 and 270 (difference of RA), and the poles (averages of RA)."""
    tables = scattered(np.array([ra]), np.array([dec]), 12, sigma_arcsec=0.5)
    result = associate_measurements(tables, "5arcsec", method)
    assert len(result.sources) == 1
    assert result.sources["ra_deg"].between(0, 360, inclusive="left").all()
    got = result.sources.iloc[0]
    # The mean of 12 measurements of 0.5 arcsec; 5 sigma.
    assert separation_arcsec(got["ra_deg"], got["dec_deg"], ra, dec) < 5 * 0.5 / np.sqrt(12)
    assert result.associations["de_ruiter"].max() < 5


@pytest.mark.parametrize("method", ["advanced", "deruiter"])
@pytest.mark.parametrize("n_epochs", [5, 20])
def test_fault_7_pairs_near_the_radius_do_not_fork_in_every_epoch(method: str, n_epochs: int) -> None:
    """200 isolated pairs 8 arcsec apart: 1331 sources after 20 epochs there, 400 true ones here."""
    ra, dec = np.meshgrid(np.linspace(10, 12, 20), np.linspace(-2, 0, 10))
    ra, dec = ra.ravel(), dec.ravel()
    second = displaced(ra, dec, np.full(200, 8.0), np.zeros(200))
    tables = scattered(np.append(ra, second[0]), np.append(dec, second[1]), n_epochs, seed=3)
    result = associate_measurements(tables, "10arcsec", method)
    assert 400 <= len(result.sources) <= 402
    assert len(result.associations) <= 1.01 * 400 * n_epochs


@pytest.mark.parametrize("method", METHODS)
def test_fault_8_identical_rows_do_not_multiply(method: str) -> None:
    """Two identical rows in each of 3 epochs: 8 sources and 24 rows there."""
    tables = [table([50.0, 50.0], [5.0, 5.0], epoch=f"e{k}") for k in range(3)]
    result = associate_measurements(tables, "5arcsec", method)
    assert len(result.sources) == 2
    assert len(result.associations) == 6
    assert result.associations.groupby("source_id")["epoch"].nunique().eq(3).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("empty", [0, 1, 3])
def test_fault_10_an_epoch_may_be_empty(method: str, empty: int) -> None:
    """The first, a middle and the last one."""
    tables = scattered(np.array([10.0, 11.0]), np.array([0.0, 0.0]), 4)
    tables[empty] = tables[empty].iloc[:0]
    result = associate_measurements(tables, "5arcsec", method)
    assert len(result.sources) == 2
    assert len(result.associations) == 6
    assert list(result.diagnostics["n_measurements"]) == [0 if k == empty else 2 for k in range(4)]


@pytest.mark.parametrize("method", METHODS)
def test_fault_10_all_epochs_may_be_empty(method: str) -> None:
    tables = [table([], [], epoch=f"e{k}") for k in range(3)]
    result = associate_measurements(tables, "5arcsec", method)
    assert len(result.sources) == len(result.associations) == len(result.relations) == 0
    assert len(associate_measurements([], "5arcsec", method).sources) == 0
    assert len(associate_measurements([pd.DataFrame()], "5arcsec", method).sources) == 0


@pytest.mark.parametrize("column", ["ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -91.0])
def test_fault_11_unusable_numbers_are_named(column: str, value: float) -> None:
    tables = scattered(np.array([10.0, 11.0, 12.0]), np.zeros(3), 2)
    tables[1].loc[2, column] = value
    with pytest.raises(InputError, match=rf"table 1 .*{column}.*row\(s\) 2, measurement_id e1-2"):
        associate_measurements(tables)


@pytest.mark.parametrize("column", ["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"])
def test_fault_11_an_error_of_zero_is_named(column: str) -> None:
    bad = table([1.0, 2.0], [0.0, 0.0])
    bad[column] = [1.0, 0.0]
    with pytest.raises(InputError, match=rf"{column}.*e0-1"):
        fold(FoldState.empty(), bad, Association())


@pytest.mark.parametrize("method", METHODS)
def test_fault_12_a_single_source(method: str) -> None:
    result = associate_measurements([table([10.0], [0.0])], "5arcsec", method)
    assert len(result.sources) == 1
    assert result.associations["de_ruiter"].isna().all()
    tables = scattered(np.array([10.0]), np.array([0.0]), 3)
    assert len(associate_measurements(tables, "5arcsec", method).sources) == 1


@pytest.mark.parametrize("method", METHODS)
def test_fault_16_overlapping_fields_make_one_source(method: str) -> None:
    """There the two fields were associated apart and their ids put together afterwards: 4 sources instead of 3."""
    west = offset_table(10.0, 0.0, [(0, 0), (1800, 0)], epoch="e0", image="west", ids=["w0", "w1"])
    east = offset_table(10.0, 0.0, [(1800.5, 0), (3600, 0)], epoch="e1", image="east", ids=["x0", "x1"])
    result = associate_measurements([west, east], "5arcsec", method)
    assert sources_of(result) == {("w0",): 1, ("w1", "x0"): 1, ("x1",): 1}


@pytest.mark.parametrize("method", METHODS)
def test_fault_19_a_later_epoch_may_bring_a_field_of_its_own(method: str) -> None:
    near, far = table([10.0], [0.0], epoch="e0"), table([200.0], [50.0], epoch="e1")
    state = fold(FoldState.empty(), near, Association(method=method)).state
    result = fold(state, far, Association(method=method))
    assert len(result.state) == 2
    assert result.diagnostics["n_new"] == 1


@pytest.mark.parametrize("method", ["basic", "advanced", "deruiter"])
def test_fault_20_forks_of_one_source_are_related_to_each_other(method: str) -> None:
    first = table([10.0], [0.0], 2.0, epoch="e0")
    second = offset_table(10.0, 0.0, [(-3, 0), (0.5, 0), (3, 0)], 2.0, epoch="e1")
    result = associate_measurements([first, second], "5arcsec", method)
    assert len(result.forks) == 2
    family = set(result.sources["source_id"])
    assert len(family) == 3
    pairs = set(map(tuple, result.relations[["from_source_id", "to_source_id"]].to_numpy()))
    assert pairs == {(a, b) for a in family for b in family if a != b}
    assert set(result.relations["kind"]) == {"fork"}
    # The nearest keeps the source, and every fork has its history.
    assert sources_of(result) == {("e0-0", f"e1-{k}"): 1 for k in range(3)}
    copied = result.associations[result.associations["copied"]]
    assert set(copied["measurement_id"]) == {"e0-0"}
    assert set(copied["epoch"]) == {"e0"}
    assert set(copied["source_id"]) == set(result.forks["child_source_id"])
