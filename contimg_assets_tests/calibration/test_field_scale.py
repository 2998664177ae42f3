"""The scale of a field: what images take from their sources' earlier fluxes, from catalogs, and from each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.calibration import (
    add_fluxes,
    apply_corrections,
    calibrated_fluxes,
    field_scales,
    measure_corrections,
    scale_pulls,
    tie_fluxes,
    with_field_scales,
    without_additive,
)
from contimg_assets.calibration.field_scale import relative_scales
from contimg_assets.calibration.image_ties import CATALOG, KNOWN, OVERLAP, START, image_ties
from contimg_assets.calibration.known_variables import known_variables
from contimg_assets.calibration.relative_scale import (
    Ratios,
    RelativeScale,
    ScatterModel,
    block_correlation,
    blocks,
    fit_relative_scales,
    scatter_model,
)
from contimg_assets.config import Corrections
from contimg_assets.schemas.corrections import CORRECTIONS, KNOWN_FLUXES
from contimg_assets.schemas.matches import CATALOG_MATCHES
from contimg_assets.sky import sphere

PARAMETERS = Corrections(flux_offset="never")
FIELD_DEG = 2.0


def _sky(rng: np.random.Generator, n: int, centre: tuple[float, float]) -> pd.DataFrame:
    """Constant sources on a jittered grid about a center, all isolated."""
    side = int(np.ceil(np.sqrt(n)))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n] - side / 2
    step = FIELD_DEG * 3600.0 / side
    east, north = ((grid + rng.uniform(-0.2, 0.2, grid.shape)) * step).T
    ra, dec = sphere.displaced(np.full(n, centre[0]), np.full(n, centre[1]), east, north)
    flux = np.minimum(12.0 * (rng.pareto(1.0, n) + 1), 3000.0)
    return pd.DataFrame({"source_id": [f"{k:016x}" for k in range(n)], "ra_deg": ra, "dec_deg": dec, "flux_mjy": flux})


def _image(
    rng: np.random.Generator,
    sky: pd.DataFrame,
    name: str,
    centre: tuple[float, float],
    scale: float = 1.0,
    scatter: float = 0.01,
    noise_mjy: float = 0.3,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(measurements, associations, images) of one image that sees all of a sky, its fluxes off by a factor."""
    n = len(sky)
    true = sky["flux_mjy"].to_numpy()
    flux = scale * true * (1 + scatter * rng.standard_normal(n)) + noise_mjy * rng.standard_normal(n)
    ids = np.array([f"{name}_{source}" for source in sky["source_id"]], dtype=object)
    measurements = pd.DataFrame(
        {
            "measurement_id": ids,
            "image": name,
            "ra_deg": sky["ra_deg"].to_numpy(),
            "dec_deg": sky["dec_deg"].to_numpy(),
            "uncertainty_ew_arcsec": 0.1,
            "uncertainty_ns_arcsec": 0.1,
            "flux_peak_mjy_beam": flux,
            "flux_peak_err_mjy_beam": noise_mjy,
            "flux_int_mjy": flux,
            "flux_int_err_mjy": noise_mjy,
            "local_rms_mjy_beam": noise_mjy,
            "snr": flux / noise_mjy,
            "forced": False,
            "duplicate_of": None,
        }
    )
    measurements = measurements[measurements["snr"] >= 5.0].reset_index(drop=True)
    associations = pd.DataFrame({"source_id": sky["source_id"].to_numpy(), "measurement_id": ids, "copied": False})
    associations = associations[associations["measurement_id"].isin(measurements["measurement_id"])]
    images = pd.DataFrame(
        {"image": [name], "ra_deg": [centre[0]], "dec_deg": [centre[1]], "bmaj_arcsec": [15.0], "freq_mhz": [888.0]}
    )
    return measurements, associations.reset_index(drop=True), images


def _joined(*parts: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, ...]:
    return tuple(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))


def _untied(images: pd.DataFrame) -> pd.DataFrame:
    """CORRECTIONS where there is no catalog."""
    nothing = pd.DataFrame({"measurement_id": [], "image": [], "ra_deg": [], "dec_deg": []})
    return measure_corrections(nothing, CATALOG_MATCHES.empty(), images, PARAMETERS)


def _tied(images: pd.DataFrame, scales: dict[str, float], error: float = 0.005) -> pd.DataFrame:
    """CORRECTIONS as if a catalog had said so."""
    scale = images.sort_values("image")["image"].map(scales).to_numpy(dtype=float)
    return _untied(images).assign(
        flux_catalog="nvss",
        n_flux=100,
        flux_scale=scale,
        flux_scale_err=error * scale,
        flux_outlier_fraction=0.1,
        flux_max_influence=0.1,
        flux_trusted=True,
        position_applied=True,
    )


