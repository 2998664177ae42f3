"""The default method: truth scores against the others, and each of its rules on the smallest sky that shows it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from contimg_assets.association import associate_measurements
from contimg_assets.association.optimal import _assignment, density_of_neighbors
from contimg_assets.simulate import score_association, simulate_detections
from contimg_assets.simulate.score import AssociationScore
from contimg_assets.sky.sphere import unit_vectors
from contimg_assets_tests.association.skies import offset_table, sources_of, table

METHODS = ("basic", "advanced", "deruiter", "optimal")
POSITIONS_ONLY = [
    "measurement_id", "epoch", "image", "ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec",
]  # fmt: skip


def _scores(tables: list[pd.DataFrame], truth: pd.DataFrame, label: str) -> dict[str, tuple[AssociationScore, int]]:
    scores = {}
    for method in METHODS:
        result = associate_measurements(tables, "10arcsec", method)
        score = score_association(result.associations, truth)
        scores[method] = score, len(result.sources)
        missing, wrong = score.true_pairs - score.right_pairs, score.found_pairs - score.right_pairs
        print(
            f"{label:24s} {method:9s} recall {score.pair_recall:.5f} precision {score.pair_precision:.5f} "
            f"missing {missing:5d} wrong {wrong:5d} sources {len(result.sources)} of {truth['true_source'].nunique()}"
        )
    return scores


def _compare(tables: list[pd.DataFrame], truth: pd.DataFrame, label: str) -> dict[str, tuple[AssociationScore, int]]:
    scores = _scores(tables, truth, label)
    best, n_sources = scores["optimal"]
    deruiter = scores["deruiter"][0]
    assert best.wrong_or_missing_pairs <= deruiter.wrong_or_missing_pairs / 4
    n_true = truth["true_source"].nunique()
    assert abs(n_sources - n_true) <= 0.001 * n_true
    for method in METHODS[:3]:
        assert (
            best.pair_recall + best.pair_precision >= scores[method][0].pair_recall + scores[method][0].pair_precision
        )
        assert abs(n_sources - n_true) <= abs(scores[method][1] - n_true)
    return scores


@pytest.mark.parametrize("systematic_arcsec", [1.0, 1.5, 2.0])
def test_a_quarter_of_the_wrong_pairs_at_errors_of_one_to_two_arcsec(systematic_arcsec: float) -> None:
    tables = simulate_detections(4000, 8, seed=21, systematic_arcsec=systematic_arcsec)
    scores = _scores(tables, pd.concat(tables), f"errors of {systematic_arcsec} arcsec")
    best, deruiter = scores["optimal"][0], scores["deruiter"][0]
    assert best.wrong_or_missing_pairs <= deruiter.wrong_or_missing_pairs / 4


@pytest.mark.slow
def test_truth_score_on_a_sky_of_doubles_blends_and_transients() -> None:
    """10,000 sources in 10 epochs at 90 % completeness; doubles 4 to 9 arcsec apart at errors of 1 to 1.6 arcsec."""
    tables = simulate_detections(
        10_000, 10, seed=11, double_fraction=0.04, blend_fraction=0.005, transient_fraction=0.01
    )
    truth = pd.concat(tables)
    best = _compare(tables, truth, "doubles and blends")["optimal"][0]
    assert best.pair_recall >= 0.9995
    assert best.pair_precision >= 0.9995


@pytest.mark.slow
def test_truth_score_without_fluxes_and_of_blends_too() -> None:
    """From positions alone; a blend counts as its brighter component, although it is neither."""
    tables = simulate_detections(10_000, 10, seed=12, double_fraction=0.1, blend_fraction=0.01, transient_fraction=0.02)
    truth = pd.concat(tables).assign(second_source=pd.NA)
    _compare([each[POSITIONS_ONLY] for each in tables], truth, "harsh, positions only")
    tables = simulate_detections(10_000, 10, seed=13, double_fraction=0.04, blend_fraction=0.0)
    truth = pd.concat(tables)
    best = _compare([each[POSITIONS_ONLY] for each in tables], truth, "doubles, positions only")["optimal"][0]
    assert best.pair_recall >= 0.9994
    assert best.pair_precision >= 0.9994


@pytest.mark.slow
def test_truth_score_on_a_clean_sky() -> None:
    tables = simulate_detections(10_000, 5, seed=14, double_fraction=0.0, blend_fraction=0.0)
    scores = _scores(tables, pd.concat(tables), "clean")
    best, n_sources = scores["optimal"]
    assert best.wrong_or_missing_pairs == 0
    assert n_sources == pd.concat(tables)["true_source"].nunique()


def test_doubles_are_assigned_together() -> None:
    """Nearest first would give b its neighbour's source: a pair of moves costs less together."""
    first = offset_table(0.0, 0.0, [(0, 0), (6, 0)], epoch="e0", ids=["a0", "b0"])
    second = offset_table(0.0, 0.0, [(-3.2, 0), (2.8, 0)], epoch="e1", ids=["a1", "b1"])
    assert sources_of(associate_measurements([first, second])) == {("a0", "a1"): 1, ("b0", "b1"): 1}
    assert sources_of(associate_measurements([first, second], "10arcsec", "basic")) != {
        ("a0", "a1"): 1,
        ("b0", "b1"): 1,
    }


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 7), m=st.integers(1, 7), share=st.floats(0.1, 1.0))
def test_the_assignment_costs_least(seed: int, n: int, m: int, share: float) -> None:
    """Against the dense solver, with staying alone at no cost."""
    rng = np.random.default_rng(seed)
    linked = rng.random((n, m)) < share
    cost = np.where(linked, -rng.exponential(2.0, (n, m)) - 1e-3, np.inf)
    measurement, source = np.nonzero(linked)
    chosen = _assignment(measurement, source, cost[measurement, source])
    assert len(set(measurement[chosen])) == len(set(source[chosen])) == len(chosen)
    dense = np.minimum(cost, 0.0)
    rows, columns = linear_sum_assignment(dense)
    assert cost[measurement[chosen], source[chosen]].sum() == pytest.approx(dense[rows, columns].sum(), abs=1e-9)


