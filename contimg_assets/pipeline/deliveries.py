"""What lies in the incoming folder: which epochs, in which order, and which version of each.

Only names, times and bytes are looked at here; the files themselves are read by `epoch.read_epoch`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contimg_assets.config import Config
from contimg_assets.errors import InputError, StoreError
from contimg_assets.files import reading_from, replace_text, writing_to
from contimg_assets.files.urls import is_url
from contimg_assets.identity.epochs import is_epoch_key, time_order
from contimg_assets.identity.versions import combine_versions
from contimg_assets.ingest.manifest_text import MANIFEST, ManifestText, is_too_large, read_manifest_text, times_of
from contimg_assets.pipeline.file_cache import FileCache, has_settled
from contimg_assets.reading.byte_by_byte import readme_of, readmes_in
from contimg_assets.reading.files import (
    is_allowed,
    is_file,
    is_inside,
    is_moc_text,
    resolve_image,
    visible_names,
    where_it_is,
)

if TYPE_CHECKING:
    from contimg_assets.photometry.images import Maps

_LOG = logging.getLogger(__name__)
# Versions of what is not opened, or cannot be; reading the epoch says what is wrong with it, and the cure.
# Version of the images of an epoch that has none.
NO_IMAGES = "none"
_ABSENT, _OUTSIDE, _UNREADABLE, _TOO_LARGE = "absent", "outside", "unreadable", "too large"
# Files that say themselves what their columns are.
_NO_BARE_TEXT = (
    *(".csv", ".tsv", ".ecsv", ".fits", ".fit", ".xml", ".vot", ".votable", ".parquet", ".pq"),
    *(".db", ".sqlite", ".sqlite3"),
)
_FITS_IMAGES = (".fits", ".fit", ".fits.fz", ".fits.gz")
# Mosaics have gigabytes of pixels, of which nothing is read but the header at their beginning.
_LARGE = 64_000_000
# Clocks of machines that deliver may differ by less.
_AHEAD_SECONDS = 600.0


@dataclass(frozen=True)
class Delivery:
    """One epoch as delivered. ``mjd`` is its earliest image's time, inf where the manifest does not tell."""

    epoch: str
    folder: Path
    mjd: float


def find_deliveries(incoming: Path) -> list[Delivery]:
    """Epochs whose manifest is there, in time order. A folder whose name cannot be an epoch's is left out.

    Raises
    ------
    InputError
        If there is no incoming folder, or it cannot be listed.
    """
    if not incoming.is_dir():
        raise InputError(
            f"{incoming}: no such folder; create it, or set paths.incoming in contimg.yaml to where epochs are "
            "delivered"
        )
    if not _may_be_opened(incoming):
        raise InputError(f"{incoming}: this folder may not be listed; allow the user who runs contimg to read it")
    looked_at = ((name, _glance(f"{incoming}{os.sep}{name}")) for name in visible_names(incoming) if is_epoch_key(name))
    times = {name: glance.mjd for name, glance in looked_at if glance is not None}
    return [Delivery(name, incoming / name, times[name]) for name in time_order(times)]


def unusable_folders(incoming: Path) -> dict[str, str]:
    """What lies in the incoming folder and is no delivery, with the reason in words."""
    reasons = {}
    for name in visible_names(incoming):
        folder = incoming / name
        if is_file(folder):
            continue
        if not is_epoch_key(name):
            reasons[name] = "this cannot be an epoch's name: rename the folder to letters, digits and '_.:+-'"
        elif not _is_folder(folder):
            reasons[name] = "this is neither a file nor a folder that can be opened"
        elif not _may_be_opened(folder):
            reasons[name] = "it may not be opened: allow the user who runs contimg to read the folder"
        elif not is_file(folder / MANIFEST):
            similar = [other for other in visible_names(folder) if other.lower() == MANIFEST]
            hint = f"; is {similar[0]} meant?" if similar else ", which is written last"
            reasons[name] = f"it has no {MANIFEST} yet{hint}"
    return reasons


def delivered_files(folder: Path) -> list[Path]:
    """The files that make up an epoch: its manifest, the catalogs, images, rms maps and footprints that it names, and
    the ReadMe that describes the columns of a catalog beside it.

    Where the manifest cannot be read, every regular file in the folder counts, so that mending any of them is noticed.
    """
    return [Path(file) for file in _files(folder)[0]]