def _folded(
    epochs: list[tuple[tuple[pd.DataFrame, ...], pd.DataFrame]], parameters: Corrections = PARAMETERS
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """CORRECTIONS of each epoch of ((measurements, associations, images), corrections), and KNOWN_FLUXES after all."""
    known, made = KNOWN_FLUXES.empty(), []
    for (measurements, associations, images), corrections in epochs:
        fluxes = without_additive(tie_fluxes(measurements, associations, images, parameters), corrections, parameters)
        scales = field_scales(fluxes, known, corrections, parameters, known_variables(known, parameters))
        table = CORRECTIONS.to_arrow(with_field_scales(corrections, scales, parameters)).to_pandas()
        known = add_fluxes(known, calibrated_fluxes(measurements, associations, images, table, "relative"))
        known = KNOWN_FLUXES.to_arrow(known).to_pandas()
        made.append(table)
    return made, known


def _survey(
    seed: int, scales: list[float], catalog: list[float] | None, n: int = 150, centre: tuple[float, float] = (0.0, 16.0)
) -> list[tuple[tuple[pd.DataFrame, ...], pd.DataFrame]]:
    """One image an epoch of one field."""
    rng = np.random.default_rng(seed)
    sky = _sky(rng, n, centre)
    epochs = []
    for k, scale in enumerate(scales):
        tables = _image(rng, sky, f"image{k}", centre, scale)
        tie = _untied(tables[2]) if catalog is None else _tied(tables[2], {f"image{k}": catalog[k]})
        epochs.append((tables, tie))
    return epochs


# --- one image ----------------------------------------------------------------------------------------------------


def _ratios(rng: np.random.Generator, n: int, scale: float, scatter: float, n_fluxes: float = 3.0) -> Ratios:
    ratio = scale * (1 + scatter * rng.standard_normal(n)) * (1 + scatter / np.sqrt(n_fluxes) * rng.standard_normal(n))
    variance = np.full(n, scatter**2)
    return Ratios(
        ratio,
        variance * scale**2,
        variance / n_fluxes,
        np.full(n, n_fluxes),
        (n_fluxes - 1) * variance,
        blocks(rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)),
    )


def fit_relative_scale(ratios: Ratios, model: ScatterModel, correlation: float = 1.0) -> RelativeScale:
    return fit_relative_scales([ratios], model, np.array([correlation]))[0]


def test_images_fitted_together_come_out_as_each_alone() -> None:
    rng = np.random.default_rng(30)
    samples = [
        _ratios(rng, n, scale, 0.02) for n, scale in ((0, 1.0), (1, 0.8), (9, 1.1), (9, 0.9), (40, 1.0), (40, 2.0))
    ]
    model, factors = ScatterModel(1.2, 0.01), np.linspace(1.0, 2.0, len(samples))
    together = fit_relative_scales(samples, model, factors)
    for sample, factor, found in zip(samples, factors, together, strict=True):
        alone = fit_relative_scale(sample, model, float(factor))
        # To the last digit: which images an epoch has besides must not change one.
        for name, values in vars(alone).items():
            np.testing.assert_array_equal(getattr(found, name), values)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.5, 2.0), n=st.integers(6, 300), bad=st.floats(0.0, 0.25))
def test_a_scale_is_found_among_outliers_in_any_order(seed: int, scale: float, n: int, bad: float) -> None:
    rng = np.random.default_rng(seed)
    sample = _ratios(rng, n, scale, 0.02)
    n_bad = int(bad * n)
    sample.ratio[:n_bad] *= rng.choice([0.3, 3.0], n_bad)
    found = fit_relative_scale(sample, ScatterModel())
    assert found.scale == pytest.approx(scale, rel=5.5 * np.hypot(found.own_err, found.known_err) + 0.01 * bad)
    order = rng.permutation(n)
    again = fit_relative_scale(Ratios(*(values[order] for values in vars(sample).values())), ScatterModel())
    assert again.scale == pytest.approx(found.scale, rel=1e-9)
    assert again.own_err == pytest.approx(found.own_err, rel=1e-9)


