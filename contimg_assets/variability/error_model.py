"""What the error of one point of a light curve is: the finder's error times a factor, and a floor in percent.

    e'^2 = (k(S / e) e)^2 + (f(r) S)^2 + (g S)^2

``k`` is how much the finder understates (above 1) or overstates (below 1) its errors at a signal to noise S / e of the
source, by all its fluxes: one that is low by chance has no other noise. ``f`` is what the fluxes of constant sources
scatter however bright they are (calibration, ionosphere), at a distance r from the image center in radii of the image.
``g`` is the error of the image's own flux scale. Images of one pointing whose fluxes agree place by place have one
configuration of the telescope (beams, processing); between configurations fluxes of a source differ by one step each,
of standard deviation ``p(r) S``, and by the errors of the absolute scales. k, f and p are measured, see
`error_evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from contimg_assets.config import Variability
from contimg_assets.ingest.bands import mhz_of_name
from contimg_assets.schemas.error_model import BAND_ERROR_MODEL, ERROR_MODEL
from contimg_assets.sky.arrays import Floats, Indices

# S / e at which k is measured; constant beyond both ends. Close together where a finder's threshold lies: from a source
# at the threshold to one that is twice as bright, what is seen of its scatter rises from half of it to all of it.
SNR_NODES: Floats = np.array([4.0, 4.8, 5.7, 6.7, 8.0, 9.5, 11.3, 20.0, 40.0, 80.0, 160.0])
# Distance from the image center, in radii of the image, at which f is measured; constant beyond the last.
RADIUS_NODES: Floats = np.array([0.0, 0.3, 0.5, 0.65, 0.8, 0.9, 1.0, 1.15])
N_NOISE = len(SNR_NODES)
# Where the distance from the center is not known.
TYPICAL_RADIUS = 0.65
NOISE, FLOOR, STEP = "noise", "floor", "step"
# Positions have the same model, of each axis: k is the factor of the finder's error, and f the systematic error as a
# fraction of this angle, which stands in the place of the flux. No steps.
UNIT_ARCSEC = 30.0
EAST, NORTH = AXES = ("east", "north")
COLUMN_PART: Mapping[str, str] = {EAST: "ew", NORTH: "ns"}
"""What columns about an axis have in their names, such as `uncertainty_ew_arcsec`."""
# The systematic error that the measurements have by configuration, which the measured one takes the place of.
ASSUMED = "assumed"

# Of f^2: a floor of 0 at the typical distance has no shape; in positions this is 0.03 arcsec.
_NO_SHAPE = 1e-6

# Steps in which both are tabulated: a light curve of a million points looks up, it does not interpolate.
_PER_E_FOLD, _N_SNR = 24, 120
_PER_RADIUS, _N_RADIUS = 50, 64


def snr_weights(snr: Floats) -> Floats:
    """Linear interpolation in ln(S / e) between `SNR_NODES`: k^2 = weights @ noise, shape (n, 11)."""
    return _interpolation(np.log(snr), np.log(SNR_NODES))


def radius_weights(radius: Floats) -> Floats:
    """Linear interpolation in distance between `RADIUS_NODES`: f^2 = weights @ floor, shape (n, 8)."""
    return _interpolation(radius, RADIUS_NODES)


def in_image_radii(distance_deg: Floats, field_radius_deg: Floats) -> Floats:
    """Distance from the image center in radii of the image, shape (n,); NaN where the image has no radius."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(field_radius_deg > 0, distance_deg / field_radius_deg, np.nan)


def _interpolation(at: Floats, nodes: Floats) -> Floats:
    return np.stack([np.interp(at, nodes, one) for one in np.eye(len(nodes))], axis=-1)


