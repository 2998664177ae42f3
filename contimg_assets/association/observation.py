"""One epoch's measurements as the arrays the fold computes with: checked, and sorted by id."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.errors import InputError
from contimg_assets.identity.ids import hashes_of
from contimg_assets.sky.arrays import Floats, Hashes, Indices
from contimg_assets.sky.sphere import unit_vectors

NUMBERS = ("ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec")
REQUIRED = ("measurement_id", "epoch", *NUMBERS)
_SHOWN = 5


@dataclass(frozen=True)
class Observation:
    """Measurements of one epoch, shape (n,), sorted by id, so that no result depends on the order of the rows.

    ``row`` is the row of the given table, ``image`` an index into ``image_names`` (sorted), ``snr`` and ``ln_flux``
    (of the peak flux density in mJy/beam) NaN where unknown.
    """

    row: Indices
    measurement: Hashes
    ra_deg: Floats
    dec_deg: Floats
    vectors: Floats
    sigma_ew: Floats
    sigma_ns: Floats
    snr: Floats
    ln_flux: Floats
    image: Indices
    image_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row)

    def part(self, rows: Indices) -> Observation:
        """Some of the measurements, ascending."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays: dict[str, Any] = {name: each[rows] for name, each in columns.items() if isinstance(each, np.ndarray)}
        return replace(self, **arrays)

    @classmethod
    def of(cls, table: pd.DataFrame) -> Observation:
        """Check and sort.

        Raises
        ------
        InputError
            If a column is missing, a position or error is not usable, or an id comes twice; it names the rows.
        """
        missing = [name for name in REQUIRED if name not in table.columns]
        if missing:
            raise InputError(f"measurements lack the column(s) {', '.join(missing)}: needed are {', '.join(REQUIRED)}")
        if table["measurement_id"].isna().any():
            rows = np.flatnonzero(table["measurement_id"].isna())
            raise InputError(f"measurement_id is missing in row(s) {_some(rows)}: every measurement needs an id")
        measurement = hashes_of(table["measurement_id"])
        row = np.argsort(measurement, kind="stable")
        measurement = measurement[row]
        repeated = measurement[1:] == measurement[:-1]
        if repeated.any():
            ids = table["measurement_id"].iloc[row[1:][repeated]]
            raise InputError(f"measurement_id comes more than once: {_some(ids)}; give every measurement its own id")
        numbers = {name: _numbers(table, name) for name in NUMBERS}
        _check(table, numbers)
        ra, dec, sigma_ew, sigma_ns = (values[row] for values in numbers.values())
        ra = np.where(ra == 360.0, 0.0, ra)
        if "image" in table.columns and len(table):
            codes, names = pd.factorize(table["image"], sort=True)
            image, image_names = codes.astype(np.intp)[row], tuple(str(name) for name in names)
        else:
            image, image_names = np.zeros(len(row), np.intp), ("",)
        snr, flux = (
            _numbers(table, name)[row] if name in table.columns else np.full(len(row), np.nan)
            for name in ("snr", "flux_peak_mjy_beam")
        )
        ln_flux = np.full(len(row), np.nan)
        np.log(flux, where=flux > 0, out=ln_flux)
        return cls(
            row, measurement, ra, dec, unit_vectors(ra, dec), sigma_ew, sigma_ns, snr, ln_flux, image, image_names
        )


def _numbers(table: pd.DataFrame, name: str) -> Floats:
    if table[name].dtype == np.float64:
        return np.ascontiguousarray(table[name].to_numpy())
    try:
        return np.ascontiguousarray(pd.to_numeric(table[name]).to_numpy(dtype=float, na_value=np.nan))
    except (ValueError, TypeError) as error:
        raise InputError(f"measurements: column {name} is not numbers: {error}") from error


def _check(table: pd.DataFrame, numbers: dict[str, Floats]) -> None:
    allowed = {
        "ra_deg": "0 <= ra_deg <= 360",
        "dec_deg": "-90 <= dec_deg <= 90",
        "uncertainty_ew_arcsec": "positive and finite",
        "uncertainty_ns_arcsec": "positive and finite",
    }
    for name, values in numbers.items():
        if name == "ra_deg":
            good = (values >= 0.0) & (values <= 360.0)
        elif name == "dec_deg":
            good = np.abs(values) <= 90.0
        else:
            # As weights they must be usable too.
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                good = (values > 0.0) & np.isfinite(values**2) & np.isfinite(1.0 / values**2)
        if not good.all():
            rows = np.flatnonzero(~good)
            ids = table["measurement_id"].iloc[rows]
            raise InputError(
                f"measurements: {name} is not usable ({allowed[name]}) in row(s) {_some(rows)}, "
                f"measurement_id {_some(ids)}, first value {values[rows[0]]!r}: drop these rows or mend their source"
            )


def _some(values: npt.ArrayLike) -> str:
    values = list(np.asarray(values))
    return ", ".join(str(value) for value in values[:_SHOWN]) + (
        f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    )
