"""The state of a fold in parts by cell of the sky: an epoch reads and writes those that it touches, and no others.

Each part is a file named by its content, below ``<store>/<stage>/.parts``. What an epoch's record keeps is the list of
the parts (a table of a row a cell), so that an epoch which looks at a few cells shares all other files with the epoch
before. The version of the whole is that of the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.errors import StoreError
from contimg_assets.files import replacing, writing_to
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.pipeline.store_home import Home, InFolder
from contimg_assets.pipeline.table_files import read_table, write_table
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.parts import parts_of
from contimg_assets.schemas.tables import rows_among, stand_among
from contimg_assets.sky.arrays import Cells, Flags, Floats, Indices, Values
from contimg_assets.sky.cells import (
    INDEX_ORDER,
    cell_radius_deg,
    cells_around,
    coarser,
    grid,
    healpix_29,
    neighborhood,
    order_of_radius,
)
from contimg_assets.sky.sphere import chord, unit_vectors

# Cells of 3.7 deg: as large as the field of many telescopes; a million sources over the sky are 3,072 parts.
ORDER = 4
PARTS_FOLDER = ".parts"
# A source is never farther from where it was first seen than the neighbors of such a cell reach, 0.9 deg.
_ALIKE_ORDER = 5
_N_CELLS = 12 << (2 * ORDER)
_OF_ASSOCIATIONS = ("source_id", "measurement_id")


def cells_of(ra_deg: Floats, dec_deg: Floats) -> Cells:
    """Cell of the part that positions belong to, shape (n,)."""
    return coarser(healpix_29(ra_deg, dec_deg), ORDER)


def cells_of_index(healpix: Cells) -> Cells:
    """The same from the column `healpix` of measurements."""
    return healpix >> (2 * (INDEX_ORDER - ORDER))


def cells_that_may_hold(healpix: Cells) -> Cells:
    """Parts in which sources may be that were measured in cells of the column `healpix`; ascending."""
    here = np.unique(healpix >> (2 * (INDEX_ORDER - _ALIKE_ORDER)))
    around = np.unique(cells_around(here, _ALIKE_ORDER)) if len(here) else here
    return np.unique(around[around >= 0] >> (2 * (_ALIKE_ORDER - ORDER)))


def cells_about(ra_deg: Floats, dec_deg: Floats, radius_deg: Floats, margin_arcsec: float) -> Cells:
    """Parts that hold everything within a margin of circles; ascending.

    Parameters
    ----------
    radius_deg : of each circle, 0 for points, shape (n,)
    """
    if not len(ra_deg):
        return np.empty(0, np.int64)
    order = order_of_radius(margin_arcsec)
    flags: Flags = np.zeros(_N_CELLS, bool)
    points = np.flatnonzero(radius_deg == 0.0)
    if order < 0:
        flags[:] = True
    elif len(points):
        order = min(order, ORDER)
        near = neighborhood(healpix_29(ra_deg[points], dec_deg[points]), order)
        flags |= near[np.arange(_N_CELLS) >> (2 * (ORDER - order))]
    middle = _middles()
    circles = np.unique(np.stack([ra_deg, dec_deg, radius_deg], axis=1)[radius_deg > 0.0], axis=0)
    reach = chord((circles[:, 2] + cell_radius_deg(ORDER)) * 3600.0 + margin_arcsec)
    for vector, limit in zip(unit_vectors(circles[:, 0], circles[:, 1]), reach, strict=True):
        flags |= ((middle - vector) ** 2).sum(axis=1) <= limit**2
    return np.flatnonzero(flags)


@cache
def _middles() -> Floats:
    """Unit vectors of the centers of all cells."""
    longitude, latitude = grid(ORDER).healpix_to_lonlat(np.arange(_N_CELLS))
    return unit_vectors(longitude.deg, latitude.deg)


@dataclass(frozen=True)
class Part:
    """A part that is stored."""

    version: str
    n_rows: int


def part_file(folder: Path, table: str, cell: int, version: str) -> Path:
    """The file of a part of a table."""
    return folder / f"{table}-{cell}-{version}.parquet"


@dataclass(frozen=True)
class PartFiles:
    """The files of a table's parts.

    Attributes
    ----------
    folder : `<store>/<stage>/.parts`
    schema : of the table
    written : files that the disk may not have yet; who commits a record that names them waits for it
    home : where the store's files are at home
    """

    folder: Path
    schema: TableSchema
    written: set[Path] = field(default_factory=set, compare=False)
    home: Home = field(default_factory=InFolder, compare=False)

    def __reduce__(self) -> tuple[type[PartFiles], tuple[Path, TableSchema, set[Path], Home]]:
        return PartFiles, (self.folder, self.schema, set(), self.home)

    def file(self, cell: int, version: str) -> Path:
        return part_file(self.folder, self.schema.name, cell, version)

    def read(self, cell: int, part: Part) -> pa.Table:
        """One part.

        Raises
        ------
        StoreError
            If it is not there, or is not what was written.
        """
        file = self.file(cell, part.version)
        try:
            table = self.home.read(file, read_table)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(file) from error
        if version_of_table(table) != part.version:
            raise _damaged(file)
        return table

    def write(self, cell: int, table: pa.Table) -> Part:
        """Write a part under its content's name; nobody sees it until a record names it.

        One that lies there already is written again: it may be damaged, and its age must not let it be tidied away.
        """
        part = Part(version_of_table(table), table.num_rows)
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        file = self.file(cell, part.version)
        with writing_to(file), replacing(file, kept=False) as temporary:
            write_table(table, temporary)
        self.written.add(file)
        return part


def _damaged(file: Path) -> StoreError:
    return StoreError(
        f"{file}: a part of what is carried from epoch to epoch is gone or not what was written; "
        "`contimg run --force` makes all epochs again"
    )


class SkyParts:
    """A table of the whole sky in parts. Immutable; equal content means equal versions.

    Epochs have thousands of parts and touch some of them: all others are kept as rows of the list, whole.

    Parameters
    ----------
    files : where the parts are
    index : the list of an epoch's record, as `parts_of` describes it, cells ascending; without any part if not given
    held : parts that were read already, by cell
    """

    def __init__(
        self, files: PartFiles, index: pa.Table | None = None, held: Mapping[int, pa.Table] | None = None
    ) -> None:
        self.files = files
        self.index = parts_of(files.schema).arrow.empty_table() if index is None else index.combine_chunks()
        self._held = dict(held or {})

    def __reduce__(self) -> tuple[type[SkyParts], tuple[PartFiles, pa.Table]]:
        # Another process reads what it needs.
        return SkyParts, (self.files, self.index)

    @cached_property
    def cells(self) -> Cells:
        """Cells that have a part, ascending."""
        cells: Cells = self.index["cell"].to_numpy()
        return cells

    @cached_property
    def version(self) -> str:
        """Hash of the versions of the parts."""
        named = pc.binary_join_element_wise(self.index["cell"].cast(pa.string()), self.index["version"], "=")
        return combine_versions(*named.to_pylist())

    def __len__(self) -> int:
        return int(self.index["n_rows"].to_numpy().sum())

    def parts(self, cells: Cells) -> list[Part | None]:
        """The part of each cell; None where it has no rows."""
        row, there = self._rows(cells)
        taken = self.index.take(row[there])
        found = map(Part, taken["version"].to_pylist(), taken["n_rows"].to_pylist())
        return [next(found) if one else None for one in there.tolist()]

    def _rows(self, cells: Cells) -> tuple[Indices, Flags]:
        """Row of each cell in the list, and whether it has one."""
        row = np.searchsorted(self.cells, cells)
        return row, np.append(self.cells, -1)[row] == cells

    def of(self, cells: Iterable[int] | Cells | None = None) -> tuple[pa.Table, Cells]:
        """The rows of some cells, or of all, and the cell of each.

        Raises
        ------
        StoreError
            If a part is not there, or is not what was written.
        """
        asked = self.cells if cells is None else np.fromiter(cells, np.int64)
        wanted = asked[np.isin(asked, self.cells)]
        missing = np.array([cell for cell in wanted.tolist() if cell not in self._held], np.int64)
        for cell, part in zip(missing.tolist(), self.parts(missing), strict=True):
            if part is not None:
                self._held[cell] = self.files.read(cell, part)
        tables = [self._held[cell] for cell in wanted.tolist()]
        table = pa.concat_tables(tables) if tables else self.files.schema.arrow.empty_table()
        return table.combine_chunks(), np.repeat(wanted, [len(one) for one in tables])

    def hold(self, other: SkyParts) -> None:
        """Hold what another has read already of parts that are its own too: they are not read again."""
        differing = set(self.differing(other, other._held))
        self._held |= {cell: table for cell, table in other._held.items() if cell not in differing}

    def differing(self, other: SkyParts, cells: Iterable[int] | Cells) -> list[int]:
        """Those of some cells whose rows differ from others'."""
        asked = np.fromiter(cells, np.int64)
        one, two = (each._versions(asked) for each in (self, other))
        differing: list[int] = asked[one != two].tolist()
        return differing

    def _versions(self, cells: Cells) -> Values:
        """Version of the part of each cell; empty where there is none."""
        versions = np.append(self.index["version"].to_numpy(), "")
        row, there = self._rows(cells)
        return versions[np.where(there, row, len(self.cells))]

    def taken_from(self, other: SkyParts, cells: Iterable[int] | Cells) -> SkyParts:
        """With the parts that another has of some cells."""
        asked = np.fromiter(cells, np.int64)
        return self._with(asked, other.index.filter(np.isin(other.cells, asked)), other._held)

    def _with(self, cells: Cells, index: pa.Table, held: Mapping[int, pa.Table]) -> SkyParts:
        """With other parts in some cells, those of them that are held included."""
        both = pa.concat_tables([self.index.filter(~np.isin(self.cells, cells)), index])
        gone = set(cells.tolist())
        kept = {cell: table for cell, table in self._held.items() if cell not in gone}
        come = {cell: table for cell, table in held.items() if cell in gone}
        return SkyParts(self.files, both.take(np.argsort(both["cell"].to_numpy())), kept | come)

    def replaced(
        self, cells: Sequence[int] | Cells, table: pa.Table, cell_of_row: Cells, stored: SkyParts | None = None
    ) -> SkyParts:
        """With other rows in some cells, written where they differ; an empty cell has no part.

        Parameters
        ----------
        cells : all of the rows of these are given; others stay
        table, cell_of_row : rows, in the order that they have in a part, and the cell of each
        stored : parts that a record names: they are not written again
        """
        order = np.argsort(cell_of_row, kind="stable")
        table, ascending = table.take(pa.array(order)), cell_of_row[order]
        parts: dict[int, Part] = {}
        held: dict[int, pa.Table] = {}
        touched = np.unique(np.asarray(cells, np.int64))
        before = [one.parts(touched) for one in (self, stored) if one is not None]
        for cell, *of_cell in zip(touched.tolist(), *before, strict=True):
            first, last = np.searchsorted(ascending, [cell, cell + 1])
            rows = table.slice(first, last - first).combine_chunks()
            if rows.num_rows:
                there = [part for part in of_cell if part is not None]
                version = version_of_table(rows) if there else ""
                same = next((part for part in there if part.version == version), None)
                parts[cell] = self.files.write(cell, rows) if same is None else same
                held[cell] = rows
        columns = [[*parts], [part.version for part in parts.values()], [part.n_rows for part in parts.values()]]
        return self._with(touched, pa.table(columns, schema=self.index.schema), held)


