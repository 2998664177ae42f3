"""What pages show of a project; what depends on all sources is kept until the products change."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.survey_summary import image_corrections, marked_sources, state_version
from contimg_assets.pipeline.findings import Look, look, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


@dataclass
class Survey:
    """The products of a project."""

    config: Config
    database: ProductsDatabase
    _kept: dict[str, tuple[str, object]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def marked(self) -> pd.DataFrame:
        """See `marked_sources`."""
        return self._once("marked", lambda: marked_sources(self.database, self.config.variability))

    def variables(self) -> pd.DataFrame:
        """Every source that was measured at least twice, the most significant first."""
        return self._once("variables", self.database.variables)

    def new(self) -> pd.DataFrame:
        """See `ProductsDatabase.new_sources`."""
        return self._once("new", lambda: self.database.new_sources(parameters=self.config.variability))

    def look(self) -> Look | None:
        """See `contimg_assets.pipeline.findings.look`."""
        return self._once("look", lambda: look(self.config, self.database))

    def images(self) -> pd.DataFrame:
        """Every image with its correction and its verdict, in time order."""
        found = image_corrections(self.database)
        return found.assign(verdict=verdicts(found))

    def _once(self, name: str, make: Callable[[], _T]) -> _T:
        """What was made of the products as they are now; two who ask at once wait for one."""
        with self._lock:
            version = state_version(self.database, self.config.variability)
            kept = self._kept.get(name)
            if kept is None or kept[0] != version:
                kept = self._kept[name] = (version, make())
            return kept[1]  # type: ignore[return-value]  # as `make` gave it
