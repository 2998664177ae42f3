"""The position offset of one image from its matches: one for the image with its standard error, or a smooth model.

Offsets are catalog minus image, on the sky, arcsec: added to measured positions they correct them. East and north are
those at the image's center, carried to each source without turning: an image that is off is off by the same vector
everywhere, while the directions to the pole turn over a field (half around in one that holds the pole).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import TableLike, as_frame, as_position, require
from contimg_assets.sky import robust, sphere
from contimg_assets.sky.arrays import Floats, Indices

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

Model = Literal["constant", "linear", "smooth", "auto"]

DEGREES = {"constant": 0, "linear": 1, "smooth": 3}
# Fewer values have no order to speak of: their error is that of normal ones from the MAD, which about the median of two
# or three, and with its own scatter, makes it too small by this factor.
_FEW, _TOO_SMALL = 4, 7.0
_ITERATIONS = 15
_SIGMAS = ("sigma_ew_arcsec", "sigma_ns_arcsec")
_COLUMNS = ("ra_deg", "dec_deg", "dra_arcsec", "ddec_arcsec", *_SIGMAS)
# Standard errors by which a richer model must be better. Three, as two would be exceeded by chance in one image of 40.
_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class PositionOffset:
    """Offset of an image, catalog minus image, east and north on the sky.

    Attributes
    ----------
    n : int
        Matches.
    dra_arcsec, ddec_arcsec : float
        Offset (of a model: its value at the center of the image), arcsec.
    dra_err_arcsec, ddec_err_arcsec : float
        Standard errors; of a model: of its value.
    covariance_arcsec2 : float
        Of the two offsets.
    dra_mad_arcsec, ddec_mad_arcsec : float
        Median absolute deviation as it is (vast-post-processing's madfm); of a model: of its residuals.
    model : str
        "constant", "linear" or "smooth".
    coefficients : str or None
        JSON of the model, None if constant; see `contimg_assets.calibration.positions.evaluate`.
    """

    n: int
    dra_arcsec: float = np.nan
    ddec_arcsec: float = np.nan
    dra_err_arcsec: float = np.nan
    ddec_err_arcsec: float = np.nan
    covariance_arcsec2: float = np.nan
    dra_mad_arcsec: float = np.nan
    ddec_mad_arcsec: float = np.nan
    model: str = "constant"
    coefficients: str | None = None


def calculate_positional_offsets(
    matches: TableLike,
    model: Model = "constant",
    *,
    center: tuple[float, float] | SkyCoord | None = None,
    weighted: bool = False,
) -> PositionOffset:
    """Position offset of an image from its matches: add it to measured positions to correct them.

    Parameters
    ----------
    matches : DataFrame, Table, QTable or pyarrow.Table
        One row a match, with ``dra_arcsec`` and ``ddec_arcsec`` (catalog minus measurement, on the sky), as
        `cross_match_sources`, `match_measurements` and `calibration_matches` return them; for other models than
        "constant" also ``ra_deg`` and ``dec_deg`` of the measurements. Give the isolated, best matches only:
        `calibration_matches` chooses them.
    model : {"constant", "linear", "smooth", "auto"}
        "constant" is the median, as in vast-post-processing; "linear" shift, rotation, scale and shear; "smooth" a
        polynomial of third degree; "auto" takes the simplest that leave-one-out cross-validation does not find
        significantly worse than a richer one.
    center : SkyCoord or (float, float), optional
        Center of the image (``ra_deg``, ``dec_deg``), whose east and north the offset has; the matches then need
        ``ra_deg`` and ``dec_deg``. Without, each match's own east and north are taken for the same (as
        vast-post-processing does).
    weighted : bool
        Whether a constant offset is Huber's estimate in place of the median, each match weighted by its own errors
        ``sigma_ew_arcsec`` and ``sigma_ns_arcsec``, as the pipeline does; where a match has none, it is the median.

    Returns
    -------
    PositionOffset
        ``dra_arcsec``, ``ddec_arcsec``, their errors, covariance and MAD, and the ``model``; NaN where there are no
        matches. A model that has too few matches falls back to a simpler one.

    Raises
    ------
    InputError
        If a column is missing or the model unknown.

    References
    ----------
    Huber 1964, Ann. Math. Stat. 35, 73, and Paule & Mandel 1982, J. Res. NBS 87, 377 (weighted by errors that may be
    too small, see `contimg_assets.sky.robust.weighted_center`); Maritz & Jarrett 1978, JASA 73, 194 (error of a
    median); Allen 1974, Technometrics 16, 125 (cross-validation without repeated fits); Blomqvist 1950, Ann. Math.
    Statist. 21, 593 (correlation of both axes).

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> pairs = pd.DataFrame({"dra_arcsec": [0.9, 1.0, 1.3, 0.8], "ddec_arcsec": [-0.4, -0.5, -0.6, -0.5]})
    >>> offset = ca.calculate_positional_offsets(pairs)
    >>> round(offset.dra_arcsec, 2), round(offset.ddec_arcsec, 2), offset.n
    (0.95, -0.5, 4)
    """
    matches = as_frame(matches, "matches")
    if center is not None:
        center = as_position(center, None, "center") if hasattr(center, "transform_to") else (center[0], center[1])
    if model not in (*DEGREES, "auto"):
        raise InputError(f"position model {model!r} is unknown; use one of {', '.join(DEGREES)}, auto")
    flat = model == "constant" and center is None
    needed = ["dra_arcsec", "ddec_arcsec"] + ([] if flat else ["ra_deg", "dec_deg"])
    require(matches, needed, "matches")
    offsets = matches[["dra_arcsec", "ddec_arcsec"]].to_numpy(dtype=float)
    usable = np.isfinite(offsets).all(axis=1)
    if flat or not usable.any():
        sigma = _errors(matches) if weighted else None
        return _constants([(offsets[usable], None if sigma is None else _all_known(sigma[usable]))])[0]
    if center is None:
        ra, dec = (matches[name].to_numpy(dtype=float)[usable] for name in ("ra_deg", "dec_deg"))
        ra_mean, dec_mean = sphere.positions(sphere.unit_vectors(ra, dec).mean(axis=0)[None])
        center = float(ra_mean[0]), float(dec_mean[0])
    return offsets_of_images(matches, [np.arange(len(matches))], model, [center], weighted)[0]


def offsets_of_images(
    matches: pd.DataFrame,
    rows: Sequence[Indices],
    model: Model,
    centers: Sequence[tuple[float, float]],
    weighted: bool = True,
) -> list[PositionOffset]:
    """`calculate_positional_offsets` of several images, to the last digit: arrays hold those with as many matches.

    Parameters
    ----------
    matches : of all images, with the columns that the offset of one needs
    rows : those of each image
    model, weighted : as of `calculate_positional_offsets`
    centers : ra_deg, dec_deg of each image
    """
    table = matches[[name for name in _COLUMNS if name in matches]].take(np.concatenate(rows))
    offsets = table[["dra_arcsec", "ddec_arcsec"]].to_numpy(dtype=float)
    usable = np.isfinite(offsets).all(axis=1)
    table, offsets = table[usable], offsets[usable]
    image = np.repeat(np.arange(len(rows)), [len(one) for one in rows])[usable]
    ra, dec = (table[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg"))
    at = np.asarray(centers, dtype=float).reshape(-1, 2)[image]
    angle = -convergence((at[:, 0], at[:, 1]), ra, dec)
    offsets = np.stack(turned(offsets[:, 0], offsets[:, 1], angle), axis=-1)
    sigma = _errors(table) if weighted else None
    if sigma is not None:
        sigma = _errors_turned(sigma, angle)
    ends = np.searchsorted(image, np.arange(len(rows)), side="right")
    parts = [slice(first, last) for first, last in zip([0, *ends][:-1], ends, strict=True)]
    samples = [(offsets[part], None if sigma is None else _all_known(sigma[part])) for part in parts]
    found: list[PositionOffset | None] = [None] * len(rows)
    if model != "constant":
        for number, part in enumerate(parts):
            if part.stop - part.start >= 4 * _n_terms(DEGREES["linear"]):
                found[number] = _modeled(model, ra[part], dec[part], offsets[part], centers[number])
    constant = [number for number, offset in enumerate(found) if offset is None]
    of_constant = iter(_constants([samples[number] for number in constant]))
    return [next(of_constant) if offset is None else offset for offset in found]


def _modeled(
    model: Model, ra: Floats, dec: Floats, offsets: Floats, center: tuple[float, float]
) -> PositionOffset | None:
    """The offset of one image by a model over it; None where a constant is all that its matches tell."""
    # Whatever the order of the rows, the same sums to the last digit.
    order = np.lexsort((ra, dec))
    x, y = _plane(center, ra[order], dec[order])
    offsets = offsets[order]
    chosen = _choose(x, y, offsets) if model == "auto" else model
    while DEGREES[chosen] and len(offsets) < 4 * _n_terms(DEGREES[chosen]):
        chosen = "linear" if chosen == "smooth" else "constant"
    return None if chosen == "constant" else _polynomial(chosen, x, y, offsets, center)


def _errors(matches: pd.DataFrame) -> Floats | None:
    """Errors of the offsets east and north, shape (n, 2); None without these columns."""
    return matches[[*_SIGMAS]].to_numpy(dtype=float, na_value=np.nan) if {*_SIGMAS} <= set(matches.columns) else None


def _all_known(sigma: Floats) -> Floats | None:
    """The errors of an image's matches; None where not all have them."""
    return sigma if bool((np.isfinite(sigma) & (sigma > 0)).all()) else None


