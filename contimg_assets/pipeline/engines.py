"""The executor that the configuration asks for."""

from __future__ import annotations

from pathlib import Path

from contimg_assets.config import Compute
from contimg_assets.pipeline.dask_engine import Dask
from contimg_assets.pipeline.executors import Auto, Executor, Processes, Serial, Tell, Threads


def executor_of(compute: Compute, shared: Path | None = None, tell: Tell | None = None) -> Executor:
    """The executor that the configuration asks for.

    Parameters
    ----------
    shared : folder that all helpers must see, wherever they are; None if the work needs none
    tell : told where helpers on other machines are, and where they are watched

    Raises
    ------
    ComputeError
        If what the engine needs is not installed.
    """
    if compute.engine == "dask":
        return Dask(compute, shared, tell)
    n_workers = compute.n_workers
    n_at_once = n_workers * compute.epochs_ahead
    if compute.engine == "serial" or (compute.engine == "auto" and n_workers == 1):
        return Serial()
    if compute.engine == "threads":
        return Threads(n_workers, n_at_once)
    processes = Processes(n_workers, n_at_once)
    return processes if compute.engine == "processes" else Auto(processes)