@dataclass(frozen=True)
class ErrorTerms:
    """k^2, f^2 and p^2 of one kind of flux at the nodes.

    Attributes
    ----------
    noise : k^2 at `SNR_NODES`, shape (11,)
    floor, step : f^2 and p^2 at `RADIUS_NODES`, shape (8,)
    """

    noise: Floats
    floor: Floats
    step: Floats
    _tables: tuple[Floats, Floats, Floats] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        snr = np.exp((np.arange(_N_SNR) + 0.5) / _PER_E_FOLD)
        radius = radius_weights((np.arange(_N_RADIUS) + 0.5) / _PER_RADIUS)
        tables = snr_weights(snr) @ self.noise, radius @ self.floor, radius @ self.step
        object.__setattr__(self, "_tables", tables)

    @classmethod
    def fixed(cls, noise_factor: float = 1.0, floor: float = 0.0, step: float = 0.0) -> ErrorTerms:
        """The same factor at every signal to noise, and the same floor and step everywhere."""
        nothing = np.zeros(len(RADIUS_NODES))
        return cls(np.full(len(SNR_NODES), noise_factor**2), nothing + floor**2, nothing + step**2)

    @classmethod
    def of_squares(cls, squares: Floats) -> ErrorTerms:
        """The inverse of `squares`."""
        return cls(*np.split(squares, [len(SNR_NODES), len(SNR_NODES) + len(RADIUS_NODES)]))

    @property
    def is_plain(self) -> bool:
        """Whether the finder's errors stay as they are."""
        return bool((self.noise == 1.0).all() and not self.floor.any() and not self.step.any())

    @property
    def squares(self) -> Floats:
        """k^2, f^2, p^2 at all nodes, one after the other, shape (27,)."""
        return np.concatenate([self.noise, self.floor, self.step])

    def variance(self, flux: Floats, err: Floats, radius: Floats | Indices, level: Floats | None = None) -> Floats:
        """(k e)^2 + (f S)^2, shape (n,).

        Parameters
        ----------
        flux, err : shape (n,), same unit
        radius : distance from the image center in radii of the image, shape (n,), NaN where not known; or `rows_at` it
        level : what the source's flux is by all that is known, which k is taken at; the flux itself if not given
        """
        # In place, and by `take`: of a million points it is memory that costs time.
        found = self._tables[0].take(_snr_step(flux if level is None else level, err))
        found *= err * err
        floor = self.floor_square(radius)
        floor *= flux * flux
        found += floor
        return found

    def noise_square(self, flux: Floats, err: Floats) -> Floats:
        """k^2, shape (n,)."""
        return self._tables[0].take(_snr_step(flux, err))

    def floor_square(self, radius: Floats | Indices) -> Floats:
        """f^2, shape (n,)."""
        return self._tables[1].take(rows_at(radius))

    def shape_square(self, radius: Floats | Indices) -> Floats:
        """f^2 over that at the typical distance, shape (n,): how what images have of their own goes with distance."""
        return np.asarray((self.floor_square(radius) + _NO_SHAPE) / (self.typical_square + _NO_SHAPE))

    @property
    def typical_square(self) -> float:
        """f^2 at the typical distance from the image center."""
        return float(self.floor_square(np.array([TYPICAL_RADIUS]))[0])

    def step_square(self, radius: Floats | Indices) -> Floats:
        """p^2, shape (n,)."""
        return self._tables[2].take(rows_at(radius))


PLAIN = ErrorTerms.fixed()
"""The finder's errors as they are."""


@dataclass(frozen=True)
class ErrorModel:
    """Errors of peak and integrated fluxes.

    Attributes
    ----------
    terms : "peak" and "int" -> k^2 and f^2; also "east" and "north" where positions are measured, in `UNIT_ARCSEC`
    bands : those of single bands, by the middle [MHz]
    assumed : "east" and "north" -> systematic error that measurements have by configuration [arcsec]
    """

    terms: Mapping[str, ErrorTerms]
    bands: Mapping[int, ErrorModel] = field(default_factory=dict)
    assumed: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the finder's errors of fluxes stay as they are."""
        return all(terms.is_plain for kind, terms in self.terms.items() if kind not in AXES)

    def of_band(self, band_mhz: int) -> ErrorModel:
        """That of a band, which is that of all where it has none of its own."""
        return self.bands.get(band_mhz, self)

    @classmethod
    def plain(cls) -> ErrorModel:
        """The finder's errors as they are."""
        return cls.fixed(1.0, 0.0)

    @classmethod
    def fixed(cls, noise_factor: float, floor: float) -> ErrorModel:
        """The same factor and the same floor everywhere."""
        terms = ErrorTerms.fixed(noise_factor, floor)
        return cls({"peak": terms, "int": terms})

    @classmethod
    def chosen(cls, parameters: Variability, measured: ErrorModel | None) -> ErrorModel:
        """The one that the configuration asks for."""
        if parameters.error_model == "fixed":
            return cls.fixed(parameters.error_noise_factor, parameters.error_floor)
        return measured if measured is not None and parameters.error_model == "measured" else cls.plain()

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> ErrorModel:
        """What rows of ERROR_MODEL or BAND_ERROR_MODEL say. A kind of flux without rows has the finder's errors; where
        only a band has none, it has those of all bands."""
        if "band" not in table:
            return cls(_terms_of(table, {}), assumed=_assumed_of(table))
        pooled, assumed = _terms_of(table[table["band"] == ""], {}), _assumed_of(table)
        own = {str(band): rows for band, rows in table[table["band"] != ""].groupby("band")}
        bands = {mhz_of_name(name): cls(_terms_of(rows, pooled), assumed=assumed) for name, rows in own.items()}
        return cls(pooled, bands, assumed)


