"""Points of light curves packed column by column, one block an epoch, inside the database.

Statistics of a source need all its points; a million rows of SQL take seconds to become arrays, a hundred blocks a
tenth of one. A block is written in the transaction that writes the rows it repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.identity.ids import from_hex
from contimg_assets.ingest.bands import bands_mhz
from contimg_assets.sky.arrays import Cells, Floats, Indices, Integers
from contimg_assets.sky.cells import coarser, healpix_29
from contimg_assets.sky.sphere import unit_vectors
from contimg_assets.variability.error_model import in_image_radii
from contimg_assets.variability.segments import LightCurves, places

Hashes = npt.NDArray[np.uint64]
Points = dict[str, npt.NDArray[Any]]
"""Column -> values, one a point: the columns of `Block.points`."""

NO_HASHES: Hashes = np.empty(0, dtype=np.uint64)
CELL_ORDER = 6
"""Order of the HEALPix cells by which epochs are told to be near or far: their neighbors hold 18 arcmin about them."""
COPIED = pa.schema([("source", pa.uint64()), ("measurement", pa.uint64()), ("epoch", pa.string())])

# Light-curve column -> column of CORRECTED_MEASUREMENTS.
_VALUES = {
    "mjd": "mjd",
    "flux_peak": "flux_peak_corr_mjy_beam",
    "flux_peak_err": "flux_peak_err_corr_mjy_beam",
    "flux_int": "flux_int_corr_mjy",
    "flux_int_err": "flux_int_err_corr_mjy",
    "flux_scale_err": "flux_scale_err",
    "flux_tie_err": "flux_tie_err",
    "snr": "snr",
    "compactness": "compactness",
    "flux_peak_isl_ratio": "flux_peak_isl_ratio",
    "flux_int_isl_ratio": "flux_int_isl_ratio",
}
# Light-curve column -> column of IMAGE_CONFIGURATIONS.
_OF_IMAGES = {
    "configuration": "configuration",
    "systematic_ew": "systematic_ew_arcsec",
    "systematic_ns": "systematic_ns_arcsec",
}
_FLAGS = {"forced": "forced", "siblings": "has_siblings", "trusted": "trusted"}
BLOCK_VERSION = "3"
"""Raised where blocks have more columns, or others: epochs with blocks of before are then written again."""
# Light-curve columns that blocks of earlier versions lack, and what their points are taken to have until then.
_ADDED = {
    "trusted": np.uint8(1),
    "radius": np.float64(np.nan),
    "configuration": np.int64(0),
    "noise_ew": np.float32(1.0),
    "noise_ns": np.float32(1.0),
    "flux_tie_err": np.float64(0.0),
    "systematic_ew": np.float32(np.nan),
    "systematic_ns": np.float32(np.nan),
}
# Columns that only they have.
_DROPPED = {"noise_share"}


@dataclass(frozen=True)
class Block:
    """One epoch's points, and those that forks copied from earlier epochs.

    Attributes
    ----------
    points : source and measurement (uint64), unit vector x y z, weights w_ew w_ns [arcsec^-2], the shares noise_ew
        noise_ns that noise has of these variances, systematic_ew systematic_ns of the image [arcsec], fluxes
        [mJy/beam, mJy], band [MHz], ...; one row an association, sorted by source, measurement
    copied : source, measurement (uint64), epoch
    """

    points: pa.Table
    copied: pa.Table

    @property
    def places(self) -> tuple[Floats, Floats]:
        """ra_deg, dec_deg of the points."""
        x, y, z = (self.points.column(axis).to_numpy() for axis in "xyz")
        return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))

    @property
    def cells(self) -> Cells:
        """Cells of order `CELL_ORDER` that hold points, ascending."""
        return np.unique(coarser(healpix_29(*self.places), CELL_ORDER))


def make_block(
    images: pa.Table,
    measurements: pa.Table,
    associations: pa.Table,
    configurations: pa.Table | None = None,
    band_mhz: Integers | None = None,
) -> Block:
    """Pack one epoch. Duplicates take no part in light curves, even if they were associated.

    Parameters
    ----------
    images, measurements, associations : tables of IMAGES, CORRECTED_MEASUREMENTS and ASSOCIATIONS
    configurations : table of IMAGE_CONFIGURATIONS; images that it does not name have configuration 0, and positions of
        which nothing was measured
    band_mhz : band of each image [MHz]; by the frequency alone if not given
    """
    kept = measurements.filter(pc.is_null(measurements["duplicate_of"]))
    own = associations.filter(pc.invert(associations["copied"]))
    source, measurement = from_hex(own["source_id"].to_numpy()), from_hex(own["measurement_id"].to_numpy())
    row, known = _rows_of(measurement, from_hex(kept["measurement_id"].to_numpy()))
    source, measurement, row = source[known], measurement[known], row[known]
    order = np.lexsort((measurement, source))
    source, measurement, row = source[order], measurement[order], row[order]
    image = pc.index_in(kept["image"], images["image"]).to_numpy(zero_copy_only=False)[row]
    columns = {"source": source, "measurement": measurement, **_columns(images, image, kept, row)}
    distance = np.asarray(kept["dist_from_centre_deg"].to_numpy(), dtype=np.float64)[row]
    columns |= _error_columns(images, image, distance, configurations)
    bands = bands_mhz(images["freq_mhz"].to_numpy()) if band_mhz is None else band_mhz
    columns["band"] = bands[image] if len(image) else np.empty(0, np.int64)
    copied = associations.filter(associations["copied"])
    copies = {
        "source": from_hex(copied["source_id"].to_numpy()),
        "measurement": from_hex(copied["measurement_id"].to_numpy()),
        "epoch": copied["epoch"],
    }
    return Block(
        pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()}),
        pa.table(copies),
    )


def _rows_of(wanted: Hashes, keys: Hashes) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Row of each wanted hash among keys in any order, and whether it is there."""
    order = np.argsort(keys)
    at, found = places(wanted, keys[order])
    return (order[at] if len(keys) else at), found