def test_quoted_errors_of_relative_scales_hold() -> None:
    rng = np.random.default_rng(5)
    for n in (8, 30, 200):
        pulls = []
        for _ in range(400):
            found = fit_relative_scale(_ratios(rng, n, 0.9, 0.03), ScatterModel())
            pulls.append((found.scale / 0.9 - 1) / np.hypot(found.own_err, found.known_err))
        assert 0.93 <= np.mean(np.abs(pulls) < 1.96) <= 0.995
        assert abs(np.mean(pulls)) < 0.2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [1, 1, 1, 1, 1, 2, 2]])
def test_images_with_one_source_say_nothing_of_how_ratios_scatter(sizes: list[int]) -> None:
    rng = np.random.default_rng(1)
    samples = [_ratios(rng, n, 0.9, 0.03) for n in sizes]
    model = scatter_model(samples, fit_relative_scales(samples, ScatterModel()))
    assert (model.factor, model.floor) == (1.0, 0.0)


def test_errors_hold_where_sources_scattered_alike_by_chance() -> None:
    """A dozen sources with six earlier fluxes each: those that agreed by chance deserve no more weight."""
    rng = np.random.default_rng(8)
    pulls, counts_for = [], []
    for _ in range(60):
        samples = []
        for _ in range(10):
            plain = _ratios(rng, 14, 1.0, 0.03, n_fluxes=6.0)
            squares = 0.03**2 * rng.chisquare(5.0, 14)
            samples.append(Ratios(plain.ratio, plain.noise, plain.known_noise, plain.n_fluxes, squares, plain.block))
        model = scatter_model(samples, [_known_exactly(14)] * 10)
        counts_for.append(model.counts_for)
        fits = [fit_relative_scale(one, model) for one in samples]
        pulls += [(fit.scale - 1) / np.hypot(fit.own_err, fit.known_err) for fit in fits]
    assert np.median(counts_for) > 15
    assert 0.92 <= np.mean(np.abs(pulls) < 1.96) <= 0.97
    # Where half of the sources scatter three times as much, their own past counts.
    differ = np.where(np.arange(140) % 2, 9.0, 1.0) * 0.03**2 * rng.chisquare(5.0, 140)
    plain = _ratios(rng, 140, 1.0, 0.03, n_fluxes=6.0)
    mixed = Ratios(plain.ratio, plain.noise, plain.known_noise, plain.n_fluxes, differ, plain.block)
    assert scatter_model([mixed], [_known_exactly(140)]).counts_for < 5


def test_a_source_draws_the_scale_of_its_image_along() -> None:
    """What is left of its own noise in its calibrated flux: sigma^2 + g^2 - 2 pull."""
    rng = np.random.default_rng(9)
    left, expected, naive = [], [], []
    for _ in range(3_000):
        ratio = 1 + 0.03 * rng.standard_normal(12)
        variance, n = np.full(12, 0.03**2), np.full(12, 1e6)
        sample = Ratios(ratio, variance, variance / n, n, (n - 1) * variance, np.zeros(12, np.intp))
        fit = fit_relative_scale(sample, ScatterModel())
        left.append(np.mean((ratio / fit.scale - 1) ** 2))
        naive.append(0.03**2 + fit.own_err**2)
        expected.append(0.03**2 + fit.own_err**2 - 2 * fit.pull.mean())
    assert np.mean(left) == pytest.approx(np.mean(expected), rel=0.03)
    assert np.mean(left) < 0.9 * np.mean(naive)


def _known_exactly(n: int) -> RelativeScale:
    return RelativeScale(n, scale=1.0, influence=np.zeros(n))


def _of_any_brightness(rng: np.random.Generator, n: int, floor: float = 0.0) -> Ratios:
    """Ratios to means of many fluxes, of sources whose SNR is from 10 to 300."""
    noise, n_fluxes = (10.0 * rng.random(n) ** -1.0).clip(max=300.0) ** -2.0, np.full(n, 1e4)
    ratio = 1 + np.sqrt(noise + floor**2) * rng.standard_normal(n)
    squares = (n_fluxes - 1) * (noise + floor**2)
    return Ratios(ratio, noise, noise / n_fluxes, n_fluxes, squares, np.zeros(n, np.intp))


@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_the_scatter_about_scales_of_a_dozen_sources_is_not_that_about_the_true_ones(floor: float) -> None:
    rng = np.random.default_rng(4)
    about_fits, about_medians = [], []
    for _ in range(15):
        samples = [_of_any_brightness(rng, 14, floor) for _ in range(12)]
        medians = [RelativeScale(14, scale=float(np.median(one.ratio)), influence=np.zeros(14)) for one in samples]
        about_medians.append(scatter_model(samples, medians).floor)
        model = ScatterModel()
        for _ in range(2):
            model = scatter_model(samples, [fit_relative_scale(one, model) for one in samples])
        about_fits.append(model.floor)
    off, off_of_medians = (np.sqrt(np.mean((np.array(one) - floor) ** 2)) for one in (about_fits, about_medians))
    assert off < 0.75 * off_of_medians