def _terms_of(table: pd.DataFrame, otherwise: Mapping[str, ErrorTerms]) -> dict[str, ErrorTerms]:
    """Terms of each kind of flux from rows of ERROR_MODEL; others, or the finder's errors, where not all rows are."""
    order = np.argsort(table["at"].to_numpy(dtype=float), kind="stable")
    kinds, terms = (table[name].to_numpy(dtype=object)[order] for name in ("flux_kind", "term"))
    square = table["value"].to_numpy(dtype=float)[order] ** 2
    found = {}
    for kind in ("peak", "int"):
        own = kinds == kind
        squares = [square[own & (terms == term)] for term in (NOISE, FLOOR, STEP)]
        whole = own.sum() == len(PLAIN.squares)
        found[kind] = ErrorTerms(*squares) if whole else otherwise.get(kind, PLAIN)
    for axis in AXES:
        noise, floor = (square[(kinds == axis) & (terms == term)] for term in (NOISE, FLOOR))
        if len(noise) == len(SNR_NODES) and len(floor) == len(RADIUS_NODES):
            # By the error that they are of, the largest first.
            found[axis] = ErrorTerms(noise[::-1], floor / UNIT_ARCSEC**2, np.zeros(len(RADIUS_NODES)))
        elif axis in otherwise:
            found[axis] = otherwise[axis]
    return found


def _assumed_of(table: pd.DataFrame) -> dict[str, float]:
    """By axis: the systematic error of the measurements [arcsec]."""
    rows = table[table["term"] == ASSUMED].drop_duplicates("flux_kind")
    return {str(axis): float(value) for axis, value in zip(rows["flux_kind"], rows["value"], strict=True)}


def of_all_bands(pooled: pd.DataFrame, of_bands: pd.DataFrame) -> pd.DataFrame:
    """Rows of BAND_ERROR_MODEL: of all bands together, named "", and of single ones.

    Parameters
    ----------
    pooled, of_bands : rows of ERROR_MODEL, and of BAND_ERROR_MODEL
    """
    rows = pooled.assign(band="")[BAND_ERROR_MODEL.names]
    if not len(rows) or not len(of_bands):
        return of_bands if len(of_bands) else rows
    return pd.concat([rows, of_bands], ignore_index=True)


def model_rows(kind: str, terms: ErrorTerms, errors: Floats, n: int) -> pd.DataFrame:
    """Rows of ERROR_MODEL of one kind of flux.

    Parameters
    ----------
    errors : standard errors of k^2, f^2 and p^2, as `ErrorTerms.squares`
    n : residuals that they are from
    """
    values = np.sqrt(terms.squares)
    # Of a root that is near 0 the error is that of the square's own root.
    with np.errstate(divide="ignore", invalid="ignore"):
        err = np.fmin(errors / (2.0 * values), np.sqrt(errors))
    return pd.DataFrame(
        {
            "flux_kind": kind,
            "term": [NOISE] * len(SNR_NODES) + [FLOOR] * len(RADIUS_NODES) + [STEP] * len(RADIUS_NODES),
            "at": np.concatenate([SNR_NODES, RADIUS_NODES, RADIUS_NODES]),
            "value": values,
            "value_err": err,
            "n_residuals": n,
        }
    )[ERROR_MODEL.names]


def position_rows(axis: str, terms: ErrorTerms, errors: Floats, n: int, assumed_arcsec: float) -> pd.DataFrame:
    """Rows of ERROR_MODEL of one axis of positions: factors by the finder's error, systematic errors by distance.

    Parameters
    ----------
    errors, n : as of `model_rows`
    assumed_arcsec : systematic error that the measurements have by configuration
    """
    rows = model_rows(axis, terms, errors, n)
    rows = rows[rows["term"] != STEP].reset_index(drop=True)
    floor, noise = rows["term"] == FLOOR, rows["term"] == NOISE
    rows.loc[floor, ["value", "value_err"]] *= UNIT_ARCSEC
    rows.loc[noise, "at"] = UNIT_ARCSEC / rows.loc[noise, "at"]
    assumed = {"flux_kind": axis, "term": ASSUMED, "at": 0.0, "value": assumed_arcsec, "value_err": 0.0}
    return pd.concat([rows, pd.DataFrame([{**assumed, "n_residuals": n}])], ignore_index=True)[ERROR_MODEL.names]


def _snr_step(flux: Floats, err: Floats) -> Indices:
    """Row of the table of k^2: the first where the flux is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.asarray(flux / err)
        np.log(step, out=step)
    step *= _PER_E_FOLD
    # NaN and infinity have no place among whole numbers: both leave NaN aside, and take the bound.
    np.fmax(step, 0.0, out=step)
    np.fmin(step, _N_SNR - 1.0, out=step)
    return step.astype(np.intp)


def rows_at(radius: Floats | Indices) -> Indices:
    """Rows of the tables of f^2 and p^2 at distances from the image center; whole numbers are rows already."""
    if np.issubdtype(radius.dtype, np.integer):
        return np.asarray(radius, dtype=np.intp)
    step = radius * _PER_RADIUS
    step[np.isnan(step)] = TYPICAL_RADIUS * _PER_RADIUS
    np.maximum(step, 0.0, out=step)
    np.minimum(step, _N_RADIUS - 1.0, out=step)
    return step.astype(np.intp)