def _columns(images: pa.Table, image: Indices, measurements: pa.Table, rows: Indices) -> Points:
    """What light curves need of some measurements and their images; ``image``: the row of each one's."""

    def take(name: str) -> Floats:
        return np.asarray(np.asarray(measurements[name].to_numpy(), dtype=np.float64)[rows])

    def take_image(name: str) -> Floats:
        return np.asarray(images[name].to_numpy()[image]) if len(image) else np.empty(0)

    vectors = unit_vectors(take("ra_corr_deg"), take("dec_corr_deg"))
    weights = {axis: take(f"uncertainty_{axis}_corr_arcsec") ** -2.0 for axis in ("ew", "ns")}
    of_noise = {axis: take(f"{name}_err_arcsec") ** 2 * weights[axis] for axis, name in (("ew", "ra"), ("ns", "dec"))}
    return {
        **{axis: vectors[:, i] for i, axis in enumerate("xyz")},
        "freq_mhz": take_image("freq_mhz"),
        "beam_arcsec": take_image("bmaj_arcsec"),
        **{f"w_{axis}": weight for axis, weight in weights.items()},
        # What the finder's fit does not know is systematic, or of the image: it does not depend on the signal to noise.
        **{f"noise_{axis}": np.where(np.isfinite(one), one, 1.0).astype(np.float32) for axis, one in of_noise.items()},
        **{name: take(column) for name, column in _VALUES.items()},
        **{name: take(column).astype(np.uint8) for name, column in _FLAGS.items()},
    }


def _error_columns(images: pa.Table, image: Indices, distance_deg: Floats, configurations: pa.Table | None) -> Points:
    """What errors depend on: distance from the image's center in its radii, and what was measured of the image.

    Parameters
    ----------
    image : row of the image of each measurement, shape (n,)
    distance_deg : of each from the center of its image, shape (n,)
    """
    field = np.asarray(images["radius_deg"].to_numpy(), dtype=np.float64)
    of_image = {name: np.full(len(field), _ADDED[name]) for name in _OF_IMAGES}
    if configurations is not None and configurations.num_rows:
        at = pc.index_in(images["image"], configurations["image"]).fill_null(-1).to_numpy(zero_copy_only=False)
        for name, column in _OF_IMAGES.items():
            values = configurations[column].to_numpy(zero_copy_only=False)
            of_image[name][at >= 0] = values[at[at >= 0]]
    columns = {"radius": in_image_radii(distance_deg, field[image]) if len(image) else np.empty(0)}
    return columns | {name: values[image] if len(image) else values[:0] for name, values in of_image.items()}


