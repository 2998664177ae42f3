"""Catalogs in HATS at a URL: what they say of themselves, and the tiles that were needed so far, in a folder here.

Belongs here: which files are fetched, and when. Does not belong here: what lies where in such a folder, and how
rows are read, which is as of any other catalog in HATS.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from contimg_assets.catalogs.hats import (
    ALL_PROPERTIES,
    COLLECTION,
    PARTITIONS,
    HatsCatalog,
    folder_of_catalog,
    is_hats,
    open_hats,
    read_properties,
)
from contimg_assets.errors import InputError
from contimg_assets.files import replacing, writing_to
from contimg_assets.files.servers import Silent, at_once, download, files_in, size_of, stamp_of
from contimg_assets.files.urls import shown_url, url_in
from contimg_assets.identity.versions import version_of_value

# What such a file says of a catalog or a collection, one of these at least; and how large none is.
_SAID = ("dataproduct_type", "obs_collection", "hats_primary_table_url")
_LARGEST_BYTES = 1_000_000
# A URL that ends as a file's name does, or asks a program, is not looked at as a folder; one that ends in a number is.
_A_FILE = re.compile(r"\?|\.(?!hats/?$)[A-Za-z][A-Za-z0-9]*$")


def stamp_of_hats(url: str, folder: Path) -> str | None:
    """Version of a catalog in HATS by what its server says of its lists; None where there is no such catalog.

    Parameters
    ----------
    url : of a catalog or collection, or of anything else
    folder : that `bring_hats` made, or not yet; it tells which lists there are, else they are looked for

    Raises
    ------
    InputError
        If the server does not answer, or a list is gone.
    """
    if is_hats(folder):
        lists: list[str] | None = _lists_in(folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            lists = _bring_lists(url, Path(temporary))
    return None if lists is None else version_of_value([url, *(stamp_of(url_in(url, name)) for name in lists)])


def _lists_in(folder: Path) -> list[str]:
    catalog = folder_of_catalog(folder)
    places = [folder / COLLECTION, *(catalog / name for name in (*ALL_PROPERTIES, PARTITIONS))]
    return [place.relative_to(folder).as_posix() for place in places if place.is_file()]


def bring_hats(url: str, folder: Path) -> bool:
    """Put what a catalog says of itself into a folder, with one tile, which tells the columns of all.

    Parameters
    ----------
    url : of a catalog or collection in HATS, or of anything else
    folder : replaced; tiles of before go

    Returns
    -------
    Whether there is such a catalog; if not, nothing was done

    Raises
    ------
    InputError
        If the server does not answer, or the catalog is none of sources, is incomplete or does not say its rows.
    """
    with _new_folder(folder) as new:
        if _bring_lists(url, new) is None:
            return False
        hats = open_hats(new)
        if not hats.says_rows:
            raise InputError(
                f"{shown_url(url)}: this catalog in HATS does not say hats_nrows; copy it and give its path"
            )
        bring_tiles(url, new, hats, [0])
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    return True


@contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    """An empty folder beside a place, to be filled and renamed; what is left of it goes at the end."""
    with writing_to(place, None):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as temporary:
            new = Path(temporary) / place.name
            new.mkdir()
            yield new


def bring_tiles(url: str, folder: Path, hats: HatsCatalog, tiles: Iterable[int]) -> None:
    """Fetch those of some tiles that are not in the folder yet, many at once.

    Parameters
    ----------
    url : of the catalog or collection
    folder : that `bring_hats` made
    hats : what it says of itself

    Raises
    ------
    InputError
        If the server does not answer, or has no such tile.
    """
    missing = [tile for tile in tiles if not hats.is_here(tile)]
    if missing:
        at_once(lambda tile: _bring_tile(url, folder, hats.place(tile), hats.in_folders), missing)


def _bring_tile(url: str, folder: Path, place: Path, is_folder: bool) -> None:
    name = place.relative_to(folder).as_posix()
    if not is_folder:
        _bring(url, folder, name)
        return
    files = [one for one in files_in(url_in(url, name)) if one.endswith(".parquet") and "/" not in one]
    # All of its files or none: those that are there count as the whole tile.
    with _new_folder(place) as new:
        for one in files:
            download(url_in(url, f"{name}/{one}"), new / one)
        if files and not place.exists():
            new.rename(place)


def _bring_lists(url: str, folder: Path) -> list[str] | None:
    """Fetch what a catalog says of itself; the names of these files below the URL, or None where there is none."""
    if _A_FILE.search(url):
        return None
    if _says_something(url, folder, COLLECTION):
        within = folder_of_catalog(folder).relative_to(folder).as_posix()
        found = _bring_catalog(url, folder, f"{within}/")
        return None if found is None else [COLLECTION, *found]
    return _bring_catalog(url, folder, "")


def _bring_catalog(url: str, folder: Path, within: str) -> list[str] | None:
    properties = next((name for name in ALL_PROPERTIES if _says_something(url, folder, within + name)), None)
    if properties is None:
        return None
    _bring(url, folder, within + PARTITIONS)
    return [within + properties, within + PARTITIONS]


def _says_something(url: str, folder: Path, name: str) -> bool:
    """Fetch a file of properties, if there is one."""
    try:
        size = size_of(url_in(url, name))
        # A server that answers with its own page, or a file of which this is no part, says nothing of a catalog.
        if size is not None and size > _LARGEST_BYTES:
            return False
        _bring(url, folder, name)
    except Silent:
        raise
    except InputError:
        # Not there; some stores refuse what they do not have, unless one may list them.
        return False
    with suppress(UnicodeDecodeError):
        if set(_SAID) & set(read_properties(folder / name)):
            return True
    (folder / name).unlink()
    return False


def _bring(url: str, folder: Path, name: str) -> None:
    file = folder / name
    with writing_to(file, None):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            download(url_in(url, name), temporary)
