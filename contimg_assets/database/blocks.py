"""Points of light curves packed column by column, one block an epoch, inside the database.

Statistics of a source need all its points; a million rows of SQL take seconds to become arrays, a hundred blocks a
tenth of one. A block is written in the transaction that writes the rows it repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.crossmatch.sphere import unit_vectors
from contimg_assets.identity import from_hex
from contimg_assets.variability.segments import LightCurves

# Light-curve column -> column of CORRECTED_MEASUREMENTS.
_VALUES = {
    "mjd": "mjd",
    "flux_peak": "flux_peak_corr_mjy_beam",
    "flux_peak_err": "flux_peak_err_corr_mjy_beam",
    "flux_int": "flux_int_corr_mjy",
    "flux_int_err": "flux_int_err_corr_mjy",
    "flux_scale_err": "flux_scale_err",
    "snr": "snr",
    "compactness": "compactness",
    "flux_peak_isl_ratio": "flux_peak_isl_ratio",
    "flux_int_isl_ratio": "flux_int_isl_ratio",
}
_FLAGS = {"forced": "forced", "siblings": "has_siblings"}


@dataclass(frozen=True)
class Block:
    """One epoch's points, and those that forks copied from earlier epochs.

    Attributes
    ----------
    points : source and measurement (uint64), unit vector x y z, weights w_ew w_ns [arcsec^-2], fluxes [mJy/beam, mJy],
        ...; one row an association, sorted by source, measurement
    copied : source, measurement (uint64), epoch
    """

    points: pa.Table
    copied: pa.Table

    @property
    def sources(self) -> npt.NDArray[np.uint64]:
        """Hashes of the sources that have points here, ascending."""
        both = (self.points.column("source").to_numpy(), self.copied.column("source").to_numpy())
        return np.unique(np.concatenate(both))


def make_block(images: pa.Table, measurements: pa.Table, associations: pa.Table) -> Block:
    """Pack one epoch. Duplicates take no part in light curves, even if they were associated."""
    kept = measurements.filter(pc.is_null(measurements["duplicate_of"]))
    ids = from_hex(kept["measurement_id"].to_numpy())
    order = np.argsort(ids)
    own = associations.filter(pc.invert(associations["copied"]))
    copied = associations.filter(associations["copied"])
    source, measurement = from_hex(own["source_id"].to_numpy()), from_hex(own["measurement_id"].to_numpy())
    at = np.searchsorted(ids, measurement, sorter=order)
    row = order[np.minimum(at, max(len(ids) - 1, 0))] if len(ids) else np.zeros(len(measurement), np.intp)
    known = (ids[row] == measurement) if len(ids) else np.zeros(len(measurement), dtype=bool)
    source, measurement, row = source[known], measurement[known], row[known]
    by_source = np.lexsort((measurement, source))
    source, measurement, row = source[by_source], measurement[by_source], row[by_source]

    def take(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(kept[name].to_numpy(), dtype=np.float64)[row]

    image_of = pc.index_in(kept["image"], images["image"]).to_numpy(zero_copy_only=False)[row]

    def take_image(name: str) -> npt.NDArray[np.float64]:
        return images[name].to_numpy()[image_of] if len(image_of) else np.empty(0)

    vectors = unit_vectors(take("ra_corr_deg"), take("dec_corr_deg"))
    columns: dict[str, npt.NDArray] = {
        "source": source,
        "measurement": measurement,
        "x": vectors[:, 0],
        "y": vectors[:, 1],
        "z": vectors[:, 2],
        "freq_mhz": take_image("freq_mhz"),
        "beam_arcsec": take_image("bmaj_arcsec"),
        "w_ew": take("uncertainty_ew_corr_arcsec") ** -2.0,
        "w_ns": take("uncertainty_ns_corr_arcsec") ** -2.0,
        **{name: take(column) for name, column in _VALUES.items()},
        **{name: take(column).astype(np.uint8) for name, column in _FLAGS.items()},
    }
    return Block(
        pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()}),
        pa.table(
            {
                "source": from_hex(copied["source_id"].to_numpy()),
                "measurement": from_hex(copied["measurement_id"].to_numpy()),
                "epoch": copied["epoch"],
            }
        ),
    )


def pack(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def unpack(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        return stream.read_all()


Points = dict[str, npt.NDArray]


def as_points(table: pa.Table, low: np.uint64 | None = None, high: np.uint64 | None = None) -> Points:
    """The columns of a block as arrays; only sources from low to high (inclusive), where given."""
    points = {name: table[name].to_numpy() for name in table.column_names}
    if low is None or high is None:
        return points
    source = points["source"]
    part = slice(np.searchsorted(source, low), np.searchsorted(source, high, side="right"))
    # A copy lets go of the rest of the block.
    return {name: values[part].copy() for name, values in points.items()}


def light_curves(
    epochs: Sequence[str], points: Sequence[Points], copied: pa.Table, wanted: npt.NDArray[np.uint64]
) -> LightCurves | None:
    """The light curves of the wanted sources; None if they have no points.

    Parameters
    ----------
    epochs : names, in the order of observation
    points : of each epoch, sorted by source
    copied : the copied points of all epochs
    wanted : ascending hashes of sources

    Returns
    -------
    The columns of the blocks, and `epoch`: index into epochs
    """
    if not len(wanted) or not len(epochs):
        return None
    columns: dict[str, list[npt.NDArray]] = {name: [] for name in (*points[0], "epoch")}
    if copied.num_rows:
        copied = copied.filter(pa.array(np.isin(copied["source"].to_numpy(), wanted)))
    for index, here in enumerate(points):
        source = here["source"]
        part = slice(*np.searchsorted(source, wanted[[0, -1]] + np.array([0, 1], np.uint64)))
        if wanted[-1] == np.iinfo(np.uint64).max:
            part = slice(part.start, len(source))
        chosen: slice | npt.NDArray = part
        mask = _member(source[part], wanted)
        if not mask.all():
            chosen = part.start + np.flatnonzero(mask)
        pieces = [{name: values[chosen] for name, values in here.items()}]
        if copied.num_rows:
            pieces.append(_copies(here, copied.filter(pc.equal(copied["epoch"], epochs[index]))))
        for piece in pieces:
            for name, values in piece.items():
                columns[name].append(values)
            columns["epoch"].append(np.full(len(piece["source"]), index, np.int32))
    rows = {name: np.concatenate(pieces) for name, pieces in columns.items()}
    if not len(rows["source"]):
        return None
    for name in _FLAGS:
        rows[name] = rows[name].astype(bool)
    return LightCurves.from_rows(rows.pop("source"), rows)


def _member(values: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Whether each of the ascending values is among the ascending wanted ones."""
    if not len(wanted):
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(wanted, values)
    return wanted[np.minimum(at, len(wanted) - 1)] == values


def _copies(points: Points, copied: pa.Table) -> Points:
    """Points of an epoch under the names of the forks that copied them."""
    own, measurement = points["measurement"], copied["measurement"].to_numpy()
    if not len(own):
        return points
    order = np.argsort(own)
    row = order[np.minimum(np.searchsorted(own, measurement, sorter=order), len(own) - 1)]
    found = own[row] == measurement
    taken = {name: values[row[found]] for name, values in points.items()}
    taken["source"] = copied["source"].to_numpy()[found]
    return taken
