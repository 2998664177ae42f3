"""What pages show of a project; what depends on all sources is kept until the products change."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.catalog_counts import catalog_counts
from contimg_assets.database.changes import epoch_changes, newest_epoch
from contimg_assets.database.covered_sky import covered_cells
from contimg_assets.database.significances import largest_pairs
from contimg_assets.database.survey_summary import image_corrections, mapped_sources, state_version
from contimg_assets.errors import ContimgError, StoreError
from contimg_assets.pipeline.catalog_summary import match_summaries, no_summaries
from contimg_assets.pipeline.findings import Look, look, verdicts
from contimg_assets.pipeline.store import store_of
from contimg_assets.sky.arrays import Cells
from contimg_assets.sky.cells import COARSE_ORDER
from contimg_assets.sky.moc import cells_by_order

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
# A browser draws so many points at ease; of more, a chart shows the density and the outliers.
MOST_POINTS = 3000
# Cells of 3.4 arcmin.
_MOC_ORDER = COARSE_ORDER


@dataclass
class Survey:
    """The products of a project."""

    config: Config
    database: ProductsDatabase
    _kept: dict[str, tuple[str, object]] = field(default_factory=dict)
    _locks: dict[str, Any] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def kind(self) -> str:
        """Which flux light curves are judged by."""
        return self._once("kind", self.database.flux_kind)

    def judged(self) -> pd.DataFrame:
        """Every source that was measured at least twice, the most significant first; see `significances`."""
        return self._once("judged", self._judged)

    def _judged(self) -> pd.DataFrame:
        kind = self.database.flux_kind()
        found = self.database.significances(kind)
        return found.sort_values([f"log10_p_value_{kind}", f"eta_{kind}"], ascending=[True, False], ignore_index=True)

    def variables(self) -> pd.DataFrame:
        """The first of these, with names."""
        return self._once("variables", lambda: self._named(self.judged()[:MOST_POINTS]))

    def pairs(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `largest_pairs`; and those that differ most, with names."""
        return self._once("pairs", self._pairs)

    def _pairs(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        every = largest_pairs(self.database)
        return every, self._named(every.sort_values("vs", ascending=False, ignore_index=True)[:MOST_POINTS])

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(name=self.database.names(rows["source_id"].tolist()).to_numpy())

    def chart(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A chart of the whole survey."""
        return self._once(f"chart {name}", make)

    def picture(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A picture of the whole survey."""
        return self._once(f"picture {name}", make)

    def on_the_map(self, center: tuple[float, float, float] | None) -> pd.DataFrame:
        """Sources about a place, or an even sample of all, and in any case those that vary and the new ones.

        Parameters
        ----------
        center : ra_deg, dec_deg, radius_deg
        """
        judged, kind = self.judged(), self.kind()
        varying = judged.loc[judged[f"q_value_{kind}"] <= self.config.variability.max_q, "source_id"]
        return mapped_sources(self.database, varying.tolist(), self.new()["id"].tolist(), center)

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

    def matched(self) -> pd.DataFrame:
        """See `match_summaries`; nothing where the store is not here."""
        if self.config.paths.store_url is None and not self.config.store.is_dir():
            return no_summaries()
        return self._once("matched", lambda: match_summaries(store_of(self.config)))

    def catalogs(self) -> pd.DataFrame:
        """See `catalog_counts`."""
        return self._once("catalogs", lambda: catalog_counts(self.database))

    def coverage(self) -> dict[int, Cells]:
        """What the images cover, as a MOC."""
        return self._once("coverage", lambda: cells_by_order(covered_cells(self.database, _MOC_ORDER), _MOC_ORDER))

    def warm_up(self) -> None:
        """Make what takes longest before somebody asks for it; what cannot be made is told to who asks."""
        for make in (self.look, self.variables, self.new, self.changes, self.pairs, self.coverage):
            with suppress(ContimgError):
                make()

    def images(self) -> pd.DataFrame:
        """Every image with its correction and its verdict, in time order."""
        found = image_corrections(self.database)
        return found.assign(verdict=verdicts(found))

    def _once(self, name: str, make: Callable[[], _T]) -> _T:
        """What was made of the products as they are now; two who ask for the same at once wait for one."""
        with self._lock:
            own = self._locks.setdefault(name, RLock())
        with own:
            version = state_version(self.database, self.config.variability)
            kept = self._kept.get(name)
            if kept is None or kept[0] != version:
                kept = self._kept[name] = (version, make())
            return kept[1]  # type: ignore[return-value]  # as `make` gave it
