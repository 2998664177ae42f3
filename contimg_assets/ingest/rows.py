"""Which rows are usable: every fault a row can have, found for all rows at once, with its reason.

Belongs here: the rules. A row that breaks one is set aside, never repaired; values that are missing where they may be
are left missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.config import Ingest
from contimg_assets.ingest.delivered import DeliveredCatalog, text_column
from contimg_assets.reading.positions import look_swapped
from contimg_assets.schemas.core import INT
from contimg_assets.schemas.detections import DETECTIONS, REJECTED
from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers
from contimg_assets.sky.sphere import separation_arcsec

MAX_TEXT = 256
"""Longest identifier, in characters."""

MAX_INTEGER = 2.0**53
"""Integers beyond this are not told apart as floats, as which numbers are delivered."""

_EXCERPT = 80
# Made once: most of an epoch's thousand files have no fault.
_NO_ROWS = pd.DataFrame(columns=["line", "component_id", "column", "value", "reason", "damaged"])


@dataclass
class Faults:
    """The first fault of each row.

    `add` is called for one rule after the other; a row keeps its first fault, so the gravest rules go first.
    """

    n_rows: int
    rejected: Flags = field(init=False)
    _found: list[tuple[Indices, str | None, list[str | None], str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rejected = np.zeros(self.n_rows, bool)

    def add(
        self,
        rows: Flags,
        column: str | None,
        values: Floats | pa.Array | None,
        reason: str,
        damaged: bool,
    ) -> None:
        """Set rows aside, shape (n,), unless they are already; ``values`` are what the column holds, shape (n,)."""
        new = rows & ~self.rejected
        if not new.any():
            return
        index = np.flatnonzero(new)
        self.rejected |= new
        self._found.append((index, column, _texts(values, index), reason, damaged))

    def add_texts(self, index: Indices, column: str, texts: list[str], reason: str, damaged: bool) -> None:
        """Set the rows ``index`` aside, whose texts are given."""
        new = ~self.rejected[index]
        self.rejected[index] = True
        kept: list[str | None] = [text for text, keep in zip(texts, new, strict=True) if keep]
        if kept:
            self._found.append((index[new], column, kept, reason, damaged))

    def table(self, lines: Integers, components: pa.Array) -> pd.DataFrame:
        """One row a rejected row, without image and catalog."""
        parts = [
            pd.DataFrame(
                {
                    "line": lines[index],
                    "component_id": [_excerpt(c) for c in components.take(pa.array(index)).to_pylist()],
                    "column": column,
                    "value": values,
                    "reason": reason,
                    "damaged": damaged,
                }
            )
            for index, column, values, reason, damaged in self._found
        ]
        return pd.concat(parts, ignore_index=True) if parts else _NO_ROWS


def _texts(values: Floats | pa.Array | None, index: Indices) -> list[str | None]:
    if values is None:
        return [None] * len(index)
    if isinstance(values, np.ndarray):
        return [None if np.isnan(value) else f"{value:.12g}" for value in values[index]]
    return [_excerpt(value) for value in values.take(pa.array(index)).to_pylist()]


def _excerpt(text: str | None) -> str | None:
    return text if text is None or len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


@dataclass(frozen=True)
class Field:
    """What the rules need to know of the image: center, radius and beam."""

    ra_deg: float
    dec_deg: float
    radius_deg: float
    bmaj_arcsec: float
    bmin_arcsec: float


def check_rows(catalog: DeliveredCatalog, image: Field, parameters: Ingest) -> tuple[Flags, pd.DataFrame]:
    """Which rows of a catalog are usable, shape (n,), and the table of those that are not.

    The rules, in order; the first that a row breaks is its reason. "Damaged" rules speak of a damaged or wrong file,
    the others of a fit that failed.

    1. damaged: text where a number belongs; an infinite number;
    2. damaged: no position, RA outside [0, 360] (360 itself is 0; RA from -180 to 0 were turned by the reader), Dec
       outside [-90, 90];
    3. damaged: no identifier, one longer than `MAX_TEXT`, one that repeats in the file (all its rows: they cannot be
       told apart);
    4. damaged: a position farther than `field_margin` field radii from the image's center;
    5. a fit that the finder says failed; no flux density, or one that is zero; for a detection: a fitted axis that is
       zero or negative, or narrower than `min_axis_beam_fraction` of the beam, and a position error larger than
       `max_position_err_arcsec` or, without one, the beam's major axis; any other value outside its column's range, or
       no integer where one belongs.
    """
    rows = catalog.rows
    faults = Faults(len(rows))
    _check_numbers(rows.numbers, catalog, faults)
    ra, dec = rows.numbers["ra_deg"], rows.numbers["dec_deg"]
    faults.add(np.isnan(ra), _named(catalog, "ra_deg"), ra, "the right ascension is missing", True)
    faults.add(np.isnan(dec), _named(catalog, "dec_deg"), dec, "the declination is missing", True)
    faults.add((ra < 0) | (ra > 360), _named(catalog, "ra_deg"), ra, "not allowed: 0 <= ra_deg < 360", True)
    swapped = "; are its columns swapped?" if look_swapped(ra, dec) else ""
    reason = f"not allowed: -90 <= dec_deg <= 90{swapped}"
    faults.add(np.abs(dec) > 90, _named(catalog, "dec_deg"), dec, reason, True)
    _check_identifiers(catalog, faults)
    limit = parameters.field_margin * image.radius_deg
    reason = (
        f"outside the image: more than {limit:.4g} deg from its center ({image.ra_deg:.4f}, {image.dec_deg:+.4f}); "
        "are its columns swapped, or radius_deg too small?"
    )
    faults.add(_outside(ra, dec, faults.rejected, image, limit), _named(catalog, "ra_deg"), ra, reason, True)
    for failed, ours, reason in rows.failed:
        faults.add(failed, _named(catalog, ours), rows.numbers[ours], reason, False)
    _check_fluxes(catalog, faults)
    detected = ~np.broadcast_to(np.asarray(rows.forced, bool), len(rows))
    if detected.any():
        _check_axes(catalog, image, parameters, faults, detected)
        _check_position_errors(catalog, image, parameters, faults, detected)
    _check_ranges(catalog, faults)
    return ~faults.rejected, faults.table(rows.delivered.lines, text_column(rows, "component_id"))


def _outside(ra_deg: Floats, dec_deg: Floats, rejected: Flags, image: Field, limit_deg: float) -> Flags:
    """Which rows with a position are farther than a limit from the image's center."""
    outside = np.zeros(len(ra_deg), bool)
    # Along a parallel and a meridian it is never nearer: of most rows this is all that need be known.
    with np.errstate(invalid="ignore"):  # infinite ones are rejected already
        east = np.abs((ra_deg - image.ra_deg + 180.0) % 360.0 - 180.0)
    widest = np.cos(np.radians(np.min(np.abs(dec_deg), initial=90.0, where=~rejected)))
    far = np.flatnonzero(~rejected & ~(east * widest + np.abs(dec_deg - image.dec_deg) <= limit_deg * (1 - 1e-9)))
    if len(far):
        away = separation_arcsec(ra_deg[far], dec_deg[far], image.ra_deg, image.dec_deg) / 3600
        outside[far] = away > limit_deg
    return outside


