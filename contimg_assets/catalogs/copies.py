"""Catalogs at URLs: whether they changed, without reading them, and a copy of them in the project.

Belongs here: what servers say of a file, and its copy. Does not belong here: what the file is, which is read as of any
other.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from contimg_assets.config import CatalogConfig, check_section
from contimg_assets.config.catalogs import ANY_FREQ_MHZ
from contimg_assets.errors import InputError
from contimg_assets.files import replace_text, replacing, writing_to
from contimg_assets.files.urls import is_url, server_faults
from contimg_assets.identity.versions import version_of_value

_LOG = logging.getLogger(__name__)
# A server that says nothing for so long does not answer [s].
_CONNECT_S, _READ_S = 10.0, 60.0
# What says that a file changed, the surest first; the size beside it in any case.
_MARKS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "LastModified", "Last-Modified", "updated", "mtime")
_STAMP_SUFFIX = ".stamp"


def stamp_of(url: str) -> str:
    """Version of a file by what its server says of it: ETag, checksum or time, and size. Nothing of it is read.

    Parameters
    ----------
    url : as fsspec takes it

    Raises
    ------
    InputError
        If the server does not answer, has no such file, or a package for such URLs is missing.
    """
    return _looked_up(url, *_opened(url))[0]


def stamp_of_copy(file: Path) -> str | None:
    """The `stamp_of` that a copy was made at; None without a copy."""
    beside = _stamp_file(file)
    return beside.read_text(encoding="utf-8") if file.is_file() and beside.is_file() else None


def current_stamp(url: str, file: Path) -> str:
    """`stamp_of` a URL; where its server does not answer, that of the copy, which then goes on being used.

    Raises
    ------
    InputError
        As `stamp_of`, if there is no copy.
    """
    try:
        return stamp_of(url)
    except InputError as error:
        kept = stamp_of_copy(file)
        if kept is None:
            raise
        _LOG.warning("%s; its copy of before is used", error)
        return kept


def local_file(file: Path | str, root: Path) -> Path:
    """A catalog's file; of a URL its copy in a project, which is made first.

    Parameters
    ----------
    file : path or URL
    root : folder of the project

    Raises
    ------
    ConfigError
        If it is no URL that a catalog may have.
    InputError
        As `bring_here`.
    """
    if not is_url(file):
        return Path(file)
    config = check_section(CatalogConfig, {"path": str(file), "freq_mhz": ANY_FREQ_MHZ}, ("catalogs", "file"))
    bring_here(str(config.url), root / config.path)
    return root / config.path


def bring_here(url: str, file: Path) -> None:
    """Copy a file of a server, unless the copy is of the same version already or the server does not answer.

    Parameters
    ----------
    url : of the file
    file : its copy, replaced in one step

    Raises
    ------
    InputError
        As `stamp_of`, if there is no copy; or if less arrives than the server has.
    """
    wanted = current_stamp(url, file)
    if wanted == stamp_of_copy(file):
        return
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            _download(url, temporary)
            # Without its stamp a copy counts for nothing: it is written last.
            _stamp_file(file).unlink(missing_ok=True)
        replace_text(_stamp_file(file), wanted)


def _stamp_file(file: Path) -> Path:
    return file.with_name(file.name + _STAMP_SUFFIX)


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the file's name in it."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url, **_limits(url))
    except ImportError as error:
        raise InputError(
            f"{url}: {error}; pip install 'contimg-assets[remote]' has what http, https and s3 need"
        ) from error
    except _faults() as error:
        raise _trouble(url, error) from error
    return system, path


def _limits(url: str) -> dict[str, Any]:
    """How long a server is waited for, as its kind takes it."""
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        try:
            from aiohttp import ClientTimeout
        except ImportError:
            return {}
        return {"client_kwargs": {"timeout": ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_READ_S)}}
    if scheme in ("s3", "s3a"):
        waits = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": 2}}
        return {"config_kwargs": waits}
    return {}


def _looked_up(url: str, system: Any, path: str) -> tuple[str, int | None]:
    """Version and size [bytes] of a file, as its server says."""
    try:
        # What was listed before may have changed.
        system.invalidate_cache()
        found = system.info(path)
    except _faults() as error:
        raise _trouble(url, error) from error
    if found.get("type", "file") != "file":
        raise InputError(f"{url}: this is a folder; give the URL of a file, or copy the folder and give its path")
    mark = next((str(found[name]) for name in _MARKS if found.get(name)), "")
    return version_of_value([url, mark, found.get("size")]), found.get("size")


def _download(url: str, target: Path) -> None:
    system, path = _opened(url)
    _, expected = _looked_up(url, system, path)
    try:
        system.get_file(path, str(target))
    except _faults() as error:
        raise _trouble(url, error) from error
    size = target.stat().st_size
    if expected is not None and size != expected:
        raise InputError(f"{url}: {size} of {expected} bytes arrived; try again")


def _faults() -> tuple[type[Exception], ...]:
    """What is raised where a server does not answer as it should."""
    return (OSError, ValueError, *server_faults())


def _trouble(url: str, error: Exception) -> InputError:
    # Of http, fsspec says "not found" whatever happened, and what happened is the cause.
    happened = error.__cause__ if isinstance(error.__cause__, _faults()) else error
    status = getattr(happened, "status", None)
    if status in (404, 410) or (status is None and isinstance(happened, FileNotFoundError)):
        return InputError(f"{url}: the server has no such file; correct the URL")
    if status in (401, 403) or isinstance(happened, PermissionError):
        return InputError(f"{url}: the server refuses it; give a name and key by the variables of its environment")
    reason = (str(happened).strip() or type(happened).__name__).splitlines()[0]
    return InputError(f"{url}: not reachable ({reason}); try again, or put the file here and give its path")
