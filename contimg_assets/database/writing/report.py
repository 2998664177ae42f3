"""What a call to `replace_epochs` did, and how long each step took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class WriteReport:
    """What a call to `replace_epochs` did.

    Attributes
    ----------
    written, unchanged, deleted : names of epochs; unchanged ones have the content that was written before
    n_sources : sources in the database now
    n_recomputed : sources that were computed again
    n_aliases : sources that are gone, whose measurements an alias follows
    seconds : wall time of each step [s], by name; empty where there was nothing to do
    """

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    n_sources: int = 0
    n_recomputed: int = 0
    n_aliases: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """Counts for the Dagster UI."""
        return {
            "epochs_written": len(self.written),
            "epochs_unchanged": len(self.unchanged),
            "epochs_deleted": len(self.deleted),
            "sources": self.n_sources,
            "sources_recomputed": self.n_recomputed,
            "aliases_added": self.n_aliases,
        }


@dataclass
class Stopwatch:
    """Wall time of steps [s], by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """Count the time since the last lap for this step."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
