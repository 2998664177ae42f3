"""Catalogs in HATS: Parquet files by tile of the sky, of which no more are opened than a part of the sky needs.

The layout is that of HATS (https://hats.readthedocs.io): a folder with ``hats.properties``, ``partition_info.csv`` and
``dataset/Norder=K/Dir=D/Npix=N.parquet``; or a collection, whose ``collection.properties`` names such a folder. It is
read here without any package of its own.

Belongs here: what lies where, which tiles are near, and the version. Does not belong here: what the columns mean, which
is read as of any other file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from contimg_assets.errors import InputError
from contimg_assets.files import reading_from
from contimg_assets.sky.arrays import Flags, Indices, Integers
from contimg_assets.sky.cells import FINEST_ORDER, neighborhood, order_of_radius

COLLECTION, PROPERTIES, PARTITIONS = "collection.properties", "hats.properties", "partition_info.csv"
ALL_PROPERTIES = (PROPERTIES, "properties")
_SUFFIX, _ROWS = "hats_npix_suffix", "hats_nrows"
_TABLES = ("object", "source")
_FILES_PER_FOLDER = 10_000
# Of a Parquet file: how long its footer is, and the magic number.
_END_BYTES = 8


def is_hats(path: Path) -> bool:
    """Whether a folder is a catalog or a collection in HATS."""
    return path.is_dir() and any((path / name).is_file() for name in (COLLECTION, *ALL_PROPERTIES))


def tile_file(folder: Path, order: int, pixel: int, suffix: str = ".parquet") -> Path:
    """The file, or folder, of a tile in the folder of a catalog."""
    first = pixel - pixel % _FILES_PER_FOLDER
    return folder / "dataset" / f"Norder={order}" / f"Dir={first}" / f"Npix={pixel}{suffix}"


@dataclass(frozen=True)
class HatsCatalog:
    """A catalog in HATS, as its folder describes it.

    Parameters
    ----------
    folder : of the catalog itself, within a collection or not
    orders, pixels : nested HEALPix tiles, in the order of the sky, shape (n,)
    properties : as written in ``hats.properties``
    """

    folder: Path
    orders: Integers
    pixels: Integers
    properties: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def position_columns(self) -> dict[str, str]:
        """Our columns of positions -> theirs, where the properties tell."""
        theirs = {"ra_deg": self.properties.get("hats_col_ra"), "dec_deg": self.properties.get("hats_col_dec")}
        return {ours: name for ours, name in theirs.items() if name}

    @property
    def says_rows(self) -> bool:
        """Whether the properties tell how many rows there are."""
        return self.properties.get(_ROWS, "").isdecimal()

    @property
    def in_folders(self) -> bool:
        """Whether each tile is a folder of files."""
        return self._suffix == "/"

    @property
    def _suffix(self) -> str:
        return self.properties.get(_SUFFIX, ".parquet")

    @property
    def n_rows(self) -> int:
        """Rows of all tiles: as the properties say, else as the files do."""
        if self.says_rows:
            return int(self.properties[_ROWS])
        return sum(pq.read_metadata(file).num_rows for file in self._all_files())

    def place(self, tile: int) -> Path:
        """Where the file of a tile is, or the folder of its files, there or not."""
        return tile_file(self.folder, int(self.orders[tile]), int(self.pixels[tile]), self._suffix)

    def files(self, tile: int) -> list[Path]:
        """Parquet files of a tile: one, or those in its folder.

        Raises
        ------
        InputError
            If there are none.
        """
        files = self._files(tile)
        if not files:
            raise InputError(
                f"{self.place(tile)}: the catalog's {PARTITIONS} lists tile Norder={self.orders[tile]}, "
                f"Npix={self.pixels[tile]}, and its file is not there; copy the catalog again"
            )
        return files

    def is_here(self, tile: int) -> bool:
        """Whether a tile has a file."""
        return bool(self._files(tile))

    def _files(self, tile: int) -> list[Path]:
        one = self.place(tile)
        if self.in_folders:
            return sorted(one.glob("*.parquet"))
        return [one] if one.is_file() else []

    def near(self, flags: Flags, order: int, margin_arcsec: float) -> Indices:
        """Tiles that hold or touch any of the cells of an order whose flag is set, with a margin; in the sky's order.

        Parameters
        ----------
        flags : shape (12 * 4**order,)
        order : of the flagged cells
        margin_arcsec : how far outside of its tile a source may be; up to a cell's width of that more is looked at
        """
        coarse = min(order, max(order_of_radius(margin_arcsec), 0))
        cells = np.flatnonzero(flags).astype(np.int64)
        wide = np.flatnonzero(neighborhood(cells << 2 * (FINEST_ORDER - order), coarse))
        # Tiles may be finer than the cells, or hold many of them.
        within, holding = np.maximum(self.orders - coarse, 0), np.maximum(coarse - self.orders, 0)
        first = (self.pixels >> 2 * within) << 2 * holding
        last = first + (1 << 2 * holding) - 1
        return np.flatnonzero(np.searchsorted(wide, last, side="right") > np.searchsorted(wide, first, side="left"))

    def stamp(self) -> str:
        """Version of what the folder says of itself, and of the sizes and times of all files; no row is read.

        Raises
        ------
        InputError
            If a file that the catalog lists is not there.
        """
        digest = self._digest_of_tiles()
        digest.update(repr(sorted(self.properties.items())).encode())
        for file in self._all_files():
            found = file.stat()
            digest.update(f"{file.name} {found.st_size} {found.st_mtime_ns}".encode())
        return digest.hexdigest()

    def version(self) -> str:
        """Version of the content: lists of tiles, and of each file its size and footer, with statistics of all columns.

        Raises
        ------
        InputError
            If a file that the catalog lists is not there, or cannot be read.
        """
        digest = self._digest_of_tiles()
        for file in self._all_files():
            digest.update(_footer(file))
        return digest.hexdigest()

    def _digest_of_tiles(self) -> hashlib.blake2b:
        return hashlib.blake2b(np.stack([self.orders, self.pixels]).astype("<i8").tobytes(), digest_size=8)

    def _all_files(self) -> Iterator[Path]:
        for tile in range(len(self)):
            yield from self.files(tile)


def _footer(file: Path) -> bytes:
    with reading_from(file), file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _END_BYTES))
        end = stream.read()
        if size < _END_BYTES or not end.endswith(b"PAR1"):
            raise InputError(f"{file}: this is no whole Parquet file; copy the catalog again")
        stream.seek(max(0, size - _END_BYTES - int.from_bytes(end[:4], "little")))
        return str(size).encode() + stream.read()


def open_hats(path: Path) -> HatsCatalog:
    """What a folder in HATS says of itself; no tile is opened.

    Parameters
    ----------
    path : of a catalog, or of a collection, whose primary table is taken

    Raises
    ------
    InputError
        If it is no catalog of sources, or is incomplete.
    """
    folder = folder_of_catalog(path)
    file = next((folder / name for name in ALL_PROPERTIES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder}: no {PROPERTIES} here; give the folder of a catalog or collection in HATS")
    properties = read_properties(file)
    kind = properties.get("dataproduct_type", "object")
    if kind not in _TABLES:
        raise InputError(
            f"{path}: this is a HATS table of type {kind!r}, and a reference catalog is of type {' or '.join(_TABLES)}"
        )
    suffix = properties.get(_SUFFIX, "/")
    if suffix != "/" and PurePath(suffix).name != suffix:
        raise InputError(f"{file}: {_SUFFIX} is {suffix!r}, which is no end of a file's name; copy the catalog again")
    orders, pixels = _partitions(folder)
    first = pixels << 2 * (FINEST_ORDER - orders)
    in_order = np.argsort(first, kind="stable")
    return HatsCatalog(folder, orders[in_order], pixels[in_order], properties)


def folder_of_catalog(path: Path) -> Path:
    """The folder of the catalog: of a collection that of its primary table, which lies within.

    Raises
    ------
    InputError
        If the collection names none, or one elsewhere.
    """
    collection = path / COLLECTION
    if not collection.is_file():
        return path
    name = read_properties(collection).get("hats_primary_table_url", "")
    if not name or not (path / name).resolve().is_relative_to(path.resolve()):
        raise InputError(
            f"{collection}: hats_primary_table_url is {name!r}, and should name a folder in the collection; give the "
            "folder of the catalog itself"
        )
    return path / name


def read_properties(file: Path) -> dict[str, str]:
    """What a file of properties says, by key."""
    with reading_from(file):
        lines = file.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _partitions(folder: Path) -> tuple[Integers, Integers]:
    """Orders and pixels of all tiles.

    Raises
    ------
    InputError
        If the list of tiles is not there, is damaged, or lists none.
    """
    file = folder / PARTITIONS
    try:
        table = pd.read_csv(file, usecols=["Norder", "Npix"], dtype=np.int64)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file, which lists the tiles of a catalog in HATS; copy it again") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: this does not list tiles (columns Norder, Npix); copy the catalog again") from error
    orders, pixels = table["Norder"].to_numpy(), table["Npix"].to_numpy()
    wrong = (orders < 0) | (orders > FINEST_ORDER) | (pixels < 0)
    wrong |= pixels >= 12 << 2 * np.clip(orders, 0, FINEST_ORDER)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{file}: row {row + 1}: there is no tile Norder={orders[row]}, Npix={pixels[row]} on the sky; copy the "
            "catalog again"
        )
    if not len(orders):
        raise InputError(f"{file}: it lists no tile; the catalog is empty")
    return orders, pixels
