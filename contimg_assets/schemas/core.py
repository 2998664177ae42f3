"""What a table is: its columns with type, unit, range and meaning.

Belongs here: the two classes every table is described with, and what is derived from a description (Arrow schema,
checks at write and read). Does not belong here: any table; those are the sibling
modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.errors import SchemaError

FLOAT = pa.float64()
INT = pa.int64()
BOOL = pa.bool_()
TEXT = pa.string()
TIMESTAMP = pa.timestamp("us", tz="UTC")
# Threads cost more than they give for tables of no more rows.
FEW_ROWS = 50_000


def frame_of(table: pa.Table) -> pd.DataFrame:
    """An Arrow table in memory as a DataFrame.

    Frames of the same columns share their labels: pandas looks a column up in a table of them, which it would otherwise
    build for each frame anew, in a time that most columns of a small epoch take to compute with.
    """
    frame: pd.DataFrame = table.to_pandas(use_threads=table.num_rows > FEW_ROWS)
    frame.columns = _labels(tuple(table.column_names))
    return frame


@lru_cache(maxsize=1024)
def _labels(names: tuple[str, ...]) -> pd.Index:
    labels = pd.Index(names)
    # The table of them is made now: two threads must not begin with it at once.
    labels.get_indexer(labels)
    return labels


@dataclass(frozen=True)
class Column:
    """One column: name (unit as suffix), Arrow type, unit, meaning, whether it may be missing, and its range.

    ``unit`` is an astropy unit string ("deg", "arcsec", "mJy / beam") or "" for pure numbers and text. ``minimum`` and
    ``maximum`` are inclusive unless ``maximum_exclusive``. ``ucd`` is the IVOA UCD1+ word used by VOTable exports. A
    column that is not ``versioned`` says where a row came from and does not count as content.
    """

    name: str
    type: pa.DataType
    unit: str
    description: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    maximum_exclusive: bool = False
    ucd: str = ""
    versioned: bool = True

    @property
    def arrow(self) -> pa.Field:
        metadata = {"description": self.description, "unit": self.unit, "ucd": self.ucd}
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=metadata)

    @property
    def allowed(self) -> str:
        """The range in words, for messages ("0 <= ra_deg < 360")."""
        low = f"{self.minimum:g} <= " if self.minimum is not None else ""
        high = f" {'<' if self.maximum_exclusive else '<='} {self.maximum:g}" if self.maximum is not None else ""
        return f"{low}{self.name}{high}"


@dataclass(frozen=True)
class TableSchema:
    """The description of one table, from which everything that must agree with it is derived."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    # Whether the store keeps nothing of an epoch without rows: what few surveys have costs the others nothing.
    optional: bool = False
    _by_name: dict[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {column.name: column for column in self.columns})

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @cached_property
    def arrow(self) -> pa.Schema:
        return pa.schema([column.arrow for column in self.columns])

    def empty(self) -> pd.DataFrame:
        """A table of this schema without rows."""
        return self._empty.copy(deep=False)

    @cached_property
    def _empty(self) -> pd.DataFrame:
        return frame_of(self.arrow.empty_table())

    def to_arrow(self, table: pd.DataFrame | pa.Table) -> pa.Table:
        """The table in this schema's column order and types, checked.

        Parameters
        ----------
        table : DataFrame or pyarrow Table with at least this schema's columns; columns beyond it are an error, because
            a column that no schema describes would be lost or lie.

        Raises
        ------
        SchemaError
            Naming the table, the column, the first offending row and what is allowed.
        """
        names = list(table.column_names if isinstance(table, pa.Table) else table.columns)
        present = set(names)
        missing, unknown = set(self.names) - present, present - set(self.names)
        if missing or unknown or len(names) > len(present):
            raise SchemaError(
                f"table {self.name!r}: "
                + "; ".join(
                    text
                    for text, wrong in (
                        ("missing column(s) ", missing),
                        ("undescribed column(s) ", unknown),
                        ("repeated column(s) ", {name for name in names if names.count(name) > 1}),
                    )
                    for text in ([text + ", ".join(sorted(wrong))] if wrong else [])
                )
            )
        if isinstance(table, pa.Table) and table.schema.equals(self.arrow, check_metadata=True):
            result = table
        else:
            # All at once: to look each column up by its name takes a frame longer than to convert it.
            values = dict(
                zip(table.column_names, table.columns, strict=True) if isinstance(table, pa.Table) else table.items()
            )
            result = pa.Table.from_arrays(
                [self._column(values[one.name], one) for one in self.columns], schema=self.arrow
            )
        self.check(result)
        return result

    def _column(self, values: pd.Series | pa.ChunkedArray, column: Column) -> pa.Array | pa.ChunkedArray:
        try:
            if isinstance(values, pa.ChunkedArray):
                return values.cast(column.type)
            # Plain numbers as they lie in memory, texts as pandas has them of Arrow: Arrow looks for a dozen manners of
            # pandas first.
            kind = values.dtype
            if isinstance(kind, pd.StringDtype) and kind.storage == "pyarrow":
                return values.array.__arrow_array__().cast(column.type)
            plain = isinstance(kind, np.dtype) and kind.kind in "fiub"
            return pa.array(values.to_numpy() if plain else values, type=column.type, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise SchemaError(f"table {self.name!r}: column {column.name!r} is not {column.type}: {error}") from error

    def check(self, table: pa.Table) -> None:
        """Raise SchemaError unless types, missing values, ranges and key of ``table`` are as described."""
        present = set(table.column_names)
        missing = [name for name in self.names if name not in present]
        if missing:
            raise SchemaError(f"table {self.name!r}: missing column(s) {', '.join(missing)}")
        for column in self.columns:
            values = table.column(column.name)
            if values.type != column.type:
                raise SchemaError(f"table {self.name!r}: column {column.name!r} is {values.type}, not {column.type}")
            if not column.nullable and values.null_count:
                row = pc.index(pc.is_null(values), True).as_py()
                raise SchemaError(f"table {self.name!r}: column {column.name!r} is missing in row {row}")
            self._check_range(values, column)
        if self.key and not self._ascends(table) and (repeated := table.num_rows - self._n_keys(table)):
            raise SchemaError(f"table {self.name!r}: key ({', '.join(self.key)}) repeats in {repeated} row(s)")

    def _n_keys(self, table: pa.Table) -> int:
        """How many keys there are, each counted once."""
        threads = table.num_rows > FEW_ROWS
        if len(self.key) == 1 and not threads:
            n: int = pc.count_distinct(table.column(self.key[0]), mode="all").as_py()
            return n
        return int(table.select(list(self.key)).group_by(list(self.key), use_threads=threads).aggregate([]).num_rows)

    def _ascends(self, table: pa.Table) -> bool:
        """Whether the key is one column without gaps that ascends strictly, as ids do, so that none repeats."""
        if table.num_rows < 2:
            return True
        if len(self.key) > 1:
            return False
        values = table.column(self.key[0])
        if values.null_count:
            return False
        return bool(pc.all(pc.less(values[:-1], values[1:])).as_py())

    def _check_range(self, values: pa.ChunkedArray, column: Column) -> None:
        if (column.minimum is None and column.maximum is None) or len(values) == values.null_count:
            return
        extremes = pc.min_max(values).as_py()
        low, high = extremes["min"], extremes["max"]
        too_low = column.minimum is not None and low < column.minimum
        too_high = column.maximum is not None and (
            high >= column.maximum if column.maximum_exclusive else high > column.maximum
        )
        if too_low or too_high:
            worst = low if too_low else high
            row = pc.index(values, pa.scalar(worst, values.type)).as_py()
            raise SchemaError(
                f"table {self.name!r}: {column.name} = {worst!r} in row {row} is not allowed ({column.allowed})"
            )
