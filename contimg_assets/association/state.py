"""What the fold knows of each source between two epochs: position, weights, and a hash of its history."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy

from contimg_assets.identity.ids import hashes_of, text_of, to_hex_text
from contimg_assets.schemas.association import STATE
from contimg_assets.sky.arrays import Floats, Hashes, Indices, Integers, Values
from contimg_assets.sky.sphere import tree_of, unit_vectors


@dataclass(frozen=True)
class FoldState:
    """All sources known after an epoch, sorted by id. Immutable; equal content means equal tables and versions.

    Attributes
    ----------
    source : ndarray of uint64, shape (n,)
        Ids as numbers, ascending.
    ra_deg, dec_deg : ndarray of float, shape (n,)
        Weighted mean position of the measurements so far, ICRS degrees.
    weight_ew, weight_ns : ndarray of float, shape (n,)
        Sums of 1 / sigma^2 of the measurements so far, arcsec^-2.
    ln_flux : ndarray of float, shape (n,)
        Mean ln of their peak flux densities in mJy/beam, blends left out; NaN where unknown.
    n_measurements : ndarray of int, shape (n,)
        How many they are.
    history : ndarray of uint64, shape (n,)
        Hash of the source's associations so far, in time order.
    twin : ndarray of uint64, shape (n,)
        An older source within half a beam that was never seen together with this one in one image; 0 for none.
    """

    source: Hashes
    ra_deg: Floats
    dec_deg: Floats
    weight_ew: Floats
    weight_ns: Floats
    ln_flux: Floats
    n_measurements: Integers
    history: Hashes
    twin: Hashes

    @classmethod
    def empty(cls) -> FoldState:
        """The state before the first epoch."""
        ids, floats = np.empty(0, np.uint64), np.empty(0)
        return cls(ids, floats, floats, floats, floats, floats, np.empty(0, np.int64), ids, ids)

    @classmethod
    def from_table(cls, table: pa.Table) -> FoldState:
        """The state that `to_table` wrote."""
        STATE.check(table)

        def numbers(name: str) -> Values:
            return np.ascontiguousarray(table.column(name).to_numpy())

        return cls(
            hashes_of(table.column("source_id").to_pandas()),
            numbers("ra_deg"),
            numbers("dec_deg"),
            numbers("weight_ew_per_arcsec2"),
            numbers("weight_ns_per_arcsec2"),
            numbers("ln_flux_peak"),
            numbers("n_measurements"),
            numbers("history_hash").view(np.uint64),
            numbers("twin_hash").view(np.uint64),
        )

    def to_table(self) -> pa.Table:
        """Table of schema STATE; equal states give equal tables."""
        return pa.Table.from_arrays(
            [
                to_hex_text(self.source),
                pa.array(self.ra_deg),
                pa.array(self.dec_deg),
                pa.array(self.weight_ew),
                pa.array(self.weight_ns),
                pa.array(self.ln_flux, from_pandas=True),
                pa.array(self.n_measurements),
                pa.array(self.history.view(np.int64)),
                pa.array(self.twin.view(np.int64)),
            ],
            schema=STATE.arrow,
        )

    def __len__(self) -> int:
        return len(self.source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FoldState) and self.version == other.version

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def vectors(self) -> Floats:
        """Unit vectors of the positions, shape (n, 3)."""
        return unit_vectors(self.ra_deg, self.dec_deg)

    @cached_property
    def tree(self) -> scipy.spatial.cKDTree:
        """Tree of the unit vectors."""
        return tree_of(self.vectors)

    @property
    def sigma_ew_arcsec(self) -> Floats:
        """1-sigma errors of the mean positions east."""
        return 1.0 / np.sqrt(self.weight_ew)

    @property
    def sigma_ns_arcsec(self) -> Floats:
        """1-sigma errors of the mean positions north."""
        return 1.0 / np.sqrt(self.weight_ns)

    @cached_property
    def version(self) -> str:
        """Hash of the content: equal exactly when all that later epochs depend on is equal."""
        digest = hashlib.blake2b(digest_size=8)
        for values in self.arrays:
            digest.update(np.ascontiguousarray(values).view(np.uint8).tobytes())
        return digest.hexdigest()

    @property
    def arrays(self) -> tuple[Values, ...]:
        """The columns, in the order of the fields."""
        return (
            self.source,
            self.ra_deg,
            self.dec_deg,
            self.weight_ew,
            self.weight_ns,
            self.ln_flux,
            self.n_measurements,
            self.history,
            self.twin,
        )

    def sources(self) -> pd.DataFrame:
        """The sources for people: source_id, position, its errors, number of measurements."""
        return pd.DataFrame(
            {
                "source_id": text_of(self.source),
                "ra_deg": self.ra_deg,
                "dec_deg": self.dec_deg,
                "uncertainty_ew_arcsec": self.sigma_ew_arcsec,
                "uncertainty_ns_arcsec": self.sigma_ns_arcsec,
                "n_measurements": self.n_measurements,
            }
        )

    def near(self, low: Floats, high: Floats) -> Indices:
        """Indices of the sources inside a box of unit vectors, ascending."""
        if (low > high).any():
            return np.empty(0, np.intp)
        south, north = np.degrees(np.arcsin(np.clip([low[2], high[2]], -1.0, 1.0)))
        # A thin strip of declination first: no sine or cosine is taken of the rest of the sky.
        band = np.flatnonzero((self.dec_deg >= south - 1e-6) & (self.dec_deg <= north + 1e-6))
        vectors = self.vectors if len(band) == len(self) else unit_vectors(self.ra_deg[band], self.dec_deg[band])
        inside = np.ones(len(band), bool)
        for axis in range(3):
            inside &= (vectors[:, axis] >= low[axis]) & (vectors[:, axis] <= high[axis])
        return band[inside]

    def part(self, index: Indices) -> FoldState:
        """Some of the sources."""
        return self if len(index) == len(self) else FoldState(*(values[index] for values in self.arrays))

    def after(self, index: Indices, rows: FoldState, added: FoldState) -> FoldState:
        """The state with other rows for the sources at ``index``, in the same order, and with new sources."""
        arrays = rows.arrays
        if len(index) < len(self):
            arrays = tuple(values.copy() for values in self.arrays)
            for values, new in zip(arrays, rows.arrays, strict=True):
                values[index] = new
        if not len(added):
            return FoldState(*arrays)
        order = np.argsort(added.source)
        place = np.searchsorted(arrays[0], added.source[order])
        merged = (np.insert(old, place, new[order]) for old, new in zip(arrays, added.arrays, strict=True))
        return FoldState(*merged)
