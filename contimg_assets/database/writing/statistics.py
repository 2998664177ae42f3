"""What light curves say about the sources that a change touches."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import light_curves as stored
from contimg_assets.database.blocks import Points, light_curves
from contimg_assets.database.light_curves import Hashes, StoredEpochs, read_points
from contimg_assets.database.writing.report import Stopwatch
from contimg_assets.variability.source_table import add_mean_fluxes, source_table, visits
from contimg_assets.variability.statistics import variability_table

# Points that a thread works on at once.
CHUNK_POINTS = 200_000
_WORKERS = min(4, os.cpu_count() or 1)


@dataclass
class Recomputed:
    """Rows of `sources` and `variability` of touched sources, and in which epochs each source has points."""

    sources: pd.DataFrame
    variability: pd.DataFrame
    seen: npt.NDArray[np.bool_]


def recompute(
    connection: Connection, epochs: StoredEpochs, touched: Hashes, parameters: Variability, watch: Stopwatch
) -> Recomputed | None:
    """What light curves say about the touched sources that have points; None if none has.

    A large database is read in several passes, each for a range of sources; within a pass, sources are worked on some
    at a time, so that arrays stay small enough to be quick.
    """
    tables, variabilities, visited = [], [], []
    n_passes = max(1, -(-epochs.n_points // stored.MAX_POINTS))
    for part in np.array_split(touched, n_passes):
        if not len(part):
            continue
        whole = n_passes == 1
        points = read_points(connection, epochs, None if whole else part[0], None if whole else part[-1])
        watch.lap("read light curves")
        n_chunks = max(1, -(-sum(len(p["source"]) for p in points) // CHUNK_POINTS))

        def statistics(
            wanted: Hashes, points: list[Points] = points
        ) -> tuple[pd.DataFrame, pd.DataFrame, npt.NDArray[np.bool_]] | None:
            curves = light_curves(epochs.names, points, epochs.copied, wanted)
            if curves is None:
                return None
            variability = variability_table(curves, parameters)
            seen = visits(curves, len(epochs.names))
            table = source_table(curves, epochs.names, seen)
            add_mean_fluxes(table, variability)
            return table, variability, seen

        # NumPy lets go of the interpreter while it works on arrays: threads share the cores.
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            for found in pool.map(statistics, np.array_split(part, n_chunks)):
                if found is not None:
                    tables.append(found[0])
                    variabilities.append(found[1])
                    visited.append(found[2])
        watch.lap("statistics")
    if not tables:
        return None
    return Recomputed(
        pd.concat(tables, ignore_index=True), pd.concat(variabilities, ignore_index=True), np.concatenate(visited)
    )
