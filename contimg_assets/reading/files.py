"""Opening delivered files safely: only regular files inside allowed folders, of bounded size.

Belongs here: everything that touches the file system for the epoch's input. Names in manifests are never trusted.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.files.stand_ins import is_stand_in
from contimg_assets.files.urls import is_url, url_in

MAX_BYTES = 2**31 - 2**20
"""Largest catalog, after decompression: Arrow counts the bytes of a text in 32 bits."""

MAX_MOC_TEXT = 100_000
"""Longest footprint that may stand in a manifest itself [characters]."""

# A file that unpacks to more than this waits for the other ones that do: threads read several files at once.
_LARGE = 64_000_000
_ONE_LARGE = threading.Lock()

_GZIP = b"\x1f\x8b"
_MOC_TEXT = re.compile(r"\s*(\d{1,2}/|\{)")
_ANYTHING = re.compile(rb"[^ \t\r\n\0]")


def resolve_inside(name: str, folder: Path, roots: Sequence[Path], where: str) -> Path:
    """The regular file that ``name`` (relative to ``folder``, or absolute) means, if it lies in an allowed folder.

    Parameters
    ----------
    name : as a manifest states it
    folder : the epoch's folder, always allowed
    roots : further folders that the configuration allows (`paths.image_roots`)
    where : what names the file, for messages ("images.csv line 3, column 'catalogue'")

    Raises
    ------
    InputError
        If the name is empty, leaves the allowed folders (symbolic links followed), or is not a regular file.
    """
    if not name or "\0" in name or len(name) > 4096:
        raise InputError(f"{where}: {name[:80]!r} is not a file name; name a file inside {folder}")
    try:
        target = (folder / name).resolve(strict=True)
        inside = is_inside(target, folder, roots)
        mode = target.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(
            f"{where} names {name!r}, which is not in {folder}; deliver the file, or take its row out"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{where} names {name!r}, which cannot be opened ({_reason(error)}); deliver a regular file"
        ) from error
    if not inside:
        raise InputError(
            f"{where} names {name!r}, which lies outside {folder}; "
            "move it there, or allow its folder in paths.image_roots"
        )
    if not stat.S_ISREG(mode):
        raise InputError(f"{where} names {name!r}, which is not a regular file; deliver a file")
    return target


def where_it_is(file: Path, config: Config) -> Path | str:
    """A delivered file itself; its URL where it only stands for one that is read at its server.

    Parameters
    ----------
    file : as `resolve_inside` gives it

    Raises
    ------
    InputError
        If its name is none that a URL could hold.
    """
    beginning = config.paths.incoming_url
    if beginning is None:
        return file
    copies = Path(os.path.realpath(config.incoming))
    if not file.is_relative_to(copies) or not is_stand_in(file):
        return file
    url = url_in(beginning, file.relative_to(copies).as_posix())
    if not is_allowed(url, [beginning]):
        raise InputError(f"{url}: a name with '..' or '::' is not read at a server; give the file another one")
    return url


def is_allowed(url: str, beginnings: Sequence[str]) -> bool:
    """Whether a URL begins as one of some others.

    A beginning ends at a slash, so that no host or folder is taken for one whose name goes on; '..' leads out of it,
    and by '::' fsspec would look into another file.
    """
    return ".." not in url and "::" not in url and any(url.startswith(one.rstrip("/") + "/") for one in beginnings)


def resolve_image(name: str, folder: Path, roots: Sequence[Path], urls: Sequence[str], where: str) -> Path | str:
    """The file or the URL of an image, as `resolve_inside`; a URL only if the configuration allows it.

    Parameters
    ----------
    urls : beginnings of URLs that the configuration allows (`paths.image_urls`)

    Raises
    ------
    InputError
        As of `resolve_inside`; or if no allowed URL begins as this one.
    """
    if not is_url(name):
        return resolve_inside(name, folder, roots, where)
    if is_allowed(name, urls):
        return name
    raise InputError(f"{where} names {name[:200]!r}, which is not allowed; add the beginning of it to paths.image_urls")


def is_inside(target: Path, folder: Path, roots: Sequence[Path]) -> bool:
    """Whether a path without symbolic links lies in an epoch's folder, or in one of those that are allowed besides."""
    return any(target.is_relative_to(os.path.realpath(root)) for root in (folder, *roots))