def test_a_floor_that_is_not_there_frees_no_bright_source_of_its_scale_error() -> None:
    """The errors of calibrated fluxes hold for the brightest sources, whatever is thought of the floor."""
    rng = np.random.default_rng(10)
    left, quoted, by_floor = [], [], []
    for _ in range(1_000):
        sample = _of_any_brightness(rng, 14)
        sample.noise[0] = 1.0 / 300.0**2
        sample.ratio[0] = 1 + rng.normal() / 300.0
        fit = fit_relative_scale(sample, ScatterModel(floor=0.02))
        left.append(sample.ratio[0] / fit.scale - 1)
        quoted.append(sample.noise[0] + fit.own_err**2 - 2 * fit.pull[0])
        by_floor.append(sample.noise[0] + max(fit.own_err**2 - 2 * fit.influence[0] * 0.02**2, 0.0))
    # The error of the scale itself is thought too large by such a floor; never too small.
    assert 1.0 < np.mean(quoted) / np.mean(np.square(left)) < 1.7
    assert np.mean(by_floor) < 0.6 * np.mean(np.square(left))


def test_only_measurements_that_gave_the_scale_are_less_off_in_it() -> None:
    (first, tie), (second, _) = _survey(10, [1.0, 1.1], None, n=12)
    known = add_fluxes(KNOWN_FLUXES.empty(), calibrated_fluxes(*first, tie.assign(trusted=True), "relative"))
    fluxes = tie_fluxes(*second, PARAMETERS)
    pulls = scale_pulls(fluxes, known, [])
    assert pulls["measurement_id"].is_monotonic_increasing
    assert set(pulls["measurement_id"]) <= set(fluxes["measurement_id"])
    corrections = with_field_scales(tie, field_scales(fluxes, known, tie, PARAMETERS), PARAMETERS)
    corrections = corrections.assign(image="image1", flux_mult=1.0, flux_mult_err=0.1)
    chosen = second[0].iloc[:2]
    pull = pd.DataFrame({"measurement_id": chosen["measurement_id"].iloc[:1], "pull": [0.0032]})
    errors = apply_corrections(chosen, corrections, pull)["flux_scale_err"]
    assert errors.tolist() == pytest.approx([0.06, 0.1])
    pull["pull"] = 1.0
    assert apply_corrections(chosen, corrections, pull)["flux_scale_err"].tolist() == [0.0, pytest.approx(0.1)]


def test_faint_sources_prefer_neither_side_of_the_ratio() -> None:
    """Those that noise made bright in the first image weigh no more than those that it made bright in the second."""
    rng = np.random.default_rng(11)
    n = 40_000
    true = rng.uniform(10.0, 20.0, n)
    flux, before = true + rng.standard_normal(n), true + rng.standard_normal(n)
    ids = np.array([f"s{k:05d}" for k in range(n)], dtype=object)
    fluxes = pd.DataFrame(
        {"source_id": ids, "measurement_id": ids, "image": "a", "flux_mjy": flux, "flux_err_mjy": 1.0, "snr": flux,
         "least_snr": 5.0, "repeated": False, "east_deg": rng.uniform(-1, 1, n), "north_deg": rng.uniform(-1, 1, n)}
    )  # fmt: skip
    earlier = pd.DataFrame(
        {"source_id": ids, "flux_mjy": before, "flux_err_mjy": 1.0, "tie_err": np.nan, "ln_scale": 0.0}
    )
    found = relative_scales(fluxes, add_fluxes(KNOWN_FLUXES.empty(), earlier)).loc["a"]
    assert found["scale"] == pytest.approx(1.0, abs=0.002)


def test_neighbors_that_are_off_together_make_the_error_larger() -> None:
    rng = np.random.default_rng(6)
    errors, pulls = [], []
    for _ in range(200):
        sample = _ratios(rng, 200, 1.0, 0.02)
        together = sample.ratio + 0.01 * rng.standard_normal(16)[sample.block]
        sample = Ratios(together, *list(vars(sample).values())[1:])
        first = fit_relative_scale(sample, ScatterModel())
        found = fit_relative_scale(sample, ScatterModel(), float(block_correlation([first])[0]))
        errors.append(found.own_err / first.own_err)
        pulls.append((found.scale - 1) / np.hypot(found.own_err, found.known_err))
    assert np.median(errors) > 1.3
    # Alone in its epoch, an image does not tell all of it.
    assert 0.87 <= np.mean(np.abs(pulls) < 1.96) <= 0.97


