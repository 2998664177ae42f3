"""Upper limits: where a source was covered and not measured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Hashes, band_of_points
from contimg_assets.database.light_curves import StoredEpochs, read_block
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.epochs import ASSOCIATION_KEY
from contimg_assets.database.writing.sources import counts_of
from contimg_assets.database.writing.statistics import Recomputed
from contimg_assets.database.writing.stored import Observed, trusted_images
from contimg_assets.identity.ids import hash_text, mix, to_hex
from contimg_assets.ingest.bands import band_names, mhz_of_names
from contimg_assets.sky.arrays import Integers
from contimg_assets.sky.cells import index_cells
from contimg_assets.variability.finder import flux_limits
from contimg_assets.variability.new_sources import seen_by, uncovered_detections, undetected


class Limits:
    """Which sources have an upper limit in which epoch and band, and their rows of `measurements` and `associations`.

    A limit has a key: the hash of its source; where the epoch has several bands, mixed with the band.
    """

    def __init__(self, connection: Connection, images: pd.DataFrame) -> None:
        self._connection = connection
        table = TABLES["epoch_limits"]
        rows = connection.execute(sa.select(table.c.epoch, table.c.sources)).all()
        self._stored: dict[str, Hashes] = {row.epoch: np.frombuffer(row.sources, dtype="<u8") for row in rows}
        self._present = dict(self._stored)
        bands = images.groupby("epoch")["band"].unique()
        self._bands = {str(epoch): sorted(names) for epoch, names in bands.items() if len(names) > 1}

    def delete(self, sources: Hashes) -> None:
        """Remove the limits of some sources in all epochs."""
        for epoch, present in self._present.items():
            # Those of before there were bands have the key of their source alone.
            keys = [sources, *(mix(sources, hash_text([band])[0]) for band in self._bands.get(epoch, ()))]
            gone = np.intersect1d(present, np.concatenate(keys))
            if len(gone):
                rows = [(epoch, i) for i in _limit_ids(gone, np.full(len(gone), epoch, dtype=object))]
                for name in ("associations", "measurements"):
                    bulk.delete(self._connection, TABLES[name], ("epoch", "measurement_id"), rows)
                self._present[epoch] = np.setdiff1d(present, gone)

    def insert(self, limits: pd.DataFrame) -> None:
        """Add limits: columns source (hash), epoch, image, band, mjd, ra_deg, dec_deg, upper_limit_mjy_beam."""
        source, key = limits["source"].to_numpy(), limits["source"].to_numpy().copy()
        several = limits["epoch"].isin(list(self._bands)).to_numpy()
        key[several] = mix(key[several], hash_text(limits["band"].to_numpy(dtype=object)[several]))
        ids = _limit_ids(key, limits["epoch"].to_numpy())
        rows = limits.drop(columns="source").assign(
            measurement_id=ids,
            healpix=index_cells(limits["ra_deg"].to_numpy(), limits["dec_deg"].to_numpy()),
            forced=False,
            is_limit=True,
        )
        bulk.insert(self._connection, TABLES["measurements"], rows.sort_values(["epoch", "measurement_id"]))
        members = limits[["epoch"]].assign(source_id=to_hex(source), measurement_id=ids, copied=False)
        bulk.insert(self._connection, TABLES["associations"], members.sort_values(ASSOCIATION_KEY))
        for epoch, chosen in limits.groupby("epoch", sort=False).indices.items():
            self._present[str(epoch)] = np.union1d(self._present[str(epoch)], key[chosen])

    def save(self) -> None:
        """Write which sources have limits, of epochs where that changed."""
        table = TABLES["epoch_limits"]
        for epoch, present in self._present.items():
            if not np.array_equal(present, self._stored[epoch]):
                data = np.ascontiguousarray(present, dtype="<u8").tobytes()
                self._connection.execute(sa.update(table).where(table.c.epoch == epoch).values(sources=data))

    def count(self, sources: Hashes) -> npt.NDArray[np.int64]:
        """Number of limits of each source, shape (n_sources,)."""
        total = counts_of(sources, np.concatenate([NO_HASHES, *self._present.values()]))
        for epoch, bands in self._bands.items():
            for band in bands:
                total = total + np.isin(mix(sources, hash_text([band])[0]), self._present.get(epoch, NO_HASHES))
        return total


@dataclass(frozen=True)
class Missing:
    """Sources whose limits may change, and what there is to judge them by.

    Attributes
    ----------
    observed, recomputed : everything that was observed; the sources
    elsewhere : whether each source is new or was first detected elsewhere than before, shape (n_sources,)
    written : epochs that are new or changed
    bands_mhz : all bands, ascending
    """

    observed: Observed
    recomputed: Recomputed
    elsewhere: npt.NDArray[np.bool_]
    written: Collection[str]
    bands_mhz: Integers

    def rows(self, images: pd.DataFrame) -> pd.DataFrame:
        """Which images covered sources that were not measured in their epoch and band: `uncovered_detections` of all
        sources in the written epochs, and in the others of those whose first detection is elsewhere; with the band."""
        sources, epochs = self.recomputed.sources, self.observed.epochs.names
        first = sources[["first_ra_deg", "first_dec_deg"]].set_axis(["ra_deg", "dec_deg"], axis=1)
        images = images.assign(visit=images["epoch"] + _BEFORE_BAND + images["band"])
        names, n_bands = band_names(self.bands_mhz), len(self.bands_mhz)
        others = [epoch for epoch in epochs if epoch not in self.written]
        parts = []
        chosen = ((np.arange(len(sources)), list(self.written)), (np.flatnonzero(self.elsewhere), others))
        for rows, of_epochs in chosen:
            columns = np.array([epochs.index(epoch) * n_bands + k for epoch in of_epochs for k in range(n_bands)], int)
            visits = [f"{epoch}{_BEFORE_BAND}{name}" for epoch in of_epochs for name in names]
            seen = self.recomputed.seen[rows[:, None], columns]
            part = uncovered_detections(
                first.iloc[rows], images, seen, visits, self.observed.coverage, every_image=True
            )
            parts.append(part.assign(source=rows[part["source"].to_numpy(dtype=np.intp)]))
        missed = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        return missed.assign(band=images["band"].to_numpy(dtype=object)[missed["image_row"].to_numpy(dtype=np.intp)])


# No name of an epoch has it.
_BEFORE_BAND = "/"


def update_limits(
    connection: Connection, missing: Missing, vanished: Hashes, parameters: Variability
) -> npt.NDArray[np.int64]:
    """Bring the upper limits up to date. Returns the number of limits of each recomputed source.

    Whether an epoch covered a source is judged where it was first detected. So limits of epochs that did not change are
    looked at again only for sources that are new or were first detected elsewhere than before.

    Parameters
    ----------
    vanished : sources that are gone
    parameters : whether there are limits, and which
    """
    observed, recomputed = missing.observed, missing.recomputed
    limits = Limits(connection, observed.images)
    limits.delete(np.union1d(recomputed.ids[missing.elsewhere], vanished))
    images = trusted_images(observed.images, parameters.finder_threshold_sigma)
    if parameters.upper_limits and len(recomputed.ids) and len(images):
        missed = missing.rows(images)
        missed = missed[_nothing_there(connection, observed.epochs, missed, recomputed.sources)]
        limits.insert(_limit_rows(missed, images, recomputed.sources, parameters))
    limits.save()
    return limits.count(recomputed.ids)


def _nothing_there(
    connection: Connection, epochs: StoredEpochs, missed: pd.DataFrame, sources: pd.DataFrame
) -> npt.NDArray[np.bool_]:
    """Whether no detection of the epoch and band lies within the beam of the place, whatever source it belongs to."""
    row = missed["source"].to_numpy(dtype=np.intp)
    ra, dec = (sources[name].to_numpy(dtype=float)[row] for name in ("first_ra_deg", "first_dec_deg"))
    free = np.ones(len(missed), dtype=bool)
    for epoch, of_epoch in missed.groupby("epoch", sort=False).indices.items():
        points = epochs.fresh[str(epoch)].points if epoch in epochs.fresh else read_block(connection, str(epoch)).points
        vectors = np.stack([points[axis].to_numpy() for axis in "xyz"], axis=-1)
        band, beam = band_of_points(points), points["beam_arcsec"].to_numpy()
        names = missed["band"].to_numpy(dtype=object)[of_epoch]
        for name in sorted(set(names)):
            chosen = of_epoch[names == name]
            found = (points["forced"].to_numpy() == 0) & (band == mhz_of_names([name])[0])
            free[chosen] = undetected(ra[chosen], dec[chosen], vectors[found], beam[found])
    return free


def _limit_rows(
    missed: pd.DataFrame, images: pd.DataFrame, sources: pd.DataFrame, parameters: Variability
) -> pd.DataFrame:
    """Upper limits as `Limits.insert` takes them, at the places of first detections.

    Parameters
    ----------
    missed : the images that cover each place in each epoch, the deepest first
    """
    lead = ~missed.duplicated(["source", "epoch", "band"]).to_numpy()
    deepest = missed[lead]
    row, of_image = (deepest[name].to_numpy(dtype=np.intp) for name in ("source", "image_row"))
    rms = missed["rms_mjy_beam"].to_numpy(dtype=float)
    if parameters.upper_limit_sigma is not None:
        limit = parameters.upper_limit_sigma * rms[lead]
    else:
        # Limits are compared with other surveys too: the error of the absolute scale counts.
        errors = np.hypot(images["flux_scale_err"], images["flux_tie_err"])
        owner, at = np.cumsum(lead) - 1, missed["image_row"].to_numpy(dtype=np.intp)
        seen = seen_by(owner, at, rms, images.assign(flux_scale_err=errors))
        limit = flux_limits(seen, parameters.upper_limit_chance, len(deepest))
    return pd.DataFrame(
        {
            "source": sources["id"].to_numpy()[row],
            "epoch": deepest["epoch"].to_numpy(dtype=object),
            "image": deepest["image"].to_numpy(dtype=object),
            "band": deepest["band"].to_numpy(dtype=object),
            "mjd": images["mjd"].to_numpy()[of_image],
            "ra_deg": sources["first_ra_deg"].to_numpy()[row],
            "dec_deg": sources["first_dec_deg"].to_numpy()[row],
            "upper_limit_mjy_beam": limit,
        }
    )


def _limit_ids(key: Hashes, epoch: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Ids of the upper limits with these keys in epochs."""
    return to_hex(mix(mix(hash_text(["upper limit"])[0], key), hash_text(epoch)))
