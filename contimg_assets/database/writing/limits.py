"""Upper limits: where a source was covered and not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.crossmatch.cells import index_cells
from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Hashes
from contimg_assets.database.light_curves import StoredEpochs
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.epochs import ASSOCIATION_KEY
from contimg_assets.database.writing.statistics import Recomputed
from contimg_assets.identity import hash_text, mix, to_hex
from contimg_assets.variability.coverage import Coverage
from contimg_assets.variability.new_sources import ImageKey, uncovered_detections


def update_limits(
    connection: Connection,
    epochs: StoredEpochs,
    recomputed: Recomputed | None,
    before: pd.DataFrame,
    vanished: Hashes,
    images: pd.DataFrame,
    coverage: Mapping[ImageKey, Coverage],
    written: Sequence[str],
    parameters: Variability,
    all_again: bool,
) -> None:
    """Bring the upper limits up to date; adds `n_limits` to the table.

    Whether an epoch covered a source is judged where it was first detected. So limits of epochs that did not change are
    looked at again only for sources that are new or were first detected elsewhere than before.
    """
    table = recomputed.sources if recomputed else None
    old = _read_limits(connection)
    limits = dict(old)
    source = table["id"].to_numpy() if table is not None else NO_HASHES
    fresh = np.ones(len(source), dtype=bool)
    if table is not None and not all_again and len(before):
        at = np.minimum(np.searchsorted(before["id"].to_numpy(), source), len(before) - 1)
        fresh = ~(
            (before["id"].to_numpy()[at] == source)
            & (before["first_ra_deg"].to_numpy()[at] == table["first_ra_deg"].to_numpy())
            & (before["first_dec_deg"].to_numpy()[at] == table["first_dec_deg"].to_numpy())
        )
    again = np.union1d(source[fresh], vanished)
    _delete_limits(connection, limits, again)

    if recomputed is not None and table is not None and parameters.upper_limits and len(images):
        first = table[["first_ra_deg", "first_dec_deg"]].set_axis(["ra_deg", "dec_deg"], axis=1)
        others = [name for name in epochs.names if name not in set(written)]
        parts = []
        for rows, visits in ((np.arange(len(table)), list(written)), (np.flatnonzero(fresh), others)):
            columns = [epochs.names.index(name) for name in visits]
            seen = recomputed.seen[rows[:, None], columns]
            part = uncovered_detections(first.iloc[rows], images, seen, visits, coverage)
            part["source"] = rows[part["source"].to_numpy(dtype=np.intp)]
            parts.append(part)
        found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        found = _insert_limits(connection, found, table, images, parameters)
        for name, chosen in found.groupby("epoch", sort=False):
            limits[str(name)] = np.union1d(limits[str(name)], chosen["hash"].to_numpy())
    stored = TABLES["epoch_limits"]
    for name, present in limits.items():
        if not np.array_equal(present, old[name]):
            data = np.ascontiguousarray(present, dtype="<u8").tobytes()
            connection.execute(sa.update(stored).where(stored.c.epoch == name).values(sources=data))
    if table is not None:
        everything = np.concatenate([NO_HASHES, *limits.values()])
        counted, count = np.unique(everything, return_counts=True)
        table["n_limits"] = pd.Series(count, index=counted).reindex(source, fill_value=0).to_numpy(dtype=np.int64)


def _read_limits(connection: Connection) -> dict[str, Hashes]:
    """Hashes of the sources that have a limit in each epoch."""
    table = TABLES["epoch_limits"]
    rows = connection.execute(sa.select(table.c.epoch, table.c.sources)).all()
    return {row.epoch: np.frombuffer(row.sources, dtype="<u8") for row in rows}


def _limit_ids(source: Hashes, epoch: npt.NDArray) -> npt.NDArray:
    """Ids of the upper limits of sources in epochs."""
    return to_hex(mix(mix(hash_text(["upper limit"])[0], source), hash_text(epoch)))


def _delete_limits(connection: Connection, limits: dict[str, Hashes], sources: Hashes) -> None:
    """Remove the limits of some sources in all epochs that have them."""
    if not len(sources):
        return
    for name, present in limits.items():
        gone = np.intersect1d(present, sources)
        if not len(gone):
            continue
        rows = [(name, i) for i in _limit_ids(gone, np.full(len(gone), name, dtype=object))]
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        for table in ("associations", "measurements"):
            connection.exec_driver_sql(
                f"DELETE FROM {table} WHERE epoch = {mark} AND measurement_id = {mark}",  # noqa: S608
                rows,
            )
        limits[name] = np.setdiff1d(present, gone)


def _insert_limits(
    connection: Connection, found: pd.DataFrame, table: pd.DataFrame, images: pd.DataFrame, parameters: Variability
) -> pd.DataFrame:
    """Limits as rows of `measurements`: no flux, only the limit. Adds the sources' hashes to the frame."""
    source = found["source"].to_numpy(dtype=np.intp)
    found = found.assign(
        hash=table["id"].to_numpy()[source],
        measurement_id=_limit_ids(table["id"].to_numpy()[source], found["epoch"].to_numpy(dtype=object)),
    )
    ra, dec = table["first_ra_deg"].to_numpy()[source], table["first_dec_deg"].to_numpy()[source]
    rows = pd.DataFrame(
        {
            "epoch": found["epoch"],
            "measurement_id": found["measurement_id"],
            "image": found["image"],
            "mjd": images["mjd"].to_numpy()[found["image_row"].to_numpy(dtype=np.intp)],
            "ra_deg": ra,
            "dec_deg": dec,
            "healpix": index_cells(ra, dec),
            "forced": False,
            "is_limit": True,
            "upper_limit_mjy_beam": parameters.upper_limit_sigma * found["rms_mjy_beam"].to_numpy(dtype=float),
        }
    )
    bulk.insert(connection, TABLES["measurements"], rows.sort_values(["epoch", "measurement_id"]))
    members = pd.DataFrame(
        {
            "source_id": to_hex(found["hash"].to_numpy()),
            "measurement_id": found["measurement_id"],
            "epoch": found["epoch"],
            "copied": False,
        }
    )
    bulk.insert(connection, TABLES["associations"], members.sort_values(ASSOCIATION_KEY))
    return found
