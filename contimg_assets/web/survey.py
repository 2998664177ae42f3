"""What pages show of a project; what depends on all sources is kept until the products change."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.catalog_counts import catalog_counts
from contimg_assets.database.changes import epoch_changes, newest_epoch
from contimg_assets.database.covered_sky import covered_cells
from contimg_assets.database.significances import largest_pairs
from contimg_assets.database.survey_summary import image_corrections, marked_sources, state_version
from contimg_assets.errors import StoreError
from contimg_assets.pipeline.catalog_summary import match_summaries
from contimg_assets.pipeline.findings import Look, look, verdicts
from contimg_assets.pipeline.store import open_store
from contimg_assets.sky.arrays import Cells
from contimg_assets.sky.cells import COARSE_ORDER
from contimg_assets.sky.moc import cells_by_order

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
# Cells of 3.4 arcmin.
_MOC_ORDER = COARSE_ORDER


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

    def changes(self) -> tuple[str, pd.DataFrame]:
        """The epoch that was observed last, and what is brighter or fainter in it; see `epoch_changes`."""
        return self._once("changes", self._changes)

    def _changes(self) -> tuple[str, pd.DataFrame]:
        epoch = newest_epoch(self.database)
        if epoch is None:
            raise StoreError("the products hold nothing yet; `contimg run` fills them")
        return epoch, epoch_changes(self.database, epoch, self.config.variability)

    def pairs(self) -> pd.DataFrame:
        """See `largest_pairs`."""
        return self._once("pairs", lambda: largest_pairs(self.database))

    def matched(self) -> pd.DataFrame:
        """See `match_summaries`; nothing where the store is not here."""
        if not self.config.store.is_dir():
            return pd.DataFrame()
        return self._once("matched", lambda: match_summaries(open_store(str(self.config.store))))

    def catalogs(self) -> pd.DataFrame:
        """See `catalog_counts`."""
        return self._once("catalogs", lambda: catalog_counts(self.database))

    def coverage(self) -> dict[int, Cells]:
        """What the images cover, as a MOC."""
        return self._once("coverage", lambda: cells_by_order(covered_cells(self.database, _MOC_ORDER), _MOC_ORDER))

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