def _files(folder: Path) -> tuple[Sequence[str], frozenset[str]]:
    """Paths of the files that make up an epoch, and of those of them that are read wholly, however large they are."""
    glance = _glance(folder)
    if glance is not None and glance.files:
        return (*glance.files, *_descriptions_beside(glance.texts)), glance.wholly
    manifest = folder / MANIFEST
    others = {folder / name for name in visible_names(folder) if is_file(folder / name)} - {manifest}
    return [str(manifest), *map(str, sorted(others))], frozenset()


class DeliveryVersions:
    """Content versions of deliveries, hashing only files whose size or time changed since they were last hashed.

    The memory is a JSON file that may be lost at any time: everything is then hashed once more.

    Parameters
    ----------
    memory : the JSON file
    roots : folders outside an epoch's own that its files may lie in (`paths.image_roots`)
    """

    def __init__(self, memory: Path, roots: Sequence[Path] = ()) -> None:
        self._memory = memory
        self._roots = roots
        self._asked: set[str] = set()
        self._changed = False
        try:
            with reading_from(memory):
                self._seen = dict(_memories.read(str(memory)))
        except (FileNotFoundError, NotADirectoryError):
            self._seen = {}

    def version(self, folder: Path) -> str:
        """Version of an epoch's files: their names and bytes. Touching or copying a file changes nothing."""
        return self._version(folder, *_files(folder), now=time.time())

    def version_when_quiet(self, folder: Path, seconds: float) -> str | None:
        """Version of an epoch's files, None while one of them was written less than so long ago."""
        files, wholly = _files(folder)
        newest = self._newest(files)
        # After the look, so that nothing seen by it is younger.
        now = time.time()
        if now - newest < seconds:
            return None
        return self._version(folder, files, wholly, now)

    def quiet_for(self, folder: Path) -> float:
        """Seconds since the youngest of an epoch's files was written."""
        return time.time() - self._newest(_files(folder)[0])

    @staticmethod
    def _newest(files: Iterable[str]) -> float:
        states = map(_regular, files)
        latest = time.time() + _AHEAD_SECONDS
        return max((_written_at(status, latest) for status in states if status is not None), default=0.0)

    def _version(self, folder: Path, files: Iterable[str], wholly: frozenset[str], now: float) -> str:
        return _combined(folder, files, self._roots, lambda file: self._file_version(file, file in wholly, now))

    def save(self) -> None:
        """Keep what was hashed for the next process, where that can be written: it saves time and nothing else."""
        if not self._changed:
            return
        try:
            with writing_to(self._memory):
                self._memory.parent.mkdir(parents=True, exist_ok=True)
                replace_text(self._memory, json.dumps(self._seen))
        except StoreError as error:
            _LOG.warning("%s", error)
        self._changed = False

    def forget_except(self, folders: Iterable[Path]) -> None:
        """Drop what belongs to folders that are gone. Files elsewhere stay as long as they are asked for."""
        kept = {str(folder) for folder in folders}
        gone = [path for path in self._seen if path not in self._asked and os.path.dirname(path) not in kept]  # noqa: PTH120
        for path in gone:
            del self._seen[path]
            self._changed = True

    def _file_version(self, file: str, wholly: bool, now: float) -> str:
        status = _regular(file)
        if status is None:
            return _ABSENT
        self._asked.add(file)
        # The last time also changes with who may read it, and with a content whose own time was set back.
        signature = [status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns, wholly]
        *seen, version = self._seen.get(file) or [None]
        if seen == signature and isinstance(version, str):
            return version
        version = file_version(Path(file), wholly)
        # Leave to read a file may be given without its time stamp changing.
        if version != _UNREADABLE and has_settled(status.st_mtime, now):
            self._seen[file] = [*signature, version]
            self._changed = True
        return version


def file_version(file: Path, wholly: bool = False) -> str:
    """Version of one file's bytes; of a large FITS image only beginning and size, unless more is read of it.

    A file that cannot be read has one too: whoever reads it says so, and nothing else waits for it.
    """
    if not is_file(file):
        return _ABSENT
    if file.name == MANIFEST and is_too_large(file):
        return _TOO_LARGE
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if not wholly and size > _LARGE and file.name.endswith(_FITS_IMAGES):
                return hashlib.blake2b(stream.read(_LARGE) + str(size).encode(), digest_size=8).hexdigest()
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    except OSError:
        return _UNREADABLE


def delivery_version(folder: Path, roots: Sequence[Path] = ()) -> str:
    """Version of an epoch's files, all of them hashed now; ``roots`` as in `DeliveryVersions`."""
    files, wholly = _files(folder)
    return _combined(folder, files, roots, lambda file: file_version(Path(file), file in wholly))


