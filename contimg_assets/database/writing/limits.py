"""Upper limits: where a source was covered and not measured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Hashes, band_of_points
from contimg_assets.database.light_curves import StoredEpochs, read_block
from contimg_assets.database.limits import ID_LENGTH, cells_of, lines_of, rows_in
from contimg_assets.database.models import TABLES
from contimg_assets.database.partitioning import make_parts
from contimg_assets.database.tiles import tiling
from contimg_assets.database.writing.epochs import ChangedEpochs
from contimg_assets.database.writing.sources import counts_of, same_as_before
from contimg_assets.database.writing.statistics import Recomputed
from contimg_assets.database.writing.stored import Observed, trusted_images
from contimg_assets.identity.ids import to_hex
from contimg_assets.ingest.bands import band_names, mhz_of_name
from contimg_assets.sky.arrays import Integers
from contimg_assets.variability.finder import flux_limits
from contimg_assets.variability.new_sources import seen_by, uncovered_detections, undetected
from contimg_assets.variability.segments import places


@dataclass(frozen=True)
class Missing:
    """Sources whose limits may change, and what there is to judge them by.

    Attributes
    ----------
    observed, recomputed : everything that was observed; the sources
    before : rows of `sources` as they were, sorted by `id`, the hash
    change : what was done to epochs
    bands_mhz : all bands, ascending
    all_again : whether everything is judged again
    """

    observed: Observed
    recomputed: Recomputed
    before: pd.DataFrame
    change: ChangedEpochs
    bands_mhz: Integers
    all_again: bool

    @cached_property
    def elsewhere(self) -> npt.NDArray[np.bool_]:
        """Whether each source is new, or was first detected elsewhere than before, or is in another part of the sky,
        shape (n_sources,)."""
        now, before = (
            sources.assign(cell=cells_of(sources["healpix"].to_numpy()))
            for sources in (self.recomputed.sources, self.before)
        )
        return self.all_again | ~same_as_before(now, before, ("first_ra_deg", "first_dec_deg", "cell"))[1]

    def count(self, new: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Number of limits of each source: of those that it had in changed epochs, it has others now."""
        ids = self.recomputed.ids
        row, known = places(ids, self.before["id"].to_numpy())
        stays = known & ~self.elsewhere
        had = np.zeros(len(ids), np.int64)
        had[stays] = self.before["n_limits"].to_numpy(np.int64)[row[stays]]
        lost = counts_of(ids, np.concatenate([NO_HASHES, *self.change.limited]))
        return counts_of(ids, new["source"].to_numpy()) + np.where(stays, had - lost, 0)

    def rows(self, images: pd.DataFrame) -> pd.DataFrame:
        """Which images covered sources that were not measured in their epoch and band: `uncovered_detections` of all
        sources in the written epochs, and in the others of those whose first detection is elsewhere; with the band."""
        sources, epochs = self.recomputed.sources, self.observed.epochs.names
        first = sources[["first_ra_deg", "first_dec_deg"]].set_axis(["ra_deg", "dec_deg"], axis=1)
        images = images.assign(visit=images["epoch"] + _BEFORE_BAND + images["band"])
        names, n_bands = band_names(self.bands_mhz), len(self.bands_mhz)
        others = [epoch for epoch in epochs if epoch not in self.change.after]
        parts = []
        chosen = ((np.arange(len(sources)), list(self.change.after)), (np.flatnonzero(self.elsewhere), others))
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
    images = trusted_images(observed.images, parameters.finder_threshold_sigma)
    limits = _NONE
    if parameters.upper_limits and len(recomputed.ids) and len(images):
        missed = missing.rows(images)
        missed = missed[_nothing_there(connection, observed.epochs, missed, recomputed.sources)]
        limits = _limits(missed, images, recomputed.sources, parameters)
    _replace(connection, limits, missing, vanished)
    return missing.count(limits)


_NONE = pd.DataFrame(
    {
        "source": NO_HASHES,
        "cell": np.empty(0, np.int64),
        "epoch": np.empty(0, dtype=object),
        "image": np.empty(0, dtype=object),
        "upper_limit_mjy_beam": np.empty(0),
    }
)


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
            found = (points["forced"].to_numpy() == 0) & (band == mhz_of_name(name))
            free[chosen] = undetected(ra[chosen], dec[chosen], vectors[found], beam[found])
    return free


