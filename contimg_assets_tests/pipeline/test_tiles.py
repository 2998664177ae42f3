"""Whoever works on the tiles of an epoch, and whatever becomes of them, the rows are the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contimg_assets.association.fold import FoldResult, fold
from contimg_assets.association.tiles import TileDecision, TileTask, Tiling, decide_tiles
from contimg_assets.config import Association, Compute
from contimg_assets.pipeline.engines import executor_of
from contimg_assets.pipeline.executors import Auto, Serial
from contimg_assets.pipeline.tiles import tiling_of, told_of_tiles
from contimg_assets_tests.association.test_tiles import assert_same, crowded, images_of


def by(engine: str, workers: int, **more: Any) -> Tiling:
    compute = Compute(engine=engine, workers=workers, tile_rows=30, **more)
    tiling = tiling_of(compute, executor_of(compute))
    assert tiling is not None
    return tiling


def folded(tiling: Tiling | None, order: int = 5) -> list[FoldResult]:
    state, results = None, []
    for each in crowded(0.0, 0.0)[:2]:
        tiling = None if tiling is None else replace(tiling, order=order)
        results.append(fold(state, each, Association(), images_of(each), tiling=tiling))
        state = results[-1].state
    return results


def assert_agrees(tiling: Tiling, orders: Iterable[int] = (5,)) -> None:
    whole = folded(None)
    for order in orders:
        for one, other in zip(whole, folded(tiling, order), strict=True):
            assert_same(one, other)
            assert other.tile_work is not None and len(other.tile_work) > 1


def test_threads_agree() -> None:
    assert_agrees(by("threads", 2), range(3, 8))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes", "dask"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_helpers_agree(engine: str, workers: int) -> None:
    assert_agrees(by(engine, workers), range(3, 8))


def dying(here: int, folder: str, task: TileTask) -> TileDecision:
    """What is decided; a process that helps is killed the first time."""
    marker = Path(folder) / "killed"
    if os.getpid() != here and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return decide_tiles(task)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_a_worker_that_is_killed_at_a_tile_changes_nothing(engine: str, tmp_path: Path) -> None:
    tiling = by(engine, 2)

    def run(work: object, tasks: Iterable[TileTask], n_tasks: int) -> Iterator[TileDecision]:
        yield from tiling.run(partial(dying, os.getpid(), str(tmp_path)), tasks, n_tasks)

    assert_agrees(replace(tiling, run=run))
    assert (tmp_path / "killed").exists()


def test_who_works_by_tile() -> None:
    for engine, workers, divided in (("serial", 8, False), ("auto", 2, False), ("auto", 3, True), ("threads", 1, True)):
        compute = Compute(engine=engine, workers=workers, tile_order=6)
        tiling = tiling_of(compute, executor_of(compute))
        assert (tiling is not None) is divided
        assert tiling is None or (tiling.order, tiling.rows_at_once) == (6, 50_000)
    assert isinstance(executor_of(Compute(engine="auto", workers=3)), Auto)


def test_work_on_tiles_is_told() -> None:
    each = crowded(0.0, 0.0)[0]
    told = told_of_tiles(
        fold(None, each, tiling=tiling_of(Compute(engine="threads", tile_rows=30), Serial())).tile_work
    )
    assert told["n_tiles"] >= len(told["work_on_tiles"]) > 1
    assert told["n_tiles_with_wider_margin"] == 0
    seconds = [row["seconds"] for row in told["work_on_tiles"]]
    assert seconds == sorted(seconds, reverse=True)
    assert told["slowest_tile_seconds"] == seconds[0]
    assert sum(row["n_measurements"] for row in told["work_on_tiles"]) == len(each)
    assert told_of_tiles(None) == {}