def _combined(folder: Path, files: Iterable[str], roots: Sequence[Path], version_of: Callable[[str], str]) -> str:
    """Version of an epoch's files by their names and versions; what lies outside is not looked at."""
    parts = (
        (file.rpartition(os.sep)[2], _OUTSIDE if _is_outside(file, folder, roots) else version_of(file))
        for file in files
    )
    return combine_versions(*itertools.chain.from_iterable(parts))


def _is_outside(file: str, folder: Path, roots: Sequence[Path]) -> bool:
    """Whether a file lies where manifests may not name files, symbolic links followed.

    The manifest itself is no name that anybody wrote: it may be a link.
    """
    parent, _, name = file.rpartition(os.sep)
    if parent == str(folder) and (name == MANIFEST or not os.path.islink(file)):  # noqa: PTH114 - thousands of times
        return False
    try:
        return not is_inside(Path(os.path.realpath(file)), folder, roots)
    except ValueError:  # a name with a zero byte
        return True


def _written_at(status: os.stat_result, latest: float) -> float:
    """When a file was written [Unix seconds]; 0 where its times are not of this world's clock.

    A time far ahead was set by hand, or by a clock that was set back since: it must keep no epoch waiting for years.
    """
    return next((at for at in (status.st_mtime, status.st_ctime) if at <= latest), 0.0)


def _may_be_opened(folder: Path) -> bool:
    """Whether a folder may be listed, and files in it be opened."""
    return os.access(folder, os.R_OK | os.X_OK)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - as `is_file`


@dataclass(frozen=True)
class ImageFiles:
    """Names of an image's files as the manifest states them: the FITS image and, where there are any, its maps."""

    image: str
    rms_map: str | None = None
    background_map: str | None = None


def image_files(folder: Path | str) -> Mapping[str, ImageFiles] | None:
    """The files of each image that the manifest names a FITS image for; None where there is no manifest."""
    glance = _glance(folder)
    return None if glance is None else glance.images


def find_image(folder: Path, files: ImageFiles, config: Config) -> tuple[Path | str, Maps]:
    """Where an image's files are: the image, and its maps of rms and background; each a file or the URL of one.

    Raises
    ------
    InputError
        If one of them is not there, lies where manifests may not name files, or is a URL that is not allowed.
    """
    manifest, urls = folder / MANIFEST, config.paths.image_urls

    def found(name: str, column: str) -> Path | str:
        place = resolve_image(name, folder, config.image_roots, urls, f"{manifest}: column {column!r}")
        return place if isinstance(place, str) else where_it_is(place, config)

    rms, background = (
        None if name is None else found(name, column)
        for name, column in ((files.rms_map, "rms_map"), (files.background_map, "background_map"))
    )
    return found(files.image, "path"), (rms, background)


def images_version(folder: Path | str, roots: Sequence[Path], urls: Sequence[str] = ()) -> str | None:
    """Version of an epoch's FITS images and their maps, by name, size and time: their pixels are not looked at.

    Returns
    -------
    None where there is no manifest; `NO_IMAGES` where none of the images that it names is there.
    """
    named = image_files(folder)
    if named is None:
        return None
    if not named:
        return NO_IMAGES
    states = {image: image_state(Path(folder), files, roots, urls) for image, files in named.items()}
    if not any(states.values()):
        return NO_IMAGES
    return combine_versions(*itertools.chain.from_iterable(sorted(states.items())))


def image_state(folder: Path, files: ImageFiles, roots: Sequence[Path], urls: Sequence[str] = ()) -> str:
    """Names, sizes and times of an image's files; nothing where the image is not there.

    One at a URL is taken to be there and never to change: nobody asks servers for thousands of images every minute.
    But whether it may be opened (``urls``: `paths.image_urls`) can change.
    """
    found = [_state(folder, name, roots, urls) for name in (files.image, files.rms_map, files.background_map)]
    if is_url(files.image) and not any(found[1:]):
        return found[0]
    return "; ".join(found) if found[0] else ""


def _state(folder: Path, name: str | None, roots: Sequence[Path], urls: Sequence[str]) -> str:
    """Name, size and time of a file, or its URL; nothing where it is not there."""
    if name is None:
        return ""
    if is_url(name):
        return name if is_allowed(name, urls) else f"{name} not allowed"
    path = _path(f"{folder}{os.sep}", name)
    status = None if _is_outside(path, folder, roots) else _regular(path)
    return "" if status is None else f"{name} {status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True)
