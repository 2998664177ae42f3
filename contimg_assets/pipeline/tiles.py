"""Large epochs by tile of the sky: who works on the tiles, and what is told of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pandas as pd

from contimg_assets.association.tiles import TileDecision, TileTask, Tiling
from contimg_assets.config import Compute
from contimg_assets.pipeline.executors import Executor


def tiling_of(compute: Compute, executor: Executor) -> Tiling | None:
    """How the configuration divides a large epoch, and who works on its tiles; None if nobody is there to help."""
    if not compute.by_tile:
        return None
    return Tiling(compute.tile_order, compute.tile_rows, run=partial(_run, executor))


def _run(
    executor: Executor, work: Callable[[TileTask], TileDecision], tasks: Iterable[TileTask], n_tasks: int
) -> Iterator[TileDecision]:
    for result in executor.results(work, ((task,) for task in tasks), n_tasks):
        yield result()


def told_of_tiles(work: pd.DataFrame | None) -> dict[str, Any]:
    """What is shown of the work on tiles, the longest first; nothing of an epoch that was associated as a whole."""
    if work is None:
        return {}
    first = work.drop_duplicates("tile")
    return {
        "n_tiles": int(first["n_tiles"].sum()),
        "n_tiles_with_wider_margin": int(work["tile"].duplicated().sum()),
        "slowest_tile_seconds": float(work["seconds"].max()) if len(work) else 0.0,
        "work_on_tiles": work.sort_values("seconds", ascending=False).to_dict("records"),
    }