def _limits(missed: pd.DataFrame, images: pd.DataFrame, sources: pd.DataFrame, parameters: Variability) -> pd.DataFrame:
    """Upper limits at the places of first detections, with the columns of `_NONE`.

    Parameters
    ----------
    missed : the images that cover each place in each epoch, the deepest first
    """
    lead = ~missed.duplicated(["source", "epoch", "band"]).to_numpy()
    deepest = missed[lead]
    row = deepest["source"].to_numpy(dtype=np.intp)
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
            "cell": cells_of(sources["healpix"].to_numpy())[row],
            "epoch": deepest["epoch"].to_numpy(dtype=object),
            "image": deepest["image"].to_numpy(dtype=object),
            "upper_limit_mjy_beam": limit,
        }
    )


def _replace(connection: Connection, new: pd.DataFrame, missing: Missing, vanished: Hashes) -> None:
    """Replace the upper limits of written epochs, and in the others those of some sources.

    Parameters
    ----------
    new : all limits of the written epochs, and those that the sources elsewhere have in others: source (hash), cell,
        epoch, image, upper_limit_mjy_beam
    vanished : sources that are gone
    """
    rows = _texts(new)
    if missing.all_again:
        connection.execute(sa.delete(TABLES["image_limits"]))
        _insert(connection, rows)
        return
    written = rows["epoch"].isin(list(missing.change.after)).to_numpy(dtype=bool)
    moved = np.union1d(missing.recomputed.ids[missing.elsewhere], vanished)
    before = missing.before[np.isin(missing.before["id"].to_numpy(), moved)]
    _edit(connection, rows[~written], before)
    _insert(connection, rows[written])


def _insert(connection: Connection, rows: pd.DataFrame) -> None:
    make_parts(connection, tiling(connection), "image_limits", rows["cell"].to_numpy(np.int64))
    bulk.insert(connection, TABLES["image_limits"], rows)


_KEY = ["cell", "epoch", "image"]


def _texts(limits: pd.DataFrame) -> pd.DataFrame:
    """Rows of `image_limits`, in the order of their key."""
    key = [limits["cell"].to_numpy(np.int64), *(pd.factorize(limits[name], sort=True)[0] for name in _KEY[1:])]
    order = np.lexsort((limits["source"].to_numpy(), *key[::-1]))
    limits, number = limits.iloc[order], np.stack(key, axis=1)[order]
    lines = lines_of(limits["source"].to_numpy(), limits["upper_limit_mjy_beam"].to_numpy(dtype=float))
    lead = np.flatnonzero(np.concatenate([[True], (number[1:] != number[:-1]).any(axis=1)])[: len(limits)])
    stop = [*lead[1:].tolist(), len(lines)]
    texts = ["".join(lines[first:last]) for first, last in zip(lead.tolist(), stop, strict=False)]
    return limits[_KEY].iloc[lead].assign(limits=np.array(texts, dtype=object))


def _edit(connection: Connection, added: pd.DataFrame, before: pd.DataFrame) -> None:
    """Take the limits of some sources out of the rows that there are, and put others in.

    Parameters
    ----------
    added : rows of `image_limits` with what is to be added
    before : id (hash) and healpix of the sources whose limits go
    """
    cells = cells_of(before["healpix"].to_numpy())
    gone: dict[int, set[str]] = {}
    for cell, name in zip(cells.tolist(), to_hex(before["id"].to_numpy()), strict=True):
        gone.setdefault(cell, set()).add(name)
    put = {(cell, epoch, image): text for cell, epoch, image, text in added.itertuples(index=False, name=None)}
    now: dict[tuple[int, str, str], str] = {}
    for rows in rows_in(connection, np.union1d(cells, added["cell"].to_numpy(np.int64))):
        for cell, epoch, image, text in rows[[*_KEY, "limits"]].itertuples(index=False, name=None):
            edited = _edited(text, put.pop((cell, epoch, image), ""), gone.get(cell, ()))
            if edited != text:
                now[cell, epoch, image] = edited
    bulk.delete(connection, TABLES["image_limits"], _KEY, [key for key, text in now.items() if not text])
    written = [(*key, text) for key, text in (now | put).items() if text]
    make_parts(connection, tiling(connection), "image_limits", added["cell"].to_numpy(np.int64))
    bulk.upsert(connection, TABLES["image_limits"], pd.DataFrame(written, columns=[*_KEY, "limits"]))


def _edited(text: str, plus: str, minus: Collection[str]) -> str:
    """A text of lines without those of some sources, and with others."""
    if not plus and not any(name in text for name in minus):
        return text
    kept = [line for line in text.splitlines(keepends=True) if line[:ID_LENGTH] not in minus]
    return "".join(sorted([*kept, *plus.splitlines(keepends=True)]))