class _Glance:
    """What a manifest says about its epoch: earliest time, paths of the epoch's files, images.

    ``wholly`` are the files that are read wholly, ``texts`` the catalogs that may be texts without a header.
    No files where it names none or cannot be read (`read_epoch` says what is wrong with it).
    """

    mjd: float
    files: tuple[str, ...]
    wholly: frozenset[str]
    texts: tuple[str, ...]
    images: Mapping[str, ImageFiles]


def _read_glance(manifest: str) -> _Glance:
    try:
        text = read_manifest_text(Path(manifest))
    except InputError:
        return _NOTHING
    folder = manifest.rpartition(os.sep)[0] + os.sep
    mjd = min((time for time in times_of(text) if time is not None), default=math.inf)
    wholly = [name for name in (*text.column("rms_map"), *backgrounds_read(text)) if name and not is_url(name)]
    footprints = [name for name in text.column("footprint") if name is not None and not is_moc_text(name)]
    names = [name for column in ("catalogue", "path") for name in text.column(column) if name and not is_url(name)]
    named = {_path(folder, name) for name in (*names, *wholly, *footprints)} - {manifest}
    # Folder by folder, as versions have always been combined.
    in_order = sorted(named, key=lambda file: file.split(os.sep))  # noqa: PTH206 - thousands of times
    files = (manifest, *in_order) if named else ()
    catalogs = {_path(folder, name) for name in text.column("catalogue") if name and not is_url(name)}
    texts = tuple(sorted(name for name in catalogs if not name.lower().removesuffix(".gz").endswith(_NO_BARE_TEXT)))
    return _Glance(mjd, files, frozenset(_path(folder, name) for name in wholly), texts, _images_of(text))


def backgrounds_read(text: ManifestText) -> list[str | None]:
    """Maps of background that reading the epoch needs: of images without a catalog, in which fluxes are measured.

    Of the others nothing but forced fluxes is made, which have a version of their own.
    """
    both = zip(text.column("catalogue"), text.column("background_map"), strict=True)
    return [background for catalog, background in both if not catalog]


def _descriptions_beside(catalogs: Iterable[str]) -> list[str]:
    """ReadMes that describe the columns of some catalogs, as reading them finds them: beside what a link leads to."""
    beside: dict[str, list[str]] = {}
    for catalog in catalogs:
        file = os.path.realpath(catalog) if os.path.islink(catalog) else catalog  # noqa: PTH114 - as `_is_outside`
        folder, _, name = file.rpartition(os.sep)
        beside.setdefault(folder, []).append(name)
    found = set()
    for folder, names in beside.items():
        try:
            readmes = _readmes.read(folder)
        except (OSError, ValueError):
            continue
        if readmes:
            found |= {readme_of(Path(folder, name), readmes) for name in names}
    return sorted(str(readme) for readme in found if readme is not None)


def _images_of(text: ManifestText) -> dict[str, ImageFiles]:
    columns = zip(*(text.column(name) for name in ("image", "path", "rms_map", "background_map")), strict=True)
    return {image: ImageFiles(path, rms, level) for image, path, rms, level in columns if image and path}


def _path(folder: str, name: str) -> str:
    """Where a manifest's name leads, written in one way however it was written there."""
    if "/." not in name and "//" not in name and not name.startswith(("/", ".")) and not name.endswith("/"):
        return folder + name
    return str(Path(folder, name))


def _read_memory(file: str) -> dict[str, list[Any]]:
    """What was hashed, as far as it can be read: of what is damaged, nothing is lost but time."""
    try:
        content = json.loads(Path(file).read_bytes())
        if isinstance(content, dict) and all(isinstance(value, list) for value in content.values()):
            return content
        fault = "no memory of ours"
    except (ValueError, RecursionError) as error:
        fault = type(error).__name__
    _LOG.warning("%s is damaged (%s): all deliveries are hashed once more", file, fault)
    return {}


_NOTHING = _Glance(math.inf, (), frozenset(), (), {})
_glances = FileCache(_read_glance)
# A folder's own time changes with the names in it.
_readmes = FileCache(readmes_in)
_memories = FileCache(_read_memory)


def _glance(folder: Path | str) -> _Glance | None:
    """What the manifest says; None where there is none."""
    manifest = f"{folder}{os.sep}{MANIFEST}"
    status = _regular(manifest)
    if status is None:
        return None
    try:
        return _glances.read(manifest, status)
    except OSError:
        return _NOTHING


def _regular(file: str) -> os.stat_result | None:
    """State of a regular file; None where there is none, such as a link that leads to itself or nowhere."""
    try:
        status = os.stat(file)  # noqa: PTH116 - thousands of times a second
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None
