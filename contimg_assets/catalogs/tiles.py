"""Rows of a catalog in HATS as a reference catalog: each tile is read when it is needed, in our columns and units."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from contimg_assets.catalogs.copies import bring_here
from contimg_assets.catalogs.hats import HatsCatalog, open_hats
from contimg_assets.catalogs.hats_copies import bring_tiles
from contimg_assets.catalogs.read import MOTIONS_IN, moves, open_catalog, table_of, with_positions
from contimg_assets.config import CatalogConfig
from contimg_assets.schemas.catalogs import MOVING_REFERENCE, REFERENCE
from contimg_assets.sky.arrays import Flags

# A source may lie this far outside of its tile: where the file's frame is not quite ours; and where it has moved, by
# the largest proper motion in half a century.
_MARGIN_ARCSEC, _MARGIN_OF_MOVING_ARCSEC = 1.0, 600.0
# Tiles are kept for the next epoch, which is likely to be of the same sky; some 200 MB.
_ROWS_KEPT = 1_000_000


class Tiles:
    """The tiles of a catalog in HATS; nothing is opened before it is asked for.

    Parameters
    ----------
    name : of the catalog, for messages
    config : its columns, units and errors; ``path`` is its folder

    Attributes
    ----------
    n_opened : tiles that were read from their files so far
    """

    def __init__(self, name: str, config: CatalogConfig) -> None:
        self.n_opened = 0
        self._name, self._config = name, config
        self._begin()

    @cached_property
    def hats(self) -> HatsCatalog:
        """What the folder says of itself; of a catalog at a URL it is there with the first of its tiles.

        Raises
        ------
        InputError
            If it is no catalog in HATS, or cannot be fetched.
        """
        path, url = self._config.path, self._config.url
        if url is not None and not path.exists():
            bring_here(url, path)
        return open_hats(path)

    @cached_property
    def _moving(self) -> bool:
        """Whether its sources have proper motions."""
        with ExitStack() as held:
            opened = open_catalog(self._name, self._config, self._config.path, held)
            return moves(opened) and opened.frame.name in MOTIONS_IN

    def check(self) -> None:
        """Read one tile, to see that its columns are understood.

        Raises
        ------
        InputError
            If it is not usable.
        """
        self._tile(0)

    def _begin(self) -> None:
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Another process may need other tiles, and reads them itself.
        return {name: value for name, value in self.__dict__.items() if name not in {"_kept", "_lock"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def near(self, flags: Flags, order: int) -> pa.Table:
        """Rows of all tiles in which sources in cells of an order whose flag is set may be listed, sorted by cell."""
        margin = _MARGIN_OF_MOVING_ARCSEC if self._moving else _MARGIN_ARCSEC
        return self._rows(self.hats.near(flags, order, margin))

    def whole(self) -> pa.Table:
        """All rows, sorted by cell."""
        return self._rows(range(len(self.hats)))

    def has(self, catalog_source_id: str) -> bool:
        """Whether there is a source of this name; looks into tile after tile until it is found.

        Of a catalog at a URL, into those that were fetched: what anything was matched with is among them.
        """
        tiles = (tile for tile in range(len(self.hats)) if self._config.url is None or self.hats.is_here(tile))
        return any(
            catalog_source_id in table.column("catalog_source_id").to_pylist() for table in map(self._tile, tiles)
        )

    def _rows(self, tiles: Iterable[int]) -> pa.Table:
        wanted = [int(tile) for tile in tiles]
        if self._config.url is not None:
            bring_tiles(self._config.url, self._config.path, self.hats, wanted)
        tables = [self._tile(tile) for tile in wanted]
        if not tables:
            return (MOVING_REFERENCE if self._moving else REFERENCE).arrow.empty_table()
        return _in_order(pa.concat_tables(tables))

    def _tile(self, tile: int) -> pa.Table:
        with self._lock:
            if tile not in self._kept:
                self._kept[tile] = self._read(tile)
                self.n_opened += 1
                while len(self._kept) > 1 and sum(table.num_rows for table in self._kept.values()) > _ROWS_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(tile)
            return self._kept[tile]

    def _read(self, tile: int) -> pa.Table:
        tables, config = [], with_positions(self._config, self.hats)
        for file in self.hats.files(tile):
            with ExitStack() as held:
                opened = replace(open_catalog(self._name, config, file, held), may_be_empty=True)
                tables.append(table_of(self._name, opened, file)[0])
        return _in_order(pa.concat_tables(tables))


def _in_order(table: pa.Table) -> pa.Table:
    """The rows by cell; those of several files, and sources that have left their tile, are not yet."""
    table = table.combine_chunks()
    cells = table.column("healpix_29").to_numpy()
    return table if (np.diff(cells) >= 0).all() else table.take(pa.array(np.argsort(cells, kind="stable")))
