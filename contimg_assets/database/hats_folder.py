"""A folder that holds a HATS collection of ours, in one state after the other: readers open the last whole one.

    sources_hats/
        collection.properties           names the state that is there; written last
        sources_<state>/                the catalog of a state, with its record, contimg.json
        margin_<state>/                 what lies just outside of each of its tiles
        .contimg_assets                 says that the folder is ours

Files of a state are never changed. A new state takes the files of the one before it that are the same, as further names
of these, so that only tiles that changed are written. The state before the last one stays for those who opened it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets.catalogs.hats import COLLECTION, PARTITIONS, PROPERTIES, read_properties, tile_file
from contimg_assets.database.nested_sources import SPATIAL_INDEX
from contimg_assets.errors import InputError
from contimg_assets.files import keep, replace_text, replace_texts
from contimg_assets.files.locks import one_at_a_time
from contimg_assets.identity.versions import combine_versions
from contimg_assets.sky.cells import FINEST_ORDER

SOURCES, MARGIN = "sources", "margin"
# Says what stands in a folder that was written here: nothing else is ever replaced.
_MARK, _RECORD = ".contimg_assets", "contimg.json"
_LOCK, _NEW = ".lock", ".new"
_TABLE_KEY = "hats_primary_table_url"
_VERSION = "v1.0"


@dataclass(frozen=True)
class TileFile:
    """What is known of a tile's file.

    Attributes
    ----------
    inputs : version of what it was made from, as far as that can be told without making it
    content : version of its rows; empty where it has none, and there is no file
    n_rows : how many
    """

    inputs: str
    content: str = ""
    n_rows: int = 0


@dataclass(frozen=True)
class State:
    """A state of the collection.

    Attributes
    ----------
    form : version of how it is laid out and written; those of another one are made anew
    order : of its tiles, HEALPix, nested
    margin_arcsec : width of the margin
    tiles : by table, SOURCES or MARGIN, and pixel
    """

    form: str
    order: int
    margin_arcsec: float
    tiles: Mapping[str, Mapping[int, TileFile]] = field(default_factory=lambda: {SOURCES: {}, MARGIN: {}})

    @property
    def name(self) -> str:
        """Version of its content."""
        files = [f"{table} {pixel} {one.content}" for table, of in self.tiles.items() for pixel, one in of.items()]
        return combine_versions(self.form, str(self.order), repr(self.margin_arcsec), *sorted(files))

    def filled(self, table: str) -> dict[int, TileFile]:
        """Tiles of a table that have rows, in the order of the sky."""
        return {pixel: one for pixel, one in sorted(self.tiles[table].items()) if one.n_rows}


class HatsFolder:
    """The folder of a collection.

    Parameters
    ----------
    path : of the folder; of a link, where it leads to

    Raises
    ------
    InputError
        If it holds anything that was not written here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._refuse_others()

    def _refuse_others(self) -> None:
        if not self.path.parent.is_dir():
            raise InputError(f"folder {self.path.parent} does not exist; create it first, or name another")
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is a file; name a folder")
        mark = self.path / _MARK
        ours = {_MARK, _LOCK, _NEW, *mark.read_text(encoding="utf-8").splitlines()} if mark.is_file() else set()
        # Who was killed leaves a file that has its name not yet.
        present = {one.name for one in self.path.iterdir() if one.suffix != ".tmp"}
        if others := sorted(present - ours):
            raise InputError(f"{self.path} holds {others[0]!r}, which was not written here; name another folder")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process writes here."""
        self.path.mkdir(exist_ok=True)
        mark, lock = self.path / _MARK, self.path / _LOCK
        if not mark.exists():
            replace_text(mark, "")
        if not lock.exists():
            lock.touch()
        with one_at_a_time(lock):
            self.forget()
            try:
                yield
            finally:
                self.forget()

    def state(self) -> State | None:
        """The state that readers find; None if there is none, or one that says nothing of itself."""
        name = self._current()
        record = self.path / str(name) / _RECORD
        if name is None or not record.is_file():
            return None
        found = json.loads(record.read_text(encoding="utf-8"))
        tables = {
            table: {int(pixel): TileFile(**one) for pixel, one in of.items()}
            for table, of in found.pop("tiles").items()
        }
        return State(**found, tiles=tables)

    def _current(self) -> str | None:
        file = self.path / COLLECTION
        return read_properties(file).get(_TABLE_KEY) if file.is_file() else None

    def written(self, table: str, pixel: int, order: int, rows: pa.Table) -> Path:
        """Write the rows of a tile where nobody reads them yet. Returns the file."""
        file = tile_file(self._new / table, order, pixel)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, file)
        return file

    @property
    def _new(self) -> Path:
        return self.path / _NEW

    def publish(self, state: State, schema: pa.Schema) -> None:
        """Make a state the one that readers find; all its files that the one before has not were `written`."""
        before = self.state()
        if before is not None and before.name == state.name:
            if before != state:
                replace_text(self.path / f"{SOURCES}_{state.name}" / _RECORD, _record(state))
            return
        names = {table: f"{table}_{state.name}" for table in (SOURCES, MARGIN)}
        self._claim([*names.values()])
        for table, name in names.items():
            # One that is there is whole: what was a state may be one again.
            if not (self.path / name).is_dir():
                self._complete(table, state, before, schema)
                (self._new / table).rename(self.path / name)
        replace_text(self.path / names[SOURCES] / _RECORD, _record(state))
        keep([], [self.path])
        last = self._current()
        replace_text(self.path / COLLECTION, _properties(_of_collection(names)))
        self._tidy({*names.values(), *([last, last.replace(SOURCES, MARGIN)] if last else [])})

    def withdraw(self) -> None:
        """Take the collection away: there are no sources any more."""
        (self.path / COLLECTION).unlink(missing_ok=True)
        self._tidy(set())

    def forget(self) -> None:
        """Remove what was written and not published."""
        shutil.rmtree(self._new, ignore_errors=True)

    def _complete(self, table: str, state: State, before: State | None, schema: pa.Schema) -> None:
        """Give a table that is not published yet the files of the state before, and what describes it."""
        new, filled = self._new / table, state.filled(table)
        known = {} if before is None else before.tiles[table]
        for pixel, one in filled.items():
            file = tile_file(new, state.order, pixel)
            if not file.exists():
                assert before is not None and known[pixel].content == one.content
                file.parent.mkdir(parents=True, exist_ok=True)
                _link(tile_file(self.path / f"{table}_{before.name}", state.order, pixel), file)
        data = new / "dataset"
        data.mkdir(parents=True, exist_ok=True)
        pq.write_metadata(schema, data / "_common_metadata")
        texts = {PROPERTIES: _properties(_of_table(table, state))}
        texts[PARTITIONS] = "Norder,Npix\n" + "".join(f"{state.order},{pixel}\n" for pixel in filled)
        replace_texts({new / name: text for name, text in texts.items()})
        files = [file for file in new.rglob("*") if file.is_file()]
        keep(files, [new, *(folder for folder in new.rglob("*") if folder.is_dir())])

    def _claim(self, names: list[str]) -> None:
        """Note what is ours before it is there."""
        mark = self.path / _MARK
        ours = {*mark.read_text(encoding="utf-8").splitlines(), *names, COLLECTION}
        replace_text(mark, "".join(f"{name}\n" for name in sorted(ours)))

    def _tidy(self, kept: set[str]) -> None:
        """Remove all states but some, and what was left over."""
        kept = {*kept, COLLECTION, _MARK, _LOCK}
        for one in self.path.iterdir():
            if one.name not in kept:
                shutil.rmtree(one) if one.is_dir() else one.unlink()


def _link(file: Path, name: Path) -> None:
    """A further name of a file; a copy on file systems that have none."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)


