"""Pairs of measurements of one source: the significance Vs and the modulation m of their difference.

Vs = (Sa - Sb) / sqrt(ea^2 + eb^2), m = 2 (Sa - Sb) / (Sa + Sb), a before b in time (Mooley et al. 2016, ApJ 818, 105).
The number of pairs grows with the square of the number of epochs: maxima are found without storing them, and all pairs
come as a stream on request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.identity.ids import to_hex
from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers, Values
from contimg_assets.variability.segments import LightCurves, Segments

_CHUNK = 100_000


def pair_metrics(flux_a: Floats, err_a: Floats, flux_b: Floats, err_b: Floats) -> tuple[Floats, Floats]:
    """(Vs, m) of pairs, shape (n,). Vs is NaN without valid errors, m is NaN where the fluxes add up to 0.

    |m| < 2 holds only where both fluxes are positive; forced fluxes may be negative.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        valid = np.isfinite(flux_a) & np.isfinite(flux_b) & (err_a > 0) & (err_b > 0)
        difference, total = flux_a - flux_b, flux_a + flux_b
        vs = np.where(valid, difference / np.hypot(err_a, err_b), np.nan)
        return vs, np.where(valid & (total != 0), 2.0 * difference / total, np.nan)


def pair_maxima(flux: npt.ArrayLike, err: npt.ArrayLike, segments: Segments, min_abs_vs: float) -> dict[str, Values]:
    """The extreme significant pairs of each source, without storing pairs.

    Parameters
    ----------
    flux, err : shape (n,)
    segments : k sources
    min_abs_vs : pairs with |Vs| below this do not count

    Returns
    -------
    dict of arrays of shape (k,), NaN where no pair is significant:
        vs, m : |Vs| and |m| of the pair with the largest |m| (ties: the larger |Vs|); pairs whose sum of fluxes is not
            positive have no meaningful m and do not count here. |m| > 2 says that one flux is negative
        vs_max : the largest |Vs| of all significant pairs

    Notes
    -----
    m grows with the ratio of two positive fluxes, so then no pair has a larger |m| than that of the largest and the
    smallest flux: where it is significant, it is the answer. And sqrt(a^2 + b^2) >= (a + b) / sqrt 2, so |Vs| can reach
    t only for S_i - c e_i >= S_j + c e_j with c = t / sqrt 2. With t the threshold, or the |Vs| that is found already,
    only rows on the two sides of that gap are paired: none of a steady source, few of any other.
    """
    flux, err = np.asarray(flux, dtype=float), np.asarray(err, dtype=float)
    valid = np.isfinite(flux) & np.isfinite(err) & (err > 0)
    top, top_err = _extreme(flux, err, segments, valid, np.maximum, -np.inf)
    bottom, bottom_err = _extreme(flux, err, segments, valid, np.minimum, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        widest = (top - bottom) / np.hypot(top_err, bottom_err)
        modulation = 2.0 * (top - bottom) / (top + bottom)
    known = (widest >= min_abs_vs) & (bottom > 0)
    best_vs, best_m = np.where(known, widest, -1.0), np.where(known, modulation, -1.0)
    vs_max = np.full(len(segments), -1.0)

    # A hair less than the exact bound, so that rounding cannot lose a pair at the threshold.
    reach = np.where(known, np.fmax(widest, min_abs_vs), min_abs_vs) / np.sqrt(2.0) * (1 - 1e-12)
    rivals = _Rivals.of(flux, err, valid, segments, reach)
    for batch in _batches(rivals.n_pairs):
        pairs_of, a, b = rivals.pairs(batch)
        difference = flux[a] - flux[b]
        vs = difference / np.hypot(err[a], err[b])
        significant = vs >= min_abs_vs
        vs = np.where(significant, vs, -1.0)
        runs = Segments.of_sorted(pairs_of)
        owner = rivals.source[batch]
        vs_max[owner] = runs.maximum(vs)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = flux[a] + flux[b]
            m = np.where(significant & (total > 0), 2.0 * difference / total, -1.0)
        m_max = runs.maximum(m)
        vs_of_m = runs.maximum(np.where(m == runs.spread(m_max), vs, -1.0))
        best_m[owner] = np.where(known[owner], best_m[owner], m_max)
        best_vs[owner] = np.where(known[owner], best_vs[owner], vs_of_m)

    has_m = best_m >= 0
    return {
        "vs": np.where(has_m, best_vs, np.nan),
        "m": np.where(has_m, best_m, np.nan),
        "vs_max": np.where(vs_max >= 0, vs_max, np.nan),
    }


@dataclass(frozen=True)
class _Rivals:
    """Rows on the two sides of the gap, of each source that has any on both, one source after the other.

    Attributes
    ----------
    source : index of each such source, shape (r,)
    high, low : its rows above and below the gap
    n_high, n_low : how many they are, shape (r,)
    """

    source: Indices
    high: Indices
    low: Indices
    n_high: Integers
    n_low: Integers

    @classmethod
    def of(cls, flux: Floats, err: Floats, valid: Flags, segments: Segments, reach: Floats) -> _Rivals:
        """The gap is as many errors of each row wide as ``reach`` says of its source, shape (k,)."""
        margin = err * segments.spread(reach)
        low_edge = np.where(valid, flux - margin, -np.inf)
        high_edge = np.where(valid, flux + margin, np.inf)
        lowest, highest = segments.minimum(high_edge), segments.maximum(low_edge)
        source = np.flatnonzero(highest >= lowest)
        chosen, rows = segments.take(source)
        is_high = valid[rows] & (low_edge[rows] >= chosen.spread(lowest[source]))
        is_low = valid[rows] & (high_edge[rows] <= chosen.spread(highest[source]))
        return cls(source, rows[is_high], rows[is_low], chosen.count(is_high), chosen.count(is_low))

    @cached_property
    def n_pairs(self) -> Integers:
        """Pairs of a high and a low row, of each source."""
        return self.n_high * self.n_low

    @cached_property
    def _first(self) -> tuple[Indices, Indices]:
        return np.cumsum(self.n_high) - self.n_high, np.cumsum(self.n_low) - self.n_low

    def pairs(self, batch: Indices) -> tuple[Indices, Indices, Indices]:
        """All pairs of a high and a low row of some sources, shape (n,): index into `source`, high row, low row."""
        n_pairs = self.n_pairs[batch]
        pairs_of = np.repeat(batch, n_pairs)
        within = np.arange(len(pairs_of)) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
        high, low = np.divmod(within, self.n_low[pairs_of])
        first_high, first_low = self._first
        return pairs_of, self.high[first_high[pairs_of] + high], self.low[first_low[pairs_of] + low]


def _extreme(
    flux: Floats, err: Floats, segments: Segments, use: Flags, extreme: np.ufunc, nothing: float
) -> tuple[Floats, Floats]:
    """Largest or smallest flux of each source, and the smallest error of the rows that have it; inf or -inf of none."""
    if not len(segments):
        return flux[:0], err[:0]
    value = extreme.reduceat(np.where(use, flux, nothing), segments.starts)
    at = use & (flux == segments.spread(value))
    return value, np.minimum.reduceat(np.where(at, err, np.inf), segments.starts)


def _batches(n_pairs: Integers) -> Iterator[Indices]:
    """Indices of consecutive sources with a hundred thousand pairs together."""
    if not len(n_pairs):
        return
    part = (np.cumsum(n_pairs) - n_pairs) // _CHUNK
    yield from np.split(np.arange(len(n_pairs)), np.flatnonzero(np.diff(part)) + 1)


def iterate_pairs(segments: Segments, chunk: int = 1_000_000) -> Iterator[tuple[Indices, Indices, Indices]]:
    """All pairs of rows of each source, a before b, in pieces of at most ``chunk`` pairs.

    Yields
    ------
    source, a, b : index of the source, and of the two rows, shape (m,), in the order of source, a, b
    """
    # Row a of a segment pairs with every later row of it.
    position = np.arange(segments.rows) - segments.spread(segments.starts)
    later = segments.spread(segments.counts) - position - 1
    owner = segments.spread(np.arange(len(segments)))
    ends = np.cumsum(later)
    done = 0
    total = int(ends[-1]) if len(ends) else 0
    while done < total:
        pair = np.arange(done, min(done + chunk, total))
        a = np.searchsorted(ends, pair, side="right")
        b = a + 1 + (pair - (ends[a] - later[a]))
        yield owner[a], a.astype(np.intp), b.astype(np.intp)
        done += len(pair)


def all_pairs(curves: LightCurves, min_abs_vs: float = 0.0) -> Iterator[pd.DataFrame]:
    """All pairs of measurements of each source, in pieces.

    Parameters
    ----------
    curves : with the columns measurement, mjd, and flux_peak, flux_peak_err, flux_int and flux_int_err
    min_abs_vs : leave out pairs with |Vs| below this in both peak and integrated flux

    Yields
    ------
    DataFrame with the columns of PAIRS, in the order of source, a, b
    """
    source, measurement = to_hex(curves.source), to_hex(curves["measurement"])
    for owner, a, b in iterate_pairs(curves.segments):
        metrics = {}
        for kind in ("peak", "int"):
            flux, err = curves[f"flux_{kind}"], curves[f"flux_{kind}_err"]
            metrics[f"vs_{kind}"], metrics[f"m_{kind}"] = pair_metrics(flux[a], err[a], flux[b], err[b])
        strong = np.fmax(np.abs(metrics["vs_peak"]), np.abs(metrics["vs_int"]))
        keep = np.flatnonzero(strong >= min_abs_vs) if min_abs_vs > 0 else np.arange(len(a))
        yield pd.DataFrame(
            {
                "source_id": source[owner[keep]],
                "measurement_id_a": measurement[a[keep]],
                "measurement_id_b": measurement[b[keep]],
                "mjd_a": curves["mjd"][a[keep]],
                "mjd_b": curves["mjd"][b[keep]],
                **{name: values[keep] for name, values in metrics.items()},
            }
        )