def test_one_measurement_stays_in_one_source() -> None:
    tables = simulate_detections(500, 6, seed=4, double_fraction=0.4, blend_fraction=0.2)
    result = associate_measurements(tables)
    assert not result.associations["measurement_id"].duplicated().any()
    assert not result.associations["copied"].any()
    assert not result.associations.duplicated(["source_id", "epoch"]).any()
    assert set(result.associations["measurement_id"]) == set(pd.concat(tables)["measurement_id"])
    counts = result.associations["source_id"].value_counts()
    pd.testing.assert_series_equal(
        counts.sort_index(), result.sources.set_index("source_id")["n_measurements"].sort_index(), check_names=False
    )


def _blend_then_pair(n_blended: int, half: float = 3.0) -> list[pd.DataFrame]:
    blended = [offset_table(10.0, 0.0, [(0, 0)], 0.7, epoch=f"e{k}", ids=[f"both{k}"]) for k in range(n_blended)]
    parted = [
        offset_table(10.0, 0.0, [(-half, 0), (half, 0)], 0.7, epoch=f"e{k}", ids=[f"west{k}", f"east{k}"])
        for k in range(n_blended, n_blended + 3)
    ]
    return blended + parted


def test_a_resolved_blend_forks_once_and_keeps_its_history() -> None:
    result = associate_measurements(_blend_then_pair(4))
    assert len(result.sources) == 2
    assert len(result.forks) == 1
    assert not result.forks["copies_history"].any()
    fork = result.forks.iloc[0]
    assert fork["measurement_id"] in ("west4", "east4")
    assert fork["child_source_id"] in set(result.sources["source_id"])
    assert set(result.relations["kind"]) == {"fork"}
    assert len(result.relations) == 2
    sides = sources_of(result)
    assert sorted(map(len, sides)) == [3, 7]
    assert all(len({name[:4] for name in ids if not name.startswith("both")}) == 1 for ids in sides)
    # From then on the parent is where its component is, not where the blend was.
    parent = result.sources.set_index("source_id").loc[fork["parent_source_id"]]
    offset = ((parent["ra_deg"] - 10.0) * 3600.0, parent["dec_deg"] * 3600.0)
    assert abs(offset[0]) == pytest.approx(3.0, abs=0.01)


def test_a_new_neighbour_is_no_fork() -> None:
    """The source continues where it was; what appears beside it is another source."""
    tables = [offset_table(10.0, 0.0, [(0, 0)], 0.7, epoch=f"e{k}") for k in range(4)]
    tables.append(offset_table(10.0, 0.0, [(0, 0), (5, 0)], 0.7, epoch="e4"))
    result = associate_measurements(tables)
    assert len(result.sources) == 2
    assert len(result.forks) == len(result.relations) == 0


def test_noise_does_not_make_a_fork_of_a_new_neighbour() -> None:
    rng = np.random.default_rng(5)
    n_forks = 0
    for trial in range(40):
        tables = [offset_table(10.0, 0.0, [tuple(rng.normal(0, 0.7, 2))], 0.7, epoch=f"{trial}e{k}") for k in range(6)]
        both = [tuple(rng.normal(0, 0.7, 2)), (5.0, 0.0)]
        n_forks += len(associate_measurements([*tables, offset_table(10.0, 0.0, both, 0.7, epoch="last")]).forks)
    assert n_forks <= 6


