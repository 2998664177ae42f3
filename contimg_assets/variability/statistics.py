"""How much each light curve varies: means, V, eta, p-value, excess variance, per source in one vectorized pass.

Formulas and edge cases are those of Swinbank et al. (2015, A&C 11, 25), Scheers (2011) and Rowlinson et al. (2019,
A&C 27, 111); sums are taken twice (mean first, then deviations), so that nothing is lost at any signal to noise.
A point counts when its flux is finite and its error is finite and positive; others are counted as invalid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.config import Variability, with_overrides
from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import TableLike, as_frame, numbers_of, require
from contimg_assets.schemas.variability import FLUX_KINDS, VARIABILITY
from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers, Values
from contimg_assets.variability.error_model import ErrorModel, ErrorTerms, rows_at
from contimg_assets.variability.segments import LightCurves, Segments
from contimg_assets.variability.significance import log10_survival
from contimg_assets.variability.steps import several, without_steps
from contimg_assets.variability.two_epoch import pair_maxima

# A chance that hardly any constant source of a survey has.
VARIABLE_P_VALUE = 1e-4


def total_error(
    flux: Floats,
    err: Floats,
    scale_err: Floats | float,
    terms: ErrorTerms | None = None,
    radius: Floats | Indices | None = None,
    level: Floats | None = None,
) -> Floats:
    """Error that a flux has in comparison with others of its source, shape (n,).

    e'^2 = (k e)^2 + (f S)^2 + (g S)^2: see `contimg_assets.variability.error_model`. What is common to all images of a
    field (the tie of its flux scale to a catalog) has no part in it.

    Parameters
    ----------
    flux, err : shape (n,), same unit
    scale_err : error g of the image's own flux scale as a fraction, shape (n,) or one number
    terms : k and f as measured; the finder's errors if not given
    radius : distance from the image center in radii of the image, shape (n,), NaN where not known, or `rows_at` it;
        nowhere known if not given
    level : mean flux of the source of each, shape (n,), at which k is taken; the flux itself if not given

    Notes
    -----
    Without it every bright source looks variable as soon as images differ in scale (Rowlinson et al. 2019).
    """
    if terms is None or terms.is_plain:
        return np.hypot(err, scale_err * flux)
    where = np.full(len(flux), np.nan) if radius is None else radius
    found, scale = terms.variance(flux, err, where, level), scale_err * flux
    scale *= scale
    found += scale
    return np.asarray(np.sqrt(found, out=found))


def flux_statistics(flux: npt.ArrayLike, err: npt.ArrayLike, segments: Segments) -> dict[str, Values]:
    """Statistics of one kind of flux for each segment.

    Parameters
    ----------
    flux, err : shape (n,), same unit; NaN where missing
    segments : k sources

    Returns
    -------
    dict of arrays of shape (k,), NaN where undefined:
        n, n_invalid : points that count and that do not
        mean, std (n - 1 in the denominator), min, max : of the fluxes
        weighted_mean, weighted_mean_err : weights 1 / err^2; 1 / sqrt(sum of weights)
        v : std / mean, where the mean is positive (Swinbank et al. 2015, eq. 2)
        v_weighted : the same with weighted mean and weighted scatter: one bad point does not carry it
        eta : reduced chi-squared against the weighted mean (Swinbank et al. 2015, eq. 3)
        p_value : chance that a constant source reaches this eta; 0 where it is too small for a float
        log10_p_value : its decimal logarithm, however small it is
        excess_variance : std^2 - mean err^2, negative if the scatter is less than the errors explain
        modulation : sign * sqrt(|excess variance|) / mean, the debiased modulation index (Barvainis et al. 2005)
        max_deviation : largest |flux - weighted mean| / err

    One point has a mean but no scatter: v, eta and what follows from them are NaN, because 0 would say "constant".
    """
    flux, err = np.asarray(flux, dtype=float), np.asarray(err, dtype=float)
    points = _Points.of(flux, err, segments)
    scatter, deviation = _scatter(points, flux, segments)
    n, s, e, mean = points.n, points.flux, points.err, scatter["mean"]
    with np.errstate(divide="ignore", invalid="ignore"):
        w = 1.0 / (e * e) if points.all_valid else points.valid / (e * e)
        some, many = n > 0, n > 1
        sum_w = segments.sum(w)
        # Deviations from the plain mean keep the digits that w * s would lose.
        weighted_mean = np.where(some, mean + segments.sum(w * deviation) / sum_w, np.nan)
        residual = points.only_valid(s - segments.spread(weighted_mean))
        weighted_residual = w * residual
        chi2 = segments.sum(weighted_residual * residual) - segments.sum(weighted_residual) ** 2 / sum_w
        chi2 = np.where(many, np.maximum(chi2, 0.0), np.nan)
        eta = chi2 / (n - 1)
        excess = scatter.pop("variance") - np.where(some, segments.sum(points.only_valid(e * e)) / n, np.nan)
        positive = mean > 0
        return {
            **scatter,
            "n": n,
            "n_invalid": segments.counts - n,
            "weighted_mean": weighted_mean,
            "weighted_mean_err": np.where(some, 1.0 / np.sqrt(sum_w), np.nan),
            "v_weighted": np.where(
                weighted_mean > 0, np.sqrt(chi2 / sum_w * n / np.maximum(n - 1, 1)) / weighted_mean, np.nan
            ),
            "eta": eta,
            "p_value": scipy.special.chdtrc(np.where(many, n - 1, np.nan), chi2),
            # From eta as it is stored: whoever has the row finds the same digits.
            "log10_p_value": log10_survival(eta * (n - 1), n - 1),
            "excess_variance": excess,
            "modulation": np.where(positive, np.sign(excess) * np.sqrt(np.abs(excess)) / mean, np.nan),
            "max_deviation": np.where(many, segments.maximum(np.abs(residual) / e), np.nan),
        }


def _scatter(points: _Points, flux: Floats, segments: Segments) -> tuple[dict[str, Floats], Floats]:
    """What fluxes say without their errors: mean, std, min, max, v and variance; deviations from the mean."""
    n, s = points.n, points.flux
    with np.errstate(divide="ignore", invalid="ignore"):
        some = n > 0
        mean = np.where(some, segments.sum(s) / n, np.nan)
        deviation = points.only_valid(s - segments.spread(mean))
        # The second term removes what rounding of the mean left behind (Chan et al. 1983, eq. 1.7).
        m2 = segments.sum(deviation * deviation) - segments.sum(deviation) ** 2 / n
        variance = np.where(n > 1, np.maximum(m2, 0.0) / (n - 1), np.nan)
        std = np.sqrt(variance)
        found = {
            "mean": mean,
            "std": std,
            "min": np.where(some, segments.minimum(points.only_valid(flux, np.inf)), np.nan),
            "max": np.where(some, segments.maximum(points.only_valid(flux, -np.inf)), np.nan),
            "v": np.where(mean > 0, std / mean, np.nan),
            "variance": variance,
        }
    return found, deviation


@dataclass(frozen=True)
class _Points:
    """Points of light curves: which count, how many of each source (shape (k,)); flux 0 and error 1 where not.

    Where all count, nothing is copied: that is the common case and the quick one.
    """

    valid: Flags
    all_valid: bool
    n: Integers
    flux: Floats
    err: Floats

    @classmethod
    def of(cls, flux: Floats, err: Floats, segments: Segments) -> _Points:
        valid = np.isfinite(flux) & np.isfinite(err) & (err > 0)
        if valid.all():
            return cls(valid, True, segments.counts.astype(np.int64), flux, err)
        return cls(valid, False, segments.count(valid), np.where(valid, flux, 0.0), np.where(valid, err, 1.0))

    def only_valid(self, values: Floats, otherwise: float = 0.0) -> Floats:
        """The values, with another one in the place of points that do not count."""
        return values if self.all_valid else np.where(self.valid, values, otherwise)


def light_curve_statistics(
    curves: LightCurves, parameters: Variability, errors: ErrorModel | None = None
) -> dict[str, Values]:
    """The columns of the table `variability`, except key and sample, for each source.

    Parameters
    ----------
    curves : with the columns flux_peak, flux_peak_err, flux_int, flux_int_err and flux_scale_err; points that are not
        `trusted`, where there is such a column, do not count
    parameters : thresholds, which error model and whether the flux scale's error counts
    errors : error model as measured, for which radius, configuration and flux_tie_err are used where present
    """
    model = ErrorModel.chosen(parameters, errors)
    result: dict[str, Values] = {}
    trusted = curves["trusted"] if "trusted" in curves.rows else np.ones(curves.segments.rows, dtype=bool)
    all_trusted = bool(trusted.all())
    # The same for both kinds of flux.
    where = rows_at(curves["radius"]) if "radius" in curves.rows and not model.is_plain else None
    for kind, unit in FLUX_KINDS.items():
        flux, err = curves[f"flux_{kind}"], curves[f"flux_{kind}_err"]
        if not all_trusted:
            flux = np.where(trusted, flux, np.nan)
        level, err = _comparable(curves, kind, flux, (parameters, model, where))
        values = flux_statistics(level, err, curves.segments)
        if level is not flux:
            # What was measured stays what it is; what is compared is freed from the steps of the telescope.
            measured, _ = _scatter(_Points.of(flux, err, curves.segments), flux, curves.segments)
            values |= {name: found for name, found in measured.items() if name in values}
        pairs = pair_maxima(level, err, curves.segments, parameters.min_abs_vs)
        result |= {f"n_{kind}": values["n"], f"n_invalid_{kind}": values["n_invalid"]}
        for name in ("mean", "weighted_mean", "weighted_mean_err", "std", "min", "max"):
            result[f"flux_{kind}_{name}_{unit}"] = values[name]
        for name in ("v", "v_weighted", "eta", "p_value", "log10_p_value", "modulation", "max_deviation"):
            result[f"{name}_{kind}"] = values[name]
        result[f"excess_variance_{kind}_{unit}2"] = values["excess_variance"]
        result |= {f"{name}_{kind}": pairs[name] for name in ("vs", "m", "vs_max")}
    return result


def _comparable(
    curves: LightCurves, kind: str, flux: Floats, judging: tuple[Variability, ErrorModel, Indices | None]
) -> tuple[Floats, Floats]:
    """Fluxes without steps between configurations, and the errors that they have in comparison with each other.

    Parameters
    ----------
    judging : parameters, error model, and the rows of its tables at the points, None where distances are not known
    """
    parameters, model, where = judging
    err = curves[f"flux_{kind}_err"]
    terms = model.terms[kind]
    scale_err = curves["flux_scale_err"] if parameters.scale_error else 0.0
    level = None if terms.is_plain else _mean_fluxes(flux, err, curves.segments)
    total = total_error(flux, err, scale_err, terms, where, level)
    if terms.is_plain or where is None or "configuration" not in curves.rows:
        return flux, total
    configuration = curves["configuration"]
    if not (configuration & 1).any() and not several(configuration, curves.segments).any():
        return flux, total
    # Configurations of different fields are also tied to catalogs each by itself.
    tie_err = np.nan_to_num(curves["flux_tie_err"]) if "flux_tie_err" in curves.rows else 0.0
    step = np.sqrt(terms.step_square(where) + tie_err**2)
    return without_steps(flux, total, step, configuration, curves.segments), total


def _mean_fluxes(flux: Floats, err: Floats, segments: Segments) -> Floats:
    """Mean flux of the source of each point, weighted by the finder's errors, shape (n,); NaN where none counts."""
    points = _Points.of(flux, err, segments)
    weight = points.only_valid(1.0 / (points.err * points.err))
    with np.errstate(invalid="ignore"):
        return np.asarray(segments.spread(segments.sum(weight * points.flux) / segments.sum(weight)))