def visible_names(folder: Path) -> list[str]:
    """Names in a folder but the hidden ones, sorted; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except PermissionError:
        return []


def is_file(path: Path) -> bool:
    """Whether it is a file; a link that leads to itself or nowhere, or what may not be looked at, is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for these in some versions of Python


def read_bytes(path: Path, max_unpacked_mb: float, held: ExitStack) -> bytes:
    """The content of a file, decompressed if it is gzip.

    Parameters
    ----------
    max_unpacked_mb : how large a gzip file may become [MB], for a thousandth of that may be all that was delivered
    held : to be closed when the content is no longer needed; a large one that was unpacked holds up the next until then

    Raises
    ------
    InputError
        If it cannot be read, is empty, a broken gzip file, or larger than `MAX_BYTES` or ``max_unpacked_mb``.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a regular file; deliver a file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES} bytes; split the catalog, one file an image")
        content = path.read_bytes()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)}); allow it, or deliver the file again") from error
    if content.startswith(_GZIP):
        content = _decompress(content, path, max_unpacked_mb, held)
    if not _ANYTHING.search(content):
        raise InputError(
            f"{path}: the file is empty; deliver it again (a catalog without detections still has its header line; or "
            "state n_detections 0 for its image in images.csv)"
        )
    return content


def _decompress(content: bytes, path: Path, max_unpacked_mb: float, held: ExitStack) -> bytes:
    """All members of a gzip file, in time that grows with its size, however many they are."""
    limit = min(int(max_unpacked_mb * 1e6), MAX_BYTES)
    view, parts, size, at = memoryview(content), list[bytes](), 0, 0
    alone = False
    while content.startswith(_GZIP, at):
        # What a member's last piece leaves over is copied: pieces that grow with the member keep that small.
        stream, piece = zlib.decompressobj(wbits=31), 512
        while not stream.eof:
            if at >= len(content):
                raise InputError(f"{path}: the gzip file ends early; deliver it again")
            try:
                parts.append(stream.decompress(view[at : at + piece], limit - size + 1))
            except zlib.error as error:
                raise InputError(f"{path}: broken gzip file ({error}); deliver it again") from error
            size += len(parts[-1])
            if size > limit:
                raise InputError(
                    f"{path}: larger than {limit / 1e6:g} MB when unpacked; split the catalog, one file an image, or "
                    "raise ingest.max_unpacked_mb"
                )
            if size > _LARGE and not alone:
                held.enter_context(_ONE_LARGE)
                alone = True
            at = min(at + piece, len(content)) - len(stream.unused_data)
            piece = min(2 * piece, 2**20)
    if content[at:].strip(b"\0"):
        raise InputError(f"{path}: {len(content) - at} bytes of something else follow the gzip data; deliver it again")
    return b"".join(parts)


def beginning_of(content: bytes, size: int) -> bytes:
    """The first bytes of a file's content, unpacked if it is gzip; the content itself may be but its beginning."""
    if not content.startswith(_GZIP):
        return content[:size]
    with suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(content, size)
    return b""


def is_moc_text(footprint: str) -> bool:
    """Whether a manifest's footprint is the MOC itself ("6/1-3 7/22") and not the name of a file that holds it."""
    return _MOC_TEXT.match(footprint) is not None


def plain_name(path: Path) -> str:
    """File name in lower case, without the suffix of compression."""
    name = PurePosixPath(path.name).name.lower()
    return name.removesuffix(".gz")


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
