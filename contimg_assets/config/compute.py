"""Section `compute`: where the work on epochs is done. Results do not depend on it."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from contimg_assets.config.section import Section


class Compute(Section):
    """Where the work on epochs is done. No result depends on it."""

    executor: Literal["auto", "serial", "threads", "processes"] = Field(
        "auto",
        description="`auto` works alone, and takes other processes to help once the epochs that are left would take "
        "longer than these take to start; `serial` works alone; `threads` and `processes` always have help",
    )
    workers: int | None = Field(
        None, ge=1, description="How many threads or processes help; the number of cores if not given"
    )
    epochs_ahead: int = Field(
        2,
        ge=1,
        description="Epochs for each helper that may be worked on, or be done and wait for their turn: what memory "
        "holds of a run at once",
    )

    @property
    def n_workers(self) -> int:
        """How many threads or processes help."""
        if self.workers is not None:
            return self.workers
        # Those that this process may use, where the system tells: a batch job has a few of many.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