def broken_lines(catalog: DeliveredCatalog) -> pd.DataFrame:
    """Lines that do not split into the header's columns, as rejected rows."""
    broken = catalog.rows.delivered.broken
    if not broken:
        return _NO_ROWS
    return pd.DataFrame(
        {
            "line": [row.line for row in broken],
            "component_id": None,
            "column": None,
            "value": [row.text for row in broken],
            "reason": [row.reason for row in broken],
            "damaged": True,
        }
    )


def rejected_table(image: str, catalog: str, *parts: pd.DataFrame) -> pd.DataFrame:
    """Rejected rows of one catalog in the schema REJECTED, by line."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return REJECTED.empty()
    table = pd.concat(filled, ignore_index=True).sort_values("line", kind="stable", ignore_index=True)
    table["image"], table["catalogue"] = image, catalog
    return table[REJECTED.names]


def _named(catalog: DeliveredCatalog, ours: str) -> str:
    """The file's own name of one of our columns: that is what its author can look up."""
    return catalog.rows.columns.get(ours, ours)


def _check_numbers(numbers: dict[str, Floats], catalog: DeliveredCatalog, faults: Faults) -> None:
    for column, (index, texts) in catalog.rows.delivered.not_numbers.items():
        faults.add_texts(index, column, texts, "a number belongs here, not text", True)
    for ours, values in numbers.items():
        faults.add(np.isinf(values), _named(catalog, ours), values, "the number is infinite", True)