@dataclass(frozen=True)
class OfSources:
    """Rows of sources that an epoch may show, from the parts that may hold them.

    Attributes
    ----------
    state : all parts
    rows : of these parts, in the order of their keys
    cell : of each source; it keeps the one that it was first seen in
    """

    state: SkyParts
    rows: pd.DataFrame
    cell: pd.Series

    @classmethod
    def about(cls, state: SkyParts, healpix: Cells) -> OfSources:
        """What may be known of sources that were measured in cells of the column `healpix`."""
        table, cells = state.of(cells_that_may_hold(healpix))
        rows = frame_of(table)
        cell = pd.Series(cells, index=pd.Index(rows["source_id"].to_numpy(dtype=object)))
        rows = rows.sort_values(list(state.files.schema.key), kind="stable", ignore_index=True)
        return cls(state, rows, cell[~cell.index.duplicated()])

    def after(self, rows: pd.DataFrame, seen_in: pd.Series) -> SkyParts:
        """The parts with the rows as they are after an epoch.

        Parameters
        ----------
        rows : in the order of their keys
        seen_in : cell in which the epoch saw each source, by source
        """
        sources = pd.Index(rows["source_id"].to_numpy(dtype=object))
        cell = self.cell.reindex(sources).fillna(seen_in.reindex(sources)).to_numpy(dtype=np.int64)
        touched = np.unique(cell[stand_among(sources, seen_in.index)])
        chosen: Indices = np.flatnonzero(np.isin(cell, touched))
        table = self.state.files.schema.to_arrow(rows.take(chosen))
        return self.state.replaced(touched, table, cell[chosen])


def seen_in(associations: pd.DataFrame, measurements: pd.DataFrame) -> pd.Series:
    """The cell in which an epoch saw each source: that of its first measurement by id.

    Parameters
    ----------
    associations : source_id, measurement_id
    measurements : measurement_id, healpix
    """
    row = rows_among(associations["measurement_id"], measurements["measurement_id"])
    source, measurement = (associations[name].to_numpy(dtype=object)[row >= 0] for name in _OF_ASSOCIATIONS)
    healpix = measurements["healpix"].to_numpy(dtype=np.int64)[row[row >= 0]]
    order = np.argsort(measurement, kind="stable")
    first = pd.Series(cells_of_index(healpix[order]), index=pd.Index(source[order]))
    return first[~first.index.duplicated()]
