"""What light curves say about the sources that a change touches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database.blocks import NO_HASHES, EpochPoints, Hashes, light_curves
from contimg_assets.database.light_curves import StoredEpochs, passes
from contimg_assets.database.writing.epochs import ChangedEpochs
from contimg_assets.database.writing.report import Stopwatch
from contimg_assets.database.writing.sources import counts_of
from contimg_assets.schemas.variability import VARIABILITY
from contimg_assets.sky.arrays import Integers
from contimg_assets.variability.error_model import ErrorModel
from contimg_assets.variability.segments import places
from contimg_assets.variability.source_table import mean_fluxes, source_table, visits, visits_in_bands
from contimg_assets.variability.statistics import variability_table

# Points that a thread works on at once.
CHUNK_POINTS = 200_000
_WORKERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Recomputed:
    """What light curves say about some sources, all of which have points.

    Attributes
    ----------
    sources : rows of `source_table` with mean fluxes, sorted by `id`, the hash
    variability : rows of `variability_table`
    seen : whether each source has a point in each epoch and band, see `visits_in_bands`
    """

    sources: pd.DataFrame
    variability: pd.DataFrame
    seen: npt.NDArray[np.bool_]

    @property
    def ids(self) -> Hashes:
        """Hashes of the sources, ascending."""
        return self.sources["id"].to_numpy()


def recompute(
    connection: Connection,
    epochs: StoredEpochs,
    touched: Hashes,
    parameters: Variability,
    watch: Stopwatch,
    bands_mhz: Integers,
    errors: ErrorModel | None = None,
) -> Recomputed:
    """What light curves say about those of the touched sources that have points; `bands_mhz` are all that there are.

    A large database is read in several passes, each for a range of sources; within a pass, sources are worked on some
    at a time, so that arrays stay small enough to be quick.
    """
    parts = []
    # NumPy lets go of the interpreter while it works on arrays: threads share the cores.
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        for part, points in passes(connection, epochs, touched, whole_blocks=True):
            watch.lap("read light curves")
            n_chunks = max(1, -(-sum(map(len, points)) // CHUNK_POINTS))
            of_sources = partial(_of_sources, (epochs.names, bands_mhz), points, (parameters, errors))
            parts += [one for one in pool.map(of_sources, np.array_split(part, n_chunks)) if one is not None]
            watch.lap("statistics")
    if not parts:
        return _nothing(len(epochs.names) * len(bands_mhz))
    return Recomputed(
        pd.concat([part.sources for part in parts], ignore_index=True),
        pd.concat([part.variability for part in parts], ignore_index=True),
        np.concatenate([part.seen for part in parts]),
    )


def has_all_points(recomputed: Recomputed, before: pd.DataFrame, change: ChangedEpochs, touched: Hashes) -> bool:
    """Whether sources have as many points as follows from those that they had and from what changed.

    If not, some lie farther from their source than any association should reach.

    Parameters
    ----------
    before : rows of `sources` as they were, sorted by `id`, the hash
    touched : the sources that were asked for, ascending
    """
    now, had = (_n_measurements(sources, touched) for sources in (recomputed.sources, before))
    gone, come = (counts_of(touched, sources) for sources in (change.members_before, change.members_after))
    return bool((now == had - gone + come).all())


def _n_measurements(sources: pd.DataFrame, ids: Hashes) -> npt.NDArray[np.int64]:
    """Of some sources, 0 of those that are not there, shape (n,)."""
    row, known = places(ids, sources["id"].to_numpy())
    count = np.zeros(len(ids), np.int64)
    count[known] = sources["n_measurements"].to_numpy()[row[known]]
    return count


def _of_sources(
    visited: tuple[list[str], Integers],
    points: Sequence[EpochPoints],
    judging: tuple[Variability, ErrorModel | None],
    wanted: Hashes,
) -> Recomputed | None:
    """The same of a few sources, in one piece; None if they have no points."""
    curves = light_curves(points, wanted)
    if curves is None:
        return None
    (parameters, errors), (epochs, bands_mhz) = judging, visited
    variability = variability_table(curves, parameters, errors)
    placed_by = errors if parameters.position_systematic == "measured" else None
    sources = source_table(curves, epochs, visits(curves, len(epochs)), placed_by)
    fluxes = mean_fluxes(curves.source, variability, sources["band"].to_numpy())
    seen = visits_in_bands(curves, len(epochs), bands_mhz)
    return Recomputed(sources.assign(**fluxes), variability, seen)


def _nothing(n_visits: int) -> Recomputed:
    """No source, with the columns that others look at."""
    names = ("ra_deg", "dec_deg", "first_mjd", "first_ra_deg", "first_dec_deg", "first_flux_mjy_beam",
             "first_flux_err_mjy_beam", "position_noise_share")  # fmt: skip
    bands = {name: np.empty(0, np.int64) for name in ("band", "first_band_mhz", "healpix", "n_measurements")}
    sources = {
        "id": NO_HASHES,
        **bands,
        "first_epoch": np.empty(0, dtype=object),
        **{name: np.empty(0) for name in names},
    }
    variability = VARIABILITY.empty().assign(source_id=NO_HASHES, band=np.empty(0, np.int64))
    return Recomputed(pd.DataFrame(sources), variability, np.empty((0, n_visits), dtype=bool))