def variability_table(
    curves: LightCurves | TableLike,
    parameters: Variability | None = None,
    error_model: ErrorModel | None = None,
    **overrides: object,
) -> pd.DataFrame:
    """Statistics of light curves: how much each source varies, and the chance that a constant one looks like it.

    Parameters
    ----------
    curves : DataFrame, Table, QTable, pyarrow.Table or LightCurves
        One row a point, of any number of sources: ``source_id``; peak fluxes, integrated ones or both, with their
        1-sigma errors: ``flux_peak_corr_mjy_beam`` and ``flux_peak_err_corr_mjy_beam``, else ``flux_peak_mjy_beam`` and
        ``flux_peak_err_mjy_beam``; the same with ``flux_int`` and ``mjy``. Used where present: ``flux_scale_err``
        (error of the image's scale as a fraction), ``flux_tie_err`` (of the field's absolute one), ``forced``,
        ``is_limit`` (limits do not count), ``trusted`` (nor do points of images that are not), ``band`` (fluxes of
        different bands are not compared). Rows may be in any order.
        `ProductsDatabase.light_curve` returns such a table; `associate_measurements` with `apply_corrections` makes
        one.
    parameters : contimg_assets.config.Variability, optional
        All parameters at once.
    error_model : contimg_assets.variability.error_model.ErrorModel, optional
        Errors as constant sources show them (``ErrorModel.of_table`` of the products' table ``error_model``); it uses
        ``radius``, the distance from the image center in radii of the image, and ``configuration`` where present: as
        the stage `error_model` numbers images, an odd one of a single flux is the even one below it. The finder's
        errors if not given.
    **overrides : object
        Single parameters of `contimg_assets.config.Variability`, by name: ``min_abs_vs=5``, ``scale_error=False``.

    Returns
    -------
    DataFrame
        A row a source, ``band`` where there is such a column, and ``sample``: "detections" of every source; "forced",
        and "all" together, of sources that have forced measurements; sorted by band, sample, source. For peak and
        integrated fluxes: means, ``v``, ``eta``, ``p_value``, ``log10_p_value``, ``vs``, ``m``, ``modulation`` and
        others, as described in `contimg_assets.schemas.variability`; NaN with one point. ``p_value`` is the chance that
        a constant source scatters this much, not the chance that the source is constant; which of many sources vary,
        with a known share of false ones, `contimg_assets.variability.significance.significances` tells of this table.
        Of LightCurves, ``source_id`` is the source's hash, and ``band`` its middle in MHz.

    Raises
    ------
    InputError
        If there is no column of fluxes with errors, or something is no number.
    ConfigError
        If a parameter is unknown, or its value not allowed.

    References
    ----------
    Swinbank et al. 2015, A&C 11, 25, eq. 2 (V) and 3 (eta); Mooley et al. 2016, ApJ 818, 105 (Vs, m); Rowlinson et al.
    2019, A&C 27, 111; Barvainis et al. 2005, ApJ 618, 108 (debiased modulation index).

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> points = pd.DataFrame({
    ...     "source_id": ["steady"] * 3 + ["flaring"] * 3,
    ...     "flux_int_mjy": [50.0, 51.0, 49.0, 50.0, 90.0, 48.0], "flux_int_err_mjy": [1.0] * 6,
    ... })
    >>> ca.variability_table(points)[["source_id", "n_int", "v_int", "eta_int"]].round(3)
      source_id  n_int  v_int  eta_int
    0   flaring      3  0.378    561.333
    1    steady      3  0.020      1.000
    """
    chosen = with_overrides(Variability, parameters, overrides)
    if isinstance(curves, LightCurves):
        return _table_of(curves, chosen, error_model)
    points = as_frame(curves, "light curves")
    found, ids, bands = _light_curves(points)
    table = _table_of(found, chosen, error_model)
    named = {"source_id": ids.take(table["source_id"].to_numpy(dtype=np.intp))}
    if "band" in table:
        named["band"] = bands.take(table["band"].to_numpy(dtype=np.intp))
    return table.assign(**named)


