"""Position offsets: signs, standard errors, models over the image."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from contimg_assets.calibration import calculate_positional_offsets, positions
from contimg_assets.errors import InputError
from contimg_assets.sky import sphere
from contimg_assets.sky.robust import weighted_center


def _matches(
    rng: np.random.Generator, n: int, noise: float = 0.3, ra: float = 0.0, dec: float = 16.0, **turn: float
) -> pd.DataFrame:
    """Offsets (0.8, -0.5) with noise; rotate and stretch in arcsec per degree, bow in arcsec per degree^3."""
    x, y = rng.uniform(-2, 2, (2, n))
    ra_deg, dec_deg = sphere.displaced(np.full(n, ra), np.full(n, dec), 3600 * x, 3600 * y)
    rotate, stretch, bow = (turn.get(name, 0.0) for name in ("rotate", "stretch", "bow"))
    east = 0.8 + stretch * x - rotate * y + bow * x**3 + rng.normal(0, noise, n)
    north = -0.5 + stretch * y + rotate * x + rng.normal(0, 1.5 * noise, n)
    dra, ddec = positions.turned(east, north, positions.convergence((ra, dec), ra_deg, dec_deg))
    return pd.DataFrame({"ra_deg": ra_deg, "dec_deg": dec_deg, "dra_arcsec": dra, "ddec_arcsec": ddec})


@pytest.mark.parametrize("with_errors", [True, False])
@pytest.mark.parametrize("model", ["constant", "auto"])
def test_images_fitted_together_come_out_as_each_alone(model: positions.Model, with_errors: bool) -> None:
    rng = np.random.default_rng(30)
    sizes = [2, 5, 5, 0, 60, 5, 60]
    tables = [_matches(rng, n, ra=40.0 * i, rotate=float(n > 20)) for i, n in enumerate(sizes)]
    if with_errors:
        tables = [
            table.assign(sigma_ew_arcsec=0.3, sigma_ns_arcsec=rng.uniform(0.3, 0.6, len(table))) for table in tables
        ]
        # Of this image one match has no error, so that it has no weights.
        tables[2].loc[1, "sigma_ew_arcsec"] = np.nan
    centers = [(40.0 * i, 16.0) for i in range(len(sizes))]
    rows = [np.arange(end - n, end) for n, end in zip(sizes, np.cumsum(sizes), strict=True)]
    together = positions.offsets_of_images(pd.concat(tables, ignore_index=True), rows, model, centers)
    alone = [
        calculate_positional_offsets(table, model, center=center, weighted=True)
        for table, center in zip(tables, centers, strict=True)
    ]
    # To the last digit: which images an epoch has besides must not change one.
    assert repr(together) == repr(alone)
    assert {offset.model for offset in alone} == ({"constant", "linear"} if model == "auto" else {"constant"})


def test_median_and_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    fits = [calculate_positional_offsets(_matches(rng, 150), center=(0.0, 16.0)) for _ in range(400)]
    dra, ddec = (np.array([getattr(fit, name) for fit in fits]) for name in ("dra_arcsec", "ddec_arcsec"))
    assert dra.mean() == pytest.approx(0.8, abs=0.005)
    assert ddec.mean() == pytest.approx(-0.5, abs=0.005)
    assert np.mean([fit.dra_err_arcsec for fit in fits]) == pytest.approx(dra.std(), rel=0.12)
    assert np.mean([fit.ddec_err_arcsec for fit in fits]) == pytest.approx(ddec.std(), rel=0.12)
    # Not the scatter, which vast-post-processing takes for the error.
    assert fits[0].dra_err_arcsec < 0.2 * fits[0].dra_mad_arcsec


def test_covariance_of_correlated_offsets() -> None:
    rng = np.random.default_rng(1)
    samples = rng.multivariate_normal([0, 0], [[0.09, 0.06], [0.06, 0.09]], size=(400, 120))
    fits = [
        calculate_positional_offsets(pd.DataFrame(sample, columns=["dra_arcsec", "ddec_arcsec"])) for sample in samples
    ]
    medians = np.array([[fit.dra_arcsec, fit.ddec_arcsec] for fit in fits])
    assert np.mean([fit.covariance_arcsec2 for fit in fits]) == pytest.approx(np.cov(medians.T)[0, 1], rel=0.2)


@pytest.mark.parametrize("outliers", [0.0, 0.2])
def test_wrong_matches_do_not_move_the_median(outliers: float) -> None:
    rng = np.random.default_rng(2)
    table = _matches(rng, 200)
    wrong = rng.random(200) < outliers
    table.loc[wrong, ["dra_arcsec", "ddec_arcsec"]] = rng.uniform(-10, 10, (int(wrong.sum()), 2))
    fit = calculate_positional_offsets(table)
    assert abs(fit.dra_arcsec - 0.8) < 4 * fit.dra_err_arcsec
    assert abs(fit.ddec_arcsec + 0.5) < 4 * fit.ddec_err_arcsec


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (180.0, -45.0), (77.0, 89.0)])
@pytest.mark.parametrize(
    ("turn", "model"), [({}, "constant"), ({"rotate": 0.4, "stretch": -0.2}, "linear"), ({"bow": 0.3}, "smooth")]
)
def test_cross_validation_finds_the_model(ra: float, dec: float, turn: dict[str, float], model: str) -> None:
    table = _matches(np.random.default_rng(3), 400, ra=ra, dec=dec, **turn)
    fit = calculate_positional_offsets(table, "auto", center=(ra, dec))
    assert fit.model == model
    assert fit.dra_arcsec == pytest.approx(0.8, abs=0.1)
    assert fit.ddec_arcsec == pytest.approx(-0.5, abs=0.15)
    if model == "constant":
        assert fit.coefficients is None
    else:
        assert fit.coefficients is not None
        east, north = positions.evaluate(fit.coefficients, table["ra_deg"], table["dec_deg"])
        angle = -positions.convergence((ra, dec), table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
        dra, ddec = positions.turned(table["dra_arcsec"].to_numpy(), table["ddec_arcsec"].to_numpy(), angle)
        assert np.std(dra - east) == pytest.approx(0.3, rel=0.1)
        assert np.std(ddec - north) == pytest.approx(0.45, rel=0.1)


@pytest.mark.parametrize("n", [25, 150])
def test_no_model_is_seen_in_noise(n: int) -> None:
    rng = np.random.default_rng(9)
    chosen = [calculate_positional_offsets(_matches(rng, n), "auto", center=(0.0, 16.0)).model for _ in range(200)]
    assert chosen.count("constant") >= 197


def test_left_out_residuals_are_those_of_fits_without_the_match() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.uniform(-1, 1, (2, 30))
    # Noise without outliers' weights: then leaving out is exact.
    offsets = rng.uniform(-0.1, 0.1, (30, 2)) + np.stack([0.5 + 0.3 * x, -0.2 * y], axis=-1)
    terms = positions._terms(x, y, 1)
    fit = positions._robust_fit(terms, offsets)
    kept = np.arange(30) != 7
    others = np.linalg.lstsq(terms[kept], offsets[kept], rcond=None)[0]
    np.testing.assert_allclose(fit.left_out[7], offsets[7] - terms[7] @ others, atol=0.01)


def test_a_model_does_not_run_away_beyond_its_matches() -> None:
    fit = calculate_positional_offsets(_matches(np.random.default_rng(11), 400, bow=0.3), "smooth", center=(0.0, 16.0))
    assert fit.coefficients is not None
    edge = json.loads(fit.coefficients)["radius_deg"]
    north = np.array([16 + edge, 16 + 3 * edge, 16 + 20 * edge])
    east, _ = positions.evaluate(fit.coefficients, np.zeros(3), north)
    np.testing.assert_allclose(east, east[0], atol=1e-9)


def test_rotation_has_the_right_sense() -> None:
    """Offsets (-y, x) times 0.4: at a place north of the center the offset is to the west."""
    table = _matches(np.random.default_rng(4), 400, rotate=0.4)
    fit = calculate_positional_offsets(table, "linear", center=(0.0, 16.0))
    assert fit.coefficients is not None
    east, north = positions.evaluate(fit.coefficients, [0.0, 359.0], [17.0, 16.0])
    assert east[0] == pytest.approx(0.8 - 0.4, abs=0.1)
    assert north[1] == pytest.approx(-0.5 - 0.4 * np.cos(np.radians(16)), abs=0.1)


def test_order_of_rows_does_not_matter() -> None:
    table = _matches(np.random.default_rng(5), 300, rotate=0.4)
    shuffled = table.sample(frac=1, random_state=0)
    for model in ("constant", "auto"):
        one = calculate_positional_offsets(table, model, center=(0.0, 16.0))
        assert calculate_positional_offsets(shuffled, model, center=(0.0, 16.0)) == one


def test_few_or_no_matches() -> None:
    table = _matches(np.random.default_rng(6), 7)
    nothing = calculate_positional_offsets(table.head(0))
    assert nothing.n == 0
    assert np.isnan(nothing.dra_arcsec)
    assert np.isnan(nothing.dra_err_arcsec)
    assert calculate_positional_offsets(table, "smooth").model == "constant"
    with_gap = pd.concat([table, table.head(1).assign(dra_arcsec=np.nan)])
    assert calculate_positional_offsets(with_gap).n == 7


def test_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="ddec_arcsec"):
        calculate_positional_offsets(pd.DataFrame({"dra_arcsec": [1.0]}))


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (10.0, 60.0), (359.9, 89.0), (123.0, -89.99), (0.0, 90.0)])
def test_an_image_is_off_by_the_same_vector_everywhere(ra: float, dec: float) -> None:
    """Turning the whole sky about an axis 90 degrees from the center moves an image without rotating it."""
    rng = np.random.default_rng(7)
    table = _matches(rng, 300, ra=ra, dec=dec)
    true = sphere.unit_vectors(table["ra_deg"], table["dec_deg"])
    centre = sphere.unit_vectors([ra], [dec])[0]
    moved_centre = sphere.unit_vectors(*sphere.displaced([ra], [dec], [0.8], [-0.5]))[0]
    axis = np.cross(centre, moved_centre)
    where = sphere.positions(true + np.cross(axis, true))
    east, north = sphere.offsets_arcsec(table["ra_deg"], table["dec_deg"], *where)
    fit = calculate_positional_offsets(table.assign(dra_arcsec=east, ddec_arcsec=north), center=(ra, dec))
    assert fit.dra_arcsec == pytest.approx(0.8, abs=2e-3)
    assert fit.ddec_arcsec == pytest.approx(-0.5, abs=2e-3)
    assert max(fit.dra_mad_arcsec, fit.ddec_mad_arcsec) < 1e-3


def test_convergence_is_that_of_the_great_circle() -> None:
    """A great circle keeps its direction: its position angles at both ends differ by the convergence."""
    rng = np.random.default_rng(8)
    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-90, 90, 200)
    centre = (rng.uniform(0, 360, 200), rng.uniform(-90, 90, 200))
    one, other = sphere.unit_vectors(*centre), sphere.unit_vectors(ra, dec)
    beyond = sphere.positions(np.cross(np.cross(one, other), other) * 1e-6 + other)
    towards = sphere.positions(one + 1e-6 * (other - one * (one * other).sum(axis=1)[:, None]))
    start = np.arctan2(*sphere.offsets_arcsec(*centre, *towards))
    end = np.arctan2(*sphere.offsets_arcsec(ra, dec, *beyond))
    difference = (end - start - positions.convergence(centre, ra, dec) + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(difference, 0, atol=1e-4)


@pytest.mark.parametrize("n", [4, 5, 7, 10, 15, 40])
def test_errors_of_few_matches_hold_what_they_promise(n: int) -> None:
    rng = np.random.default_rng(n)
    held = []
    for sample in rng.normal(size=(2_000, n, 2)):
        got = calculate_positional_offsets(pd.DataFrame(sample, columns=["dra_arcsec", "ddec_arcsec"]))
        held += [abs(got.dra_arcsec) < 1.96 * got.dra_err_arcsec, abs(got.ddec_arcsec) < 1.96 * got.ddec_err_arcsec]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_errors_hold_where_matches_are_of_any_brightness() -> None:
    """Most matches are faint and scatter by far more than the few that the median is near to."""
    rng = np.random.default_rng(3)
    held, by_scatter = [], []
    for _ in range(1_000):
        snr = 5.0 * rng.random(80) ** -1.25
        offsets = rng.normal(size=(80, 2)) * np.hypot(25.0 / snr, 0.4)[:, None]
        got = calculate_positional_offsets(pd.DataFrame(offsets, columns=["dra_arcsec", "ddec_arcsec"]))
        held += [abs(got.dra_arcsec) < 1.96 * got.dra_err_arcsec, abs(got.ddec_arcsec) < 1.96 * got.ddec_err_arcsec]
        by_scatter.append(abs(got.dra_arcsec) < 1.96 * 1.858 * got.dra_mad_arcsec / np.sqrt(80))
    assert 0.935 <= np.mean(held) <= 0.97
    assert np.mean(by_scatter) > 0.97


@pytest.mark.parametrize(
    ("n", "quoted", "floor"), [(4, 0.2, 0.2), (12, 0.2, 0.2), (20, 0.3, 0.1), (20, 0.1, 0.3), (80, 0.3, 0.1)]
)
def test_errors_of_weighted_matches_hold_what_they_promise(n: int, quoted: float, floor: float) -> None:
    """Whether the floor in the errors is right, too large or too small."""
    rng = np.random.default_rng(n)
    held, weighted, medians = [], [], []
    for _ in range(400):
        sigma = np.stack([2.0 * rng.random(n) ** 1.25] * 2, axis=-1)
        offsets = rng.normal(size=(n, 2)) * np.hypot(sigma, floor)
        center, error = weighted_center(offsets, np.hypot(sigma, quoted))
        held += list(np.abs(center) < 1.96 * error)
        weighted.append(center)
        medians.append(np.median(offsets, axis=0))
    assert 0.91 <= np.mean(held) <= 0.98
    assert np.std(weighted) < 0.9 * np.std(medians)


def test_matches_weigh_by_their_errors_and_wrong_ones_hardly() -> None:
    table = pd.DataFrame({"dra_arcsec": [0.1, 0.1, 3.0, -3.0, 2.5], "ddec_arcsec": [0.2, 0.2, 3.0, 2.0, -3.0]})
    errors = pd.DataFrame({name: [0.1, 0.1, 3.0, 3.0, 3.0] for name in ("sigma_ew_arcsec", "sigma_ns_arcsec")})
    fit = calculate_positional_offsets(pd.concat([table, errors], axis=1), weighted=True)
    assert (fit.dra_arcsec, fit.ddec_arcsec) == pytest.approx((0.1, 0.2), abs=0.02)
    assert fit.dra_err_arcsec < 0.15
    any_order = pd.concat([table, errors], axis=1).sample(frac=1, random_state=1)
    assert calculate_positional_offsets(any_order, weighted=True) == fit
    # Only where it is asked for.
    assert calculate_positional_offsets(any_order) == calculate_positional_offsets(table)
    # Without the error of one, the median.
    some = errors.assign(sigma_ew_arcsec=[0.1, 0.1, 3.0, 3.0, np.nan])
    got = calculate_positional_offsets(pd.concat([table, some], axis=1), weighted=True)
    assert got == calculate_positional_offsets(table)
    wrong = _matches(np.random.default_rng(6), 60).assign(sigma_ew_arcsec=0.3, sigma_ns_arcsec=0.45)
    wrong.loc[:5, "dra_arcsec"] = 8.0
    fit = calculate_positional_offsets(wrong, center=(0.0, 16.0), weighted=True)
    assert abs(fit.dra_arcsec - 0.8) < 4 * fit.dra_err_arcsec
    same = pd.DataFrame({name: [0.5] * 6 for name in (*table, *errors)})
    assert calculate_positional_offsets(same, weighted=True).dra_err_arcsec == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("model", ["linear", "smooth"])
def test_errors_of_a_model_are_those_at_the_place(model: str) -> None:
    rng = np.random.default_rng(5)
    edge, centre = [], []
    for _ in range(150):
        ra, dec = 150 + rng.uniform(-1, 1, 100), rng.uniform(-1, 1, 100)
        offsets = dict(zip(("dra_arcsec", "ddec_arcsec"), rng.normal(0, 0.5, (2, 100)), strict=True))
        table = pd.DataFrame({"ra_deg": ra, "dec_deg": dec, **offsets})
        got = calculate_positional_offsets(table, model, center=(150.0, 0.0))  # type: ignore[arg-type]
        places = [150.0, 150.9], [0.0, 0.9]
        pull = (
            positions.evaluate(got.coefficients or "", *places)[0]
            / positions.evaluate_errors(got.coefficients or "", *places)[0]
        )
        centre.append(pull[0])
        edge.append(pull[1])
    assert np.std(centre) == pytest.approx(1, abs=0.2)
    assert np.std(edge) == pytest.approx(1, abs=0.2)


def test_matches_on_one_line_of_declination_have_an_offset() -> None:
    rng = np.random.default_rng(6)
    table = pd.DataFrame(
        {"ra_deg": 150 + rng.uniform(-1, 1, 80), "dec_deg": 0.0, "dra_arcsec": 1.0, "ddec_arcsec": -2.0}
    )
    table[["dra_arcsec", "ddec_arcsec"]] += rng.normal(0, 0.1, (80, 2))
    for model in ("auto", "linear", "smooth"):
        got = calculate_positional_offsets(table, model, center=(150.0, 0.0))  # type: ignore[arg-type]
        assert (got.dra_arcsec, got.ddec_arcsec) == pytest.approx((1.0, -2.0), abs=0.1)


def test_unknown_model_is_named() -> None:
    table = pd.DataFrame({"dra_arcsec": [1.0], "ddec_arcsec": [1.0]})
    with pytest.raises(InputError, match="position model 'cubic' is unknown"):
        calculate_positional_offsets(table, "cubic")  # type: ignore[arg-type]