def pack(table: pa.Table, compression: str | None = None) -> bytes:
    """A table as bytes, Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table.combine_chunks())
    return bytes(sink.getvalue().to_pybytes())


def unpack(data: bytes) -> pa.Table:
    """The inverse of `pack`, without a copy."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        return stream.read_all()


@dataclass(frozen=True)
class EpochPoints:
    """One epoch's points of some sources as arrays.

    Attributes
    ----------
    own : sorted by source
    copies : what forks have of the epoch's measurements, in any order
    """

    own: Points
    copies: Points

    def __len__(self) -> int:
        return len(self.own["source"]) if self.own else 0

    def of(self, wanted: Hashes) -> Iterable[Points]:
        """The points of the wanted sources, which are ascending: own ones, then copies."""
        if not self.own:
            return
        source = self.own["source"]
        start, stop = np.searchsorted(source, wanted[0]), np.searchsorted(source, wanted[-1], side="right")
        chosen: slice | Indices = slice(int(start), int(stop))
        member = places(source[chosen], wanted)[1]
        if not member.all():
            chosen = start + np.flatnonzero(member)
        yield {name: values[chosen] for name, values in self.own.items()}
        if len(self.copies["source"]):
            copied = places(self.copies["source"], wanted)[1]
            yield {name: values[copied] for name, values in self.copies.items()}


FAR = EpochPoints({}, {})
"""An epoch that has no points of the wanted sources, and was not read."""


def epoch_points(block: pa.Table, copied: pa.Table, within: tuple[np.uint64, np.uint64] | None = None) -> EpochPoints:
    """The points of one epoch.

    Parameters
    ----------
    block : `Block.points` of the epoch
    copied : source, measurement: what forks of any epoch copied from this one
    within : only sources from the first to the second hash, inclusive; all if not given
    """
    points = {name: block[name].to_numpy() for name in block.column_names if name not in _DROPPED}
    points |= {name: np.full(block.num_rows, value) for name, value in _ADDED.items() if name not in points}
    points["band"] = band_of_points(block)
    source, measurement = copied["source"].to_numpy(), copied["measurement"].to_numpy()
    if within is not None:
        chosen = (source >= within[0]) & (source <= within[1])
        source, measurement = source[chosen], measurement[chosen]
    # Looked up in the whole block: the source that was copied from may lie outside the range.
    row, found = _rows_of(measurement, points["measurement"]) if len(source) else (np.empty(0, np.intp), source == 0)
    copies = {name: values[row[found]] for name, values in points.items()} | {"source": source[found]}
    if within is not None:
        start, stop = (
            np.searchsorted(points["source"], within[0]),
            np.searchsorted(points["source"], within[1], "right"),
        )
        # A copy lets go of the rest of the block.
        points = {name: values[start:stop].copy() for name, values in points.items()}
    return EpochPoints(points, copies)


def band_of_points(block: pa.Table) -> Integers:
    """Band of each point of a block [MHz]; of blocks of before there were bands, by the frequency alone."""
    if "band" in block.column_names:
        return np.asarray(block["band"].to_numpy(), np.int64)
    return bands_mhz(block["freq_mhz"].to_numpy())


def light_curves(points: Sequence[EpochPoints], wanted: Hashes) -> LightCurves | None:
    """The light curves of the wanted sources; None if they have no points.

    Parameters
    ----------
    points : of each epoch, in the order of observation
    wanted : ascending hashes of sources

    Returns
    -------
    The columns of the blocks, and `epoch`: index into the epochs
    """
    if not len(wanted) or not len(points):
        return None
    pieces = [(index, piece) for index, here in enumerate(points) for piece in here.of(wanted)]
    if not pieces:
        return None
    rows = {name: np.concatenate([piece[name] for _, piece in pieces]) for name in pieces[0][1]}
    rows["epoch"] = np.concatenate([np.full(len(piece["source"]), index, np.int32) for index, piece in pieces])
    if not len(rows["source"]):
        return None
    for name in _FLAGS:
        rows[name] = rows[name].astype(bool)
    return LightCurves.from_rows(rows.pop("source"), rows)