def _light_curves(points: pd.DataFrame) -> tuple[LightCurves, pd.Index, pd.Index]:
    """Points of a table of people's; sources and bands are numbered in the order of their names, which come beside."""
    require(points, ("source_id",), "light curves")
    if "is_limit" in points.columns:
        points = points[~points["is_limit"].fillna(False).to_numpy(dtype=bool)]
    nothing = np.full(len(points), np.nan)
    columns: dict[str, Values] = {}
    for kind, unit in FLUX_KINDS.items():
        pair = next(
            (
                names
                for corr in ("corr_", "")
                for names in [(f"flux_{kind}_{corr}{unit}", f"flux_{kind}_err_{corr}{unit}")]
                if set(names) <= set(points.columns)
            ),
            None,
        )
        for name, column in zip((f"flux_{kind}", f"flux_{kind}_err"), pair or ("", ""), strict=True):
            columns[name] = numbers_of(points, column, "light curves") if pair else nothing
    if all(np.isnan(values).all() for values in columns.values()) and len(points):
        raise InputError(
            "light curves: no fluxes with errors; needed are flux_int_mjy and flux_int_err_mjy, or flux_peak_mjy_beam "
            "and flux_peak_err_mjy_beam, or the corrected ones"
        )
    number, ids = pd.factorize(points["source_id"], sort=True)
    if (number < 0).any():
        raise InputError(f"light curves: row {int(np.argmax(number < 0))} has no source_id; leave such rows out")
    present = points.columns
    columns |= {
        "mjd": numbers_of(points, "mjd", "light curves") if "mjd" in present else np.zeros(len(points)),
        "measurement": np.arange(len(points), dtype=np.uint64),
        **{
            name: (
                np.nan_to_num(numbers_of(points, name, "light curves")) if name in present else np.zeros(len(points))
            )
            for name in ("flux_scale_err", "flux_tie_err")
        },
        **{name: _flags(points, name, otherwise) for name, otherwise in (("forced", False), ("trusted", True))},
    }
    if "radius" in present:
        columns["radius"] = numbers_of(points, "radius", "light curves")
    if "configuration" in present:
        columns["configuration"] = np.nan_to_num(numbers_of(points, "configuration", "light curves")).astype(np.int64)
    bands = pd.Index([])
    if "band" in present:
        columns["band"], bands = pd.factorize(points["band"].astype("str"), sort=True)
    return LightCurves.from_rows(number.astype(np.uint64), columns), pd.Index(ids), bands