def test_errors_that_are_too_small_are_told_from_a_floor() -> None:
    rng = np.random.default_rng(7)
    n = 4000
    relative = 10 ** rng.uniform(-3, -1, n)
    ratio = 1 + np.hypot(1.5 * relative, 0.02) * rng.standard_normal(n)
    sample = Ratios(ratio, relative**2, np.zeros(n), np.full(n, 1e9), np.zeros(n), np.zeros(n, np.intp))
    model = scatter_model([sample], [_known_exactly(n)])
    assert np.sqrt(model.factor) == pytest.approx(1.5, rel=0.1)
    assert model.floor == pytest.approx(0.02, rel=0.1)
    assert scatter_model([], []) == ScatterModel()


@given(n=st.integers(0, 200), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_blocks_have_equally_many_sources(n: int, seed: int) -> None:
    east, north = np.random.default_rng(seed).uniform(-1, 1, (2, n))
    sizes = np.bincount(blocks(east, north), minlength=1)
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 2 or n == 0


# --- a field ------------------------------------------------------------------------------------------------------


def test_images_of_a_field_agree_however_its_catalog_ties_them() -> None:
    scales = [1.04, 0.93, 1.0, 1.1, 0.98, 1.02]
    # After the first epoch the catalog says anything, or nothing.
    says = [1.04 * 1.01, 0.6, np.nan, 1.3, 0.98, 1.4]
    made, known = _folded(_survey(1, scales, says))
    table = pd.concat(made, ignore_index=True)
    assert table["flux_tied_by"].tolist() == [CATALOG] + [KNOWN] * 5
    assert table["flux_applied"].all()
    assert table["trusted"].all()
    # 1.01: what the first tie was wrong by stays, in all images alike, and its error is said.
    off = table["flux_mult"] * np.array(scales) * 1.01
    assert np.abs(off - 1).max() < 4 * (table["flux_mult_err"] / table["flux_mult"]).max()
    assert off.std() < 0.004
    assert table["flux_tie_err"].between(0.002, 0.006).all()
    assert (table["flux_add_mjy"] == 0).all()
    assert known["n"].max() == 6


def test_a_wrong_sign_would_double_the_error() -> None:
    epochs = _survey(2, [1.0, 1.25], [1.0, 1.0])
    (_, second), _ = _folded(epochs)
    (measurements, _, _), _ = epochs[1]
    corrected = apply_corrections(measurements, second)
    bright = corrected["snr"] > 100
    true = measurements["flux_int_mjy"][bright] / 1.25
    assert (corrected["flux_int_corr_mjy"][bright] / true).median() == pytest.approx(1.0, abs=0.005)
    assert second["relative_scale"].iloc[0] == pytest.approx(1.25, abs=0.01)


def test_a_broken_image_is_refused_and_teaches_nothing() -> None:
    good = _survey(3, [1.0, 1.0, 1.02], [1.0, 1.0, 1.0])
    broken = [good[0], *_survey(3, [1.0, 0.18], [1.0, 0.18])[1:], good[2]]
    made, known = _folded(broken)
    one = made[1].iloc[0]
    assert not one["trusted"]
    assert not one["applied"]
    assert one["flux_mult"] == 1
    assert "differs from 1" in one["reason"]
    without, known_without = _folded([good[0], good[2]])
    pd.testing.assert_frame_equal(known, known_without)
    pd.testing.assert_frame_equal(made[2], without[1])


def test_a_broken_image_of_a_new_place_is_refused_too() -> None:
    (made,), known = _folded(_survey(4, [0.18], [0.18]))
    assert not made["trusted"].iloc[0]
    assert known.empty


def test_an_image_whose_sources_disagree_is_refused() -> None:
    epochs = _survey(5, [1.0, 1.0, 1.0], None)
    measurements = epochs[2][0][0]
    half = measurements["ra_deg"] % 360 > 180
    for name in ("flux_int_mjy", "flux_peak_mjy_beam"):
        measurements.loc[half, name] *= 2.0
    made, _ = _folded(epochs)
    assert made[1]["trusted"].iloc[0]
    assert not made[2]["trusted"].iloc[0]


def test_without_a_catalog_the_first_image_is_the_scale() -> None:
    made, known = _folded(_survey(6, [1.1, 1.0, 1.21], None))
    first, *later = (table.iloc[0] for table in made)
    assert first["flux_tied_by"] == START
    assert first["flux_mult"] == 1
    assert not first["flux_applied"]
    assert first["trusted"]
    for row, relative in zip(later, (1.0 / 1.1, 1.1), strict=True):
        assert row["flux_tied_by"] == KNOWN
        assert row["flux_mult"] == pytest.approx(1 / relative, abs=5 * row["flux_mult_err"])
        assert np.isnan(row["flux_tie_err"])
    assert (known["n_tied"] == 0).all()


def test_an_image_that_keeps_its_fluxes_has_the_error_of_a_scale_that_is_not_known() -> None:
    """What images are usually off by, where nothing is measured; where something is, what that makes likely."""
    rng = np.random.default_rng(21)
    few = _sky(rng, 4, (0.0, 16.0)).assign(flux_mjy=100.0)
    images = _image(rng, few, "few", (0.0, 16.0), noise_mjy=15.0)
    (made,), known = _folded([(images, _untied(images[2]))])
    assert made["flux_tied_by"].isna().all()
    assert made["trusted"].all()
    assert made["flux_mult_err"].iloc[0] == pytest.approx(0.05, abs=0.001)
    assert known.empty
    scales = pd.DataFrame(
        {
            "refusal": pd.Series([*["badly measured"] * 3, None], dtype=object),
            "tied_by": [OVERLAP, OVERLAP, START, OVERLAP],
            "field_scale": [1.3, 1.3, 1.0, 1.3],
            "field_err": [0.05, 0.3, 0.02, 0.03],
            "ln_usual": [np.nan, 0.2, np.nan, np.nan],
            "ln_usual_err": [np.nan, 0.03, np.nan, np.nan],
            "field_tie_err": 0.01,
            "wrong": False,
            **dict.fromkeys(("n_relative", "scale", "own_err", "scatter", "outlier_fraction"), 1.0),
        }
    )
    corrections = pd.concat([_untied(images[2])] * 4, ignore_index=True)
    found = with_field_scales(corrections, scales, PARAMETERS)
    halfway = np.hypot(np.log(1.3) / 2, 0.05 / np.sqrt(2))
    assert found["flux_mult"].tolist()[:3] == [1.0, 1.0, 1.0]
    assert found["flux_mult_err"].to_numpy() == pytest.approx([halfway, 0.203, 0.02, 0.03 / 1.3], abs=0.002)


def test_an_image_of_few_sources_begins_no_place() -> None:
    """Its noise would be the scale that all later images are brought to."""
    rng = np.random.default_rng(22)
    sky = _sky(rng, 150, (0.0, 16.0))
    few = sky.nlargest(60, "flux_mjy").tail(5).reset_index(drop=True)
    poor = _image(rng, few, "a", (0.0, 16.0), scale=0.8, noise_mjy=0.15 * few["flux_mjy"].min())
    rich = _image(rng, sky, "b", (0.0, 16.0), scale=1.1)
    again = _image(rng, sky, "c", (0.0, 16.0), scale=1.0)
    (first, second, third), _ = _folded([(one, _untied(one[2])) for one in (poor, rich, again)])
    assert pd.isna(first["flux_tied_by"].iloc[0])
    assert [table["flux_tied_by"].iloc[0] for table in (second, third)] == [START, KNOWN]
    assert third["flux_mult"].iloc[0] == pytest.approx(1.1, abs=0.01)


def test_a_poor_tie_to_the_catalog_counts_beside_a_poorer_one_to_another_image() -> None:
    rng = np.random.default_rng(23)
    sky = _sky(rng, 150, (0.0, 16.0))
    shared = sky.nlargest(8, "flux_mjy").reset_index(drop=True)
    alone = sky.drop(sky.nlargest(8, "flux_mjy").index).reset_index(drop=True)
    own = _image(rng, alone, "b", (0.0, 16.0), scale=1.0)
    first = _image(rng, shared, "a", (0.0, 16.0), scale=1.0)
    off = _image(rng, shared, "b", (0.0, 16.0), scale=0.7, scatter=0.3)
    tables = _joined(first, own, (off[0], off[1], off[2].head(0)))
    corrections = _tied(tables[2], {"a": 1.0, "b": 1.0}, error=0.01)
    made = {}
    for error in (0.06, 0.2):
        corrections.loc[corrections["image"] == "b", "flux_scale_err"] = error
        (table,), _ = _folded([(tables, corrections)])
        made[error] = table.set_index("image").loc["b"]
    assert (made[0.06]["flux_tied_by"], made[0.2]["flux_tied_by"]) == (CATALOG, OVERLAP)
    assert abs(np.log(made[0.06]["flux_mult"])) < abs(np.log(made[0.2]["flux_mult"]))
    assert made[0.06]["flux_tie_err"] < made[0.2]["flux_tie_err"]


def test_a_new_epoch_changes_none_before_it_and_rows_may_come_in_any_order() -> None:
    epochs = _survey(7, [1.0, 1.05, 0.95, 1.02], [1.0, 1.0, 1.0, 1.0])
    made, known = _folded(epochs)
    fewer, _ = _folded(epochs[:3])
    for one, other in zip(made, fewer, strict=False):
        pd.testing.assert_frame_equal(one, other)
    shuffled = [
        (tuple(table.sample(frac=1, random_state=k) for table in tables), corrections)
        for k, (tables, corrections) in enumerate(epochs)
    ]
    again, known_again = _folded(shuffled)
    for one, other in zip(made, again, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-9)
    pd.testing.assert_frame_equal(known, known_again, rtol=1e-9)


def test_a_source_that_varies_moves_no_scale() -> None:
    epochs = _survey(8, [1.0] * 6, [1.0] * 6)
    loud = epochs[0][0][1]["source_id"].iloc[::7]
    steady, _ = _folded(epochs)
    for k, ((measurements, associations, _), _) in enumerate(epochs):
        varied = measurements["measurement_id"].isin(
            associations.loc[associations["source_id"].isin(loud), "measurement_id"]
        )
        for name in ("flux_int_mjy", "flux_peak_mjy_beam"):
            measurements.loc[varied, name] *= (1.0, 3.0)[k % 2]
    moved, _ = _folded(epochs)
    for one, other in zip(steady, moved, strict=True):
        error = 3 * one["flux_mult_err"].iloc[0]
        assert one["flux_mult"].iloc[0] == pytest.approx(other["flux_mult"].iloc[0], abs=error)


@pytest.mark.slow
def test_the_scale_does_not_wander_off() -> None:
    made, _ = _folded(_survey(9, [1.0] * 60, [1.0] * 60, n=60))
    mult = np.array([table["flux_mult"].iloc[0] for table in made])
    error = np.median([table["flux_mult_err"].iloc[0] for table in made])
    assert abs(mult[-10:].mean() - 1) < 3 * error


def test_overlapping_images_of_a_first_epoch_agree() -> None:
    """The same sky twice in one epoch, of which the catalog ties one image alone."""
    rng = np.random.default_rng(10)
    sky = _sky(rng, 150, (359.9, -60.0))
    first, second = (_image(rng, sky, name, (359.9, -60.0), scale) for name, scale in (("a", 1.0), ("b", 1.2)))
    twice = second[0]["measurement_id"].str.replace("b_", "a_")
    repeats = second[0].assign(duplicate_of=twice.where(twice.isin(first[0]["measurement_id"])))
    tables = _joined(first, (repeats, second[1].head(0), second[2]))
    corrections = _tied(tables[2], {"a": 1.0, "b": 1.0})
    corrections.loc[corrections["image"] == "b", ["n_flux", "flux_scale", "flux_scale_err"]] = [0, np.nan, np.nan]
    (made,), _ = _folded([(tables, corrections)])
    a, b = made.iloc[0], made.iloc[1]
    assert (a["flux_tied_by"], b["flux_tied_by"]) == (CATALOG, OVERLAP)
    assert b["flux_mult"] == pytest.approx(1 / 1.2, abs=0.01)
    assert np.isfinite(b["flux_tie_err"])


def test_overlapping_images_that_no_catalog_ties_are_compared_all_the_same() -> None:
    """What both are off by is not known, and no error of either against the other, or against later images."""
    rng = np.random.default_rng(24)
    sky = _sky(rng, 150, (10.0, -30.0))
    epochs = []
    for epoch, scales in enumerate([(1.0, 1.2), (0.9, 1.1)]):
        names = (f"a{epoch}", f"b{epoch}")
        first, second = (_image(rng, sky, *one) for one in zip(names, 2 * [(10.0, -30.0)], scales, strict=True))
        twice = second[0]["measurement_id"].str.replace(names[1], names[0])
        repeats = second[0].assign(duplicate_of=twice.where(twice.isin(first[0]["measurement_id"])))
        tables = _joined(first, (repeats, second[1].head(0), second[2]))
        epochs.append((tables, _untied(tables[2])))
    made, _ = _folded(epochs)
    table = pd.concat(made)
    assert table["flux_applied"].all()
    assert (table["flux_mult_err"] < 0.01).all()
    assert table["flux_tie_err"].isna().all()
    corrected = table["flux_mult"].to_numpy() * [1.0, 1.2, 0.9, 1.1]
    np.testing.assert_allclose(corrected / corrected[0], 1.0, atol=0.01)


def test_a_limit_on_outliers_is_asked_of_all_images_together() -> None:
    rng = np.random.default_rng(11)
    parts = [_image(rng, _sky(rng, 40, (20.0 * k, 0.0)), f"i{k}", (20.0 * k, 0.0)) for k in range(3)]
    # Different places: ids must differ.
    parts = [(m, a.assign(source_id=f"{k}" + a["source_id"].str[1:]), i) for k, (m, a, i) in enumerate(parts)]
    tables = _joined(*parts)
    corrections = _tied(tables[2], {"i0": 0.9, "i1": 0.9, "i2": 0.9})
    for shares, applied in (([0.38, 0.39, 0.45], True), ([0.39, 0.45, 0.45], False)):
        (made,), _ = _folded([(tables, corrections.assign(flux_outlier_fraction=shares))])
        assert (made["flux_applied"] == applied).all()


@pytest.mark.parametrize("centre", [(0.0, 89.5), (359.999, 0.0), (180.0, -89.0)])
def test_the_place_on_the_sky_does_not_matter(centre: tuple[float, float]) -> None:
    made, _ = _folded(_survey(12, [1.0, 1.1], [1.0, 1.0], centre=centre))
    assert made[1]["flux_mult"].iloc[0] == pytest.approx(1 / 1.1, abs=5 * made[1]["flux_mult_err"].iloc[0])


def test_an_epoch_without_measurements_has_its_rows() -> None:
    rng = np.random.default_rng(13)
    measurements, associations, images = _image(rng, _sky(rng, 20, (5.0, 5.0)), "empty", (5.0, 5.0))
    (made,), known = _folded([((measurements.head(0), associations.head(0), images), _untied(images))])
    assert made["image"].tolist() == ["empty"]
    assert not made["flux_applied"].any()
    assert known.empty


def test_images_that_overlap_everywhere_do_not_average_their_own_noise_away() -> None:
    """Each place is seen by three images: ties to the catalog and to each other are from the same noisy fluxes."""
    n_images, per_place, noise, of_catalog = 9, 12, 0.1, 0.05
    names = pd.Index([f"tile{i}" for i in range(n_images)])
    place = np.repeat(np.arange(n_images + 2), per_place)
    sigmas, errors = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        entry = rng.normal(0.0, of_catalog, len(place))
        seen = [np.flatnonzero((place >= i) & (place <= i + 2)) for i in range(n_images)]
        off = [rng.normal(0.0, noise, len(rows)) for rows in seen]
        n = len(seen[0])
        fluxes = pd.concat(
            pd.DataFrame({"image": name, "source_id": rows, "flux_mjy": 50 * np.exp(one), "snr": 10, "least_snr": 9})
            for name, rows, one in zip(names, seen, off, strict=True)
        )
        relative = pd.DataFrame({"n_relative": 0, "n_candidates": n, "n_known": 0}, index=names).assign(
            **dict.fromkeys(["scale", "own_err", "known_err", "tie_err", "ln_usual", "ln_usual_err"], np.nan),
            noise_err=noise / np.sqrt(n),
            repeated_share=0.0,
        )
        scale = [np.exp((one - entry[rows]).mean()) for one, rows in zip(off, seen, strict=True)]
        error = np.hypot(noise, of_catalog) / np.sqrt(n)
        catalog = pd.DataFrame({"scale": scale, "err": error, "usable": True, "name": "nvss"})
        ties = image_ties(relative, np.ones(n_images, dtype=bool), catalog, fluxes)
        # What later epochs are compared with are these fluxes, noise and all, in the scale that the image is given.
        level = np.array([one.mean() for one in off]) - np.log(ties["field_scale"].to_numpy())
        sigmas.append(level / ties["field_tie_err"].to_numpy())
        errors.append(ties["field_tie_err"].to_numpy())
    assert 0.92 < (np.abs(sigmas) < 1.96).mean() < 0.99
    assert np.min(errors) > 0.004
    assert np.max(errors) < 0.02
