"""Any table, by our own column names or by a declared column map with units (`ingest.column_map`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from contimg_assets.config import ColumnSource
from contimg_assets.ingest.readers.base import NEEDS, Rows, Source
from contimg_assets.reading.columns import bare_name
from contimg_assets.reading.positions import PARTS, parts_in
from contimg_assets.schemas.core import TEXT
from contimg_assets.schemas.detections import DETECTIONS

_NOT_DELIVERED = {"measurement_id", "image", "line"}
_AS_TEXT = {"has_siblings", "forced"}


class TableReader:
    """A table whose columns are called like ours, or are declared.

    Parameters
    ----------
    column_map : our column -> the file's column and unit
    """

    name = "table"
    signature: tuple[frozenset[str], ...] = ()

    def __init__(self, column_map: Mapping[str, ColumnSource]) -> None:
        self._map = dict(column_map)

    def recognizes(self, columns: Collection[str], file_name: str) -> bool:
        return not self.lacks(columns)

    def lacks(self, columns: Collection[str]) -> list[tuple[str, ...]]:
        """What is needed of `NEEDS` and is not among these columns."""
        present = {name.lower() for column in columns for name in (column, bare_name(column)[0])}
        present |= {ours for ours in PARTS if parts_in(columns, ours)}
        names = {ours: source.names[0].lower() for ours, source in self._sources().items()}
        return [choice for choice in NEEDS if not any(names[ours] in present for ours in choice)]

    @property
    def declared(self) -> frozenset[str]:
        """Columns that the column map names."""
        return frozenset(source.column for source in self._map.values())

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        return tuple(self._sources().values())

    def _sources(self) -> dict[str, Source]:
        result = {}
        for column in DETECTIONS:
            if column.name in _NOT_DELIVERED:
                continue
            declared = self._map.get(column.name)
            text = column.type == TEXT or column.name in _AS_TEXT
            name = declared.column if declared else column.name
            stated = declared is not None and declared.unit is not None
            unit = declared.unit if declared is not None and declared.unit is not None else column.unit
            missing = (0.0,) if column.name == "local_rms_mjy_beam" else ()
            result[column.name] = Source(column.name, (name,), unit, missing, text=text, declared=stated)
        return result

    def wrote(self, comments: Sequence[str]) -> bool:
        return False

    def needs(self) -> Sequence[tuple[str, ...]]:
        return NEEDS

    def finish(self, rows: Rows) -> None:
        return