def _flags(points: pd.DataFrame, name: str, otherwise: bool) -> Flags:
    """A column of flags; what is missing is as said."""
    if name not in points.columns:
        return np.full(len(points), otherwise)
    return points[name].astype("boolean").fillna(otherwise).to_numpy(dtype=bool)


def _table_of(curves: LightCurves, parameters: Variability, errors: ErrorModel | None) -> pd.DataFrame:
    """Rows of the table `variability`, each band by itself; without a column `band` where points have none.

    ``source_id`` is the source's hash (uint64) and ``band`` a number; the writer turns them into text.
    """
    if "band" not in curves.rows:
        return _of_one_band(curves, parameters, errors)
    band = curves["band"]
    tables = [
        _of_one_band(curves.only(band == one), parameters, errors and errors.of_band(int(one))).assign(band=one)
        for one in (np.unique(band) if len(band) else [0])
    ]
    return pd.concat(tables, ignore_index=True)[VARIABILITY.names]


def _of_one_band(curves: LightCurves, parameters: Variability, errors: ErrorModel | None) -> pd.DataFrame:
    """Detections of every source; forced rows, and all rows, of sources that have any."""
    forced = curves["forced"]
    samples = {"detections": curves.only(~forced)}
    if forced.any():
        has_forced = curves.segments.spread(curves.segments.count(forced) > 0)
        samples |= {"forced": curves.only(forced), "all": curves.only(has_forced)}
    frames = [
        pd.DataFrame({"source_id": sample.source, "sample": name, **light_curve_statistics(sample, parameters, errors)})
        for name, sample in samples.items()
        if len(sample.source)
    ]
    columns = [name for name in VARIABILITY.names if name != "band"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