def test_a_blend_of_known_sources_is_reported_and_moves_neither() -> None:
    tables = [offset_table(10.0, 0.0, [(-2, 0), (2, 0)], 0.5, epoch=f"e{k}") for k in range(3)]
    tables.append(offset_table(10.0, 0.0, [(0.5, 0)], 0.5, epoch="e3", ids=["blend"]))
    before, after = associate_measurements(tables[:3]), associate_measurements(tables)
    assert len(after.sources) == 2
    assert set(after.relations["kind"]) == {"blend"}
    pd.testing.assert_frame_equal(
        before.sources.drop(columns="n_measurements"), after.sources.drop(columns="n_measurements")
    )
    holder = after.associations.set_index("measurement_id").loc["blend", "source_id"]
    east = after.associations.set_index("measurement_id").loc["e0-1", "source_id"]
    assert holder == east


def test_flux_decides_between_equals_only() -> None:
    """A lone measurement half way between a bright and a faint source."""

    def pair(k: int) -> pd.DataFrame:
        return offset_table(10.0, 0.0, [(-2, 0), (2, 0)], epoch=f"e{k}", flux_peak_mjy_beam=[10.0, 1.0])

    alone = [(0.1, 0.0)]
    for flux, owner in ((10.0, "e0-0"), (1.0, "e0-1")):
        last = offset_table(10.0, 0.0, alone, epoch="e3", ids=["lone"], flux_peak_mjy_beam=[flux])
        named = associate_measurements([pair(0), pair(1), pair(2), last]).associations.set_index("measurement_id")
        assert named.loc["lone", "source_id"] == named.loc[owner, "source_id"]


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_variable_source_is_not_lost(factor: float) -> None:
    first = table([10.0], [0.0], epoch="e0", flux_peak_mjy_beam=5.0)
    second = offset_table(10.0, 0.0, [(4.5, 0)], epoch="e1", flux_peak_mjy_beam=5.0 * factor)
    assert len(associate_measurements([first, second]).sources) == 1


def test_missing_fluxes_are_no_reason_for_anything() -> None:
    tables = simulate_detections(300, 4, seed=6, double_fraction=0.3)
    plain = [each.drop(columns="flux_peak_mjy_beam") for each in tables]
    missing = [each.assign(flux_peak_mjy_beam=np.nan) for each in tables]
    negative = [each.assign(flux_peak_mjy_beam=-1.0) for each in tables]
    versions = {associate_measurements(each).state.version for each in (plain, missing, negative)}
    assert len(versions) == 1


def test_the_cut_on_the_de_ruiter_radius() -> None:
    first = table([10.0], [0.0], epoch="e0")
    for offset, expected in ((4.0, 1), (9.5, 2)):  # de Ruiter radii 2.8 and 6.7
        second = offset_table(10.0, 0.0, [(offset, 0)], epoch="e1")
        assert len(associate_measurements([first, second]).sources) == expected
    wide = offset_table(10.0, 0.0, [(40.0, 0)], 20.0, epoch="e1")
    assert len(associate_measurements([first, wide]).sources) == 2
    assert len(associate_measurements([first, wide], max_separation_arcsec=60.0).sources) == 1


def test_dense_skies_demand_closer_pairs() -> None:
    """The same pair at a de Ruiter radius of 4.2 is one source in an empty field and two in a crowded one."""
    lone = [(0.0, 0.0)]
    rng = np.random.default_rng(0)
    ring = np.stack([np.cos(np.arange(0, 6.28, 0.13)), np.sin(np.arange(0, 6.28, 0.13))], axis=1)
    crowd = np.concatenate([ring * radius for radius in (20.0, 22.0, 24.0)]) + rng.normal(0, 0.01, (147, 2))
    for neighbours, expected in ((np.empty((0, 2)), 1), (crowd, 2)):
        first = offset_table(10.0, 0.0, [*lone, *map(tuple, neighbours)], 1.0, epoch="e0")
        second = offset_table(10.0, 0.0, [(6.0, 0.0)], 1.0, epoch="e1")
        result = associate_measurements([first, second])
        assert len(result.sources) == len(neighbours) + expected


def test_local_density_is_that_of_the_sky() -> None:
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(-1, 1, 20_000), rng.uniform(-1, 1, 20_000)
    tree = cKDTree(unit_vectors(ra, dec))
    inner = unit_vectors(rng.uniform(-0.5, 0.5, 500), rng.uniform(-0.5, 0.5, 500))
    expected = 5000.0 / 3600.0**2
    assert np.median(density_of_neighbors(inner, tree)) == pytest.approx(expected, rel=0.1)