def _errors_turned(sigma: Floats, angle: Floats) -> Floats:
    """Errors of both components of vectors that are turned by an angle; what is no error stays none."""
    share = np.sin(angle)[:, None] ** 2
    known = np.isfinite(sigma) & (sigma > 0)
    sigma = np.where(known.all(axis=1, keepdims=True), sigma, np.nan)
    return np.asarray(np.sqrt((1.0 - share) * sigma**2 + share * sigma[:, ::-1] ** 2))


def _constants(samples: Sequence[tuple[Floats, Floats | None]]) -> list[PositionOffset]:
    """The constant offset of each image from its matches' offsets and their errors, shapes (n, 2)."""
    found = [PositionOffset(0)] * len(samples)
    alike = robust.numbers_by((len(offsets), sigma is None) for offsets, sigma in samples)
    for (n, _), numbers in alike.items():
        if n:
            of_group = _constants_of_as_many([samples[number] for number in numbers])
            for number, offset in zip(numbers, of_group, strict=True):
                found[number] = offset
    return found


def _constants_of_as_many(samples: Sequence[tuple[Floats, Floats | None]]) -> list[PositionOffset]:
    """See `_constants`: of images that all have n matches, with errors or without; two columns an image."""
    n = len(samples[0][0])
    offsets = np.concatenate([of_image for of_image, _ in samples], axis=1)
    sigma = [errors for _, errors in samples if errors is not None]
    center = np.median(offsets, axis=0)
    if n < _FEW:
        error = robust.error_of_median(robust.mad(offsets - center, axis=0), n, robust.MAD_TO_MEDIAN_ERROR) * _TOO_SMALL
    elif not sigma:
        error = np.concatenate([robust.own_error_of_median(of_image) for of_image, _ in samples])
    else:
        center, error = robust.weighted_center(offsets, np.concatenate(sigma, axis=1))
    residual = offsets - center
    mad = robust.mad(residual, axis=0)
    # The correlation of two medians is the quadrant correlation of the samples (Blomqvist 1950), whatever their law.
    correlation = np.mean(np.sign(residual[:, ::2]) * np.sign(residual[:, 1::2]), axis=0)
    covariance = correlation * error[::2] * error[1::2]
    columns = (center[::2], center[1::2], error[::2], error[1::2], covariance, mad[::2], mad[1::2])
    return [PositionOffset(n, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def convergence(center: tuple[Floats | float, Floats | float], ra_deg: Floats, dec_deg: Floats) -> Floats:
    """Angle by which north turns, east over north, from a center to positions along great circles, radians, shape (n,).

    Napier's analogy for the triangle of both places and the pole: tan(angle / 2) = tan(dRA / 2) sin(mean dec) /
    cos(half difference of dec). A vector with position angle p at the center has p + angle at the position.
    """
    delta = np.radians((np.asarray(ra_deg, dtype=float) - center[0] + 180.0) % 360.0 - 180.0)
    dec1, dec2 = np.radians(np.asarray(center[1], dtype=float)), np.radians(np.asarray(dec_deg, dtype=float))
    angle: Floats = 2 * np.arctan2(
        np.sin(delta / 2) * np.sin((dec1 + dec2) / 2), np.cos(delta / 2) * np.cos((dec1 - dec2) / 2)
    )
    return angle


def turned(east: Floats, north: Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Components of vectors whose position angle (north through east) grows by the angle, radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return east * cosine + north * sine, north * cosine - east * sine


def evaluate(coefficients: str, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Offsets (the center's east, north) [arcsec] of a stored model at positions, shape (n,).

    The model is a polynomial in the offset (x east, y north, degrees) from the image's center, terms in the order
    1, x, y, x^2, x y, y^2, ... Beyond the outermost match, where polynomials run away, it has the value of the edge.
    """
    model = json.loads(coefficients)
    terms = _terms(*_inward(model, ra_deg, dec_deg), model["degree"])
    return terms @ np.array(model["east_arcsec"]), terms @ np.array(model["north_arcsec"])


def evaluate_errors(coefficients: str, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Standard errors (east, north) [arcsec] of a stored model at positions, shape (n,): largest at the edge."""
    model = json.loads(coefficients)
    terms = _terms(*_inward(model, ra_deg, dec_deg), model["degree"])
    share = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", terms, np.array(model["inverse"]), terms), 0.0))
    return share * model["sigma_arcsec"][0], share * model["sigma_arcsec"][1]


def _inward(model: dict[str, Any], ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Offsets from a model's center [deg], those beyond its outermost match at the edge."""
    x, y = _plane((model["ra_deg"], model["dec_deg"]), ra_deg, dec_deg)
    inward = np.minimum(1.0, model["radius_deg"] / np.maximum(np.hypot(x, y), 1e-300))
    return x * inward, y * inward


def _plane(center: tuple[float, float], ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = sphere.offsets_arcsec(*np.broadcast_arrays(*center, ra_deg, dec_deg))
    return x / 3600.0, y / 3600.0


def _n_terms(degree: int) -> int:
    return (degree + 1) * (degree + 2) // 2


def _terms(x: Floats, y: Floats, degree: int) -> Floats:
    """Monomials up to a degree, shape (n, terms)."""
    return np.stack([x ** (total - j) * y**j for total in range(degree + 1) for j in range(total + 1)], axis=-1)


@dataclass(frozen=True)
class _Fit:
    coefficients: Floats  # (terms, 2): east, north
    residual: Floats  # (n, 2)
    left_out: Floats  # (n, 2): residual of each match against the fit to all others


def _robust_fit(terms: Floats, offsets: Floats, iterations: int = _ITERATIONS) -> _Fit:
    """Iteratively reweighted least squares with Huber's weights, both axes at once."""
    scale = np.maximum(np.abs(terms).max(axis=0), 1e-300)
    x = terms / scale
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    weights = np.ones_like(offsets)
    for iteration in range(iterations):
        normal = (weights.T @ products).reshape(2, x.shape[1], x.shape[1])
        vector = (weights * offsets).T @ x
        # Matches on one line (of declination, say) leave terms undetermined: those of least size are taken.
        inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
        fitted = (inverse @ vector[:, :, None])[:, :, 0]
        residual = offsets - x @ fitted.T
        sigma = robust.scatter(residual, axis=0)
        if iteration == iterations - 1 or not (sigma > 1e-12).all():
            break
        next_weights = np.minimum(1.0, robust.HUBER * sigma / np.maximum(np.abs(residual), 1e-300))
        if np.abs(next_weights - weights).max() < 1e-4:
            break
        weights = next_weights
    # Without match i a linear fit leaves r_i / (1 - h_i), h the leverage (Allen 1974): no fit is repeated.
    leverage = weights * (products @ inverse.reshape(2, -1).T)
    return _Fit(fitted.T / scale[:, None], residual, residual / np.maximum(1 - leverage, 1e-6))


def _choose(x: Floats, y: Floats, offsets: Floats) -> str:
    """The simplest model whose residuals at left-out matches no richer one makes significantly smaller."""
    losses: dict[str, Floats] = {}
    for name, degree in DEGREES.items():
        if len(x) < 4 * _n_terms(degree):
            break
        left_out = _robust_fit(_terms(x, y, degree), offsets, iterations=4).left_out
        losses[name] = np.hypot(left_out[:, 0], left_out[:, 1])
    if not losses:
        return "constant"
    # Losses are bounded, so that a wrong match does not decide.
    limit = 3 * robust.MAD_TO_SIGMA * float(np.median(losses["constant"]))
    bounded = {name: np.minimum(loss, limit) for name, loss in losses.items()}
    chosen = "constant"
    for name in list(bounded)[1:]:
        gain = bounded[chosen] - bounded[name]
        if gain.mean() > _SIGNIFICANT * gain.std(ddof=1) / np.sqrt(len(x)):
            chosen = name
    return chosen


def _polynomial(name: str, x: Floats, y: Floats, offsets: Floats, center: tuple[float, float]) -> PositionOffset:
    degree = DEGREES[name]
    terms = _terms(x, y, degree)
    fit = _robust_fit(terms, offsets)
    fitted, residual = fit.coefficients, fit.residual
    mad = robust.mad(residual, axis=0)
    n, k = terms.shape
    # Mean variance of a prediction at the matches is sigma^2 k / n; pi / 2 would be the median's loss, Huber's is 5 %.
    # What k terms take from the residuals is put back, in their scatter as in any fit's.
    sigma = robust.MAD_TO_SIGMA * mad * np.sqrt(1.05 * n / (n - k))
    error = sigma * np.sqrt(k / n)
    correlation = float(np.mean(np.sign(residual[:, 0]) * np.sign(residual[:, 1])))
    stored = {
        "degree": degree,
        "radius_deg": float(np.hypot(x, y).max()),
        "ra_deg": float(center[0]),
        "dec_deg": float(center[1]),
        "sigma_arcsec": [float(value) for value in sigma],
        "inverse": np.linalg.pinv(terms.T @ terms, rcond=1e-12, hermitian=True).tolist(),
        "east_arcsec": [float(value) for value in fitted[:, 0]],
        "north_arcsec": [float(value) for value in fitted[:, 1]],
    }
    return PositionOffset(
        n,
        float(fitted[0, 0]),
        float(fitted[0, 1]),
        float(error[0]),
        float(error[1]),
        float(correlation * error[0] * error[1]),
        float(mad[0]),
        float(mad[1]),
        name,
        json.dumps(stored),
    )
