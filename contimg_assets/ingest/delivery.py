"""What lies in the incoming folder: which epochs, in which order, and which version of each.

Only names, times and bytes are looked at here; the files themselves are read by `epoch.read_epoch`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity import combine_versions
from contimg_assets.ingest.files import is_moc_text
from contimg_assets.partitions import check_epoch_key

MANIFEST = "images.csv"
_ABSENT = "absent"
_FITS_IMAGES = (".fits", ".fit", ".fits.fz", ".fits.gz")
# Mosaics have gigabytes of pixels, of which nothing is read but the header at their beginning.
_LARGE = 64_000_000


@dataclass(frozen=True)
class Delivery:
    """One epoch as delivered. ``mjd`` is its earliest image's time, inf where the manifest does not tell."""

    epoch: str
    folder: Path
    mjd: float

    @property
    def time_order(self) -> tuple[float, str]:
        return (self.mjd, self.epoch)


def find_deliveries(incoming: Path) -> list[Delivery]:
    """Epochs whose manifest is there, in time order. A folder whose name cannot be an epoch's is left out.

    Raises
    ------
    InputError
        If there is no incoming folder.
    """
    if not incoming.is_dir():
        raise InputError(
            f"{incoming}: no such folder; create it, or set paths.incoming in contimg.yaml to where epochs are "
            "delivered"
        )
    found = [
        Delivery(name, incoming / name, _first_mjd(incoming / name / MANIFEST))
        for name in _visible_names(incoming)
        if _is_epoch_key(name) and _is_file(incoming / name / MANIFEST)
    ]
    return sorted(found, key=lambda delivery: delivery.time_order)


def unusable_folders(incoming: Path) -> dict[str, str]:
    """What lies in the incoming folder and is no delivery, with the reason in words."""
    reasons = {}
    for name in _visible_names(incoming):
        folder = incoming / name
        if _is_file(folder):
            continue
        if not _is_epoch_key(name):
            reasons[name] = "this cannot be an epoch's name: rename the folder to letters, digits and '_.:+-'"
        elif not _is_folder(folder):
            reasons[name] = "this is neither a file nor a folder that can be opened"
        elif not _is_file(folder / MANIFEST):
            similar = [other for other in _visible_names(folder) if other.lower() == MANIFEST]
            hint = f"; is {similar[0]} meant?" if similar else ", which is written last"
            reasons[name] = f"it has no {MANIFEST} yet{hint}"
    return reasons


def delivered_files(folder: Path) -> list[Path]:
    """The files that make up an epoch: its manifest, and the catalogues, images, rms maps and footprints it names.

    Where the manifest cannot be read, every regular file in the folder counts, so that mending any of them is noticed.
    """
    manifest = folder / MANIFEST
    named = {folder / name for row in _manifest_rows(manifest) for name in _named_files(row)}
    if not named:
        named = {folder / name for name in _visible_names(folder) if _is_file(folder / name)}
    return [manifest, *sorted(named - {manifest})]


def _named_files(row: Mapping[str, str]) -> list[str]:
    footprint = row.get("footprint", "")
    names = [row.get(column, "") for column in ("catalogue", "path", "rms_map")]
    return [name for name in (*names, "" if is_moc_text(footprint) else footprint) if name]


def _read_wholly(folder: Path) -> set[Path]:
    """Files of an epoch of which more is read than a header, however large they are."""
    return {folder / row["rms_map"] for row in _manifest_rows(folder / MANIFEST) if row.get("rms_map")}


class DeliveryVersions:
    """Content versions of deliveries, hashing only files whose size or time changed since they were last hashed.

    The memory is a JSON file that may be lost at any time: everything is then hashed once more.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._seen: dict[str, list] = {}
        self._changed = False
        try:
            self._seen = json.loads(memory.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            self._seen = {}

    def version(self, folder: Path) -> str:
        """Version of an epoch's files: their names and bytes. Touching or copying a file changes nothing."""
        files, wholly = delivered_files(folder), _read_wholly(folder)
        return combine_versions(
            *(part for file in files for part in (file.name, self._file_version(file, file in wholly)))
        )

    def quiet_for(self, folder: Path) -> float:
        """Seconds since the youngest of an epoch's files was written."""
        newest = max((file.stat().st_mtime for file in delivered_files(folder) if _is_file(file)), default=0.0)
        return time.time() - newest

    def save(self) -> None:
        """Keep what was hashed for the next process."""
        if not self._changed:
            return
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self._memory.parent}: cannot be made ({error.strerror}); correct paths.store in contimg.yaml"
            ) from error
        temporary = self._memory.with_name(f".{self._memory.name}.{uuid.uuid4().hex}.tmp")
        temporary.write_text(json.dumps(self._seen), encoding="utf-8")
        temporary.replace(self._memory)
        self._changed = False

    def forget_except(self, folders: Mapping[str, Path] | Iterator[Path]) -> None:
        """Drop what belongs to folders that are gone."""
        kept = {str(folder) for folder in (folders.values() if isinstance(folders, Mapping) else folders)}
        gone = [path for path in self._seen if str(Path(path).parent) not in kept]
        for path in gone:
            del self._seen[path]
            self._changed = True

    def _file_version(self, file: Path, wholly: bool) -> str:
        if not _is_file(file):
            return _ABSENT
        status = file.stat()
        signature = [status.st_mtime_ns, status.st_size, status.st_ino, wholly]
        seen = self._seen.get(str(file))
        if seen and seen[:-1] == signature:
            return seen[-1]
        version = file_version(file, wholly)
        # A file written within the last two seconds may change again without its time stamp changing.
        if time.time() - status.st_mtime > 2.0:
            self._seen[str(file)] = [*signature, version]
            self._changed = True
        return version


def file_version(file: Path, wholly: bool = False) -> str:
    """Version of one file's bytes; of a large FITS image only beginning and size, unless more is read of it."""
    if not _is_file(file):
        return _ABSENT
    with file.open("rb") as stream:
        if not wholly and file.stat().st_size > _LARGE and file.name.endswith(_FITS_IMAGES):
            return hashlib.blake2b(stream.read(_LARGE) + str(file.stat().st_size).encode(), digest_size=8).hexdigest()
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def delivery_version(folder: Path) -> str:
    """Version of an epoch's files, all of them hashed now."""
    wholly = _read_wholly(folder)
    return combine_versions(
        *(part for file in delivered_files(folder) for part in (file.name, file_version(file, file in wholly)))
    )


def _visible_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith("."))


def _is_file(path: Path) -> bool:
    """Whether it is a file; a link that leads to itself or nowhere is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises on a loop of links in some versions of Python


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - as above


def _is_epoch_key(name: str) -> bool:
    try:
        check_epoch_key(name)
    except InputError:
        return False
    return True


def _first_mjd(manifest: Path) -> float:
    """Earliest time in a manifest; inf where it cannot be told here."""
    times = (_number(row.get("mjd_mid")) for row in _manifest_rows(manifest))
    return min((mjd for mjd in times if mjd is not None), default=math.inf)


def _manifest_rows(manifest: Path) -> list[dict[str, str]]:
    """Rows of a manifest at a glance; none where it cannot be read (`read_epoch` says what is wrong with it)."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            return list(map(_stripped, csv.DictReader(stream)))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _stripped(row: dict) -> dict[str, str]:
    return {str(key).strip(): str(value or "").strip() for key, value in row.items()}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