def _record(state: State) -> str:
    return json.dumps(asdict(state), sort_keys=True)


def _properties(pairs: Mapping[str, object]) -> str:
    return "".join(f"{key}={value}\n" for key, value in pairs.items())


def _of_collection(names: Mapping[str, str]) -> dict[str, object]:
    return {
        "obs_collection": SOURCES,
        _TABLE_KEY: names[SOURCES],
        "all_margins": names[MARGIN],
        "default_margin": names[MARGIN],
        "hats_version": _VERSION,
    }


def _of_table(table: str, state: State) -> dict[str, object]:
    """What a catalog, or the margins of one, says of itself."""
    rows = [one.n_rows for one in state.filled(table).values()]
    pairs: dict[str, object] = {
        "obs_collection": f"{table}_{state.name}",
        "dataproduct_type": "object" if table == SOURCES else "margin",
        "hats_nrows": sum(rows),
        "hats_col_ra": "ra_deg",
        "hats_col_dec": "dec_deg",
        "hats_col_healpix": SPATIAL_INDEX,
        "hats_col_healpix_order": FINEST_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max(rows, default=0),
        "hats_order": state.order,
        "hats_version": _VERSION,
    }
    if table == MARGIN:
        pairs |= {_TABLE_KEY: f"{SOURCES}_{state.name}", "hats_margin_threshold": state.margin_arcsec}
    return pairs