def _check_identifiers(catalog: DeliveredCatalog, faults: Faults) -> None:
    identifiers = text_column(catalog.rows, "component_id")
    name = _named(catalog, "component_id")
    faults.add(np.asarray(pc.is_null(identifiers)), name, None, "the identifier is missing", True)
    for ours in ("component_id", "island_id"):
        texts = text_column(catalog.rows, ours)
        too_long = np.asarray(pc.fill_null(pc.greater(pc.utf8_length(texts), MAX_TEXT), False))
        faults.add(too_long, _named(catalog, ours), texts, f"an identifier of more than {MAX_TEXT} characters", True)
    codes = np.asarray(pc.fill_null(identifiers.dictionary_encode().indices, -1))
    counts = np.bincount(codes[codes >= 0], minlength=1)
    repeats = (codes >= 0) & (counts[np.maximum(codes, 0)] > 1)
    faults.add(repeats, name, identifiers, "the identifier repeats in this file; make it unique", True)


def _check_fluxes(catalog: DeliveredCatalog, faults: Faults) -> None:
    numbers = catalog.rows.numbers
    nothing = np.full(len(catalog.rows), np.nan)
    peak, integrated = numbers.get("flux_peak_mjy_beam", nothing), numbers.get("flux_int_mjy", nothing)
    either = "flux_peak_mjy_beam" if "flux_peak_mjy_beam" in numbers else "flux_int_mjy"
    missing = np.isnan(peak) & np.isnan(integrated)
    faults.add(missing, _named(catalog, either), numbers[either], "the flux density is missing", False)
    for ours, values in (("flux_peak_mjy_beam", peak), ("flux_int_mjy", integrated)):
        faults.add(values == 0, _named(catalog, ours), values, "a flux density of zero is no detection", False)


def _check_position_errors(
    catalog: DeliveredCatalog, image: Field, parameters: Ingest, faults: Faults, detected: Flags
) -> None:
    """A position that is known worse than the beam would found a source anywhere."""
    limit = parameters.max_position_err_arcsec
    reason = (
        f"the position error is larger than {f'the beam ({image.bmaj_arcsec:.4g} arcsec)' if limit is None else limit}"
        f"{'' if limit is None else ' arcsec (ingest.max_position_err_arcsec)'}: the position is not known"
    )
    for ours in ("ra_err_arcsec", "dec_err_arcsec"):
        values = catalog.rows.numbers.get(ours)
        if values is not None:
            above = values > (image.bmaj_arcsec if limit is None else limit)
            if above.any():
                faults.add(detected & above, _named(catalog, ours), values, reason, False)


def _check_axes(catalog: DeliveredCatalog, image: Field, parameters: Ingest, faults: Faults, detected: Flags) -> None:
    fraction = parameters.min_axis_beam_fraction
    for ours, beam in (("bmaj_arcsec", image.bmaj_arcsec), ("bmin_arcsec", image.bmin_arcsec)):
        values = catalog.rows.numbers.get(ours)
        if values is None:
            continue
        name = _named(catalog, ours)
        faults.add(detected & (values <= 0), name, values, "the fitted axis is not positive: the fit failed", False)
        reason = f"the fitted axis is narrower than {fraction:.3g} of the beam ({beam:.4g} arcsec)"
        faults.add(detected & (values <= fraction * beam), name, values, reason, False)


def _check_ranges(catalog: DeliveredCatalog, faults: Faults) -> None:
    for ours, values in catalog.rows.numbers.items():
        if ours.startswith("_") or ours in ("ra_deg", "dec_deg"):
            continue
        column = DETECTIONS[ours]
        if column.type == INT:
            wrong = (np.abs(values) > MAX_INTEGER) | (np.isfinite(values) & (values != np.trunc(values)))
            faults.add(wrong, _named(catalog, ours), values, "not allowed: an integer is needed, at most 2^53", False)
        if column.minimum is not None:
            faults.add(values < column.minimum, _named(catalog, ours), values, f"not allowed: {column.allowed}", False)
