"""Asking servers for files: what they say of a file, its content, and one sentence where they do not answer.

Belongs here: everything that fsspec is asked, whatever is done with the answer. Does not belong here: which files are
asked for, and where copies of them are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from contimg_assets.errors import InputError
from contimg_assets.files.urls import server_faults, shown_url, without_secrets
from contimg_assets.identity.versions import version_of_value

T = TypeVar("T")
R = TypeVar("R")

ANSWERING = "see that it answers and that the variables of the environment have its name and key"
"""What to do about a server that does not answer."""
# Waiting for a server costs next to nothing of a processor.
_AT_ONCE = 32
# A server that says nothing for so long does not answer [s].
_CONNECT_S, _READ_S = 10.0, 60.0
# What says that a file changed, the surest first; the size beside it in any case.
_MARKS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "LastModified", "Last-Modified", "updated", "mtime")


class NotThere(InputError):
    """A server answers, and has no such file."""


class Silent(InputError):
    """A server does not answer, or not as it should: what it has is not known."""


def open_server(url: str, read_s: float = _READ_S) -> tuple[Any, str]:
    """The file system of a URL, and the file's name in it.

    Parameters
    ----------
    url : as fsspec takes it
    read_s : a server that says nothing for so long does not answer [s]

    Raises
    ------
    InputError
        If a package for such URLs is missing, or the URL is none of theirs.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url, **_limits(url, read_s))
    except ImportError as error:
        raise InputError(
            f"{shown_url(url)}: {error}; pip install 'contimg-assets[remote]' has what http, https and s3 need"
        ) from error
    except asking_faults() as error:
        raise trouble(url, error) from error
    return system, path


def open_folder(url: str, read_s: float) -> tuple[Any, str]:
    """As `open_server`, of a folder without a slash behind it, whose server is asked once and not again and again.

    Raises
    ------
    InputError
        As `open_server`.
    """
    system, folder = open_server(url, read_s)
    # Of s3fs, beside those of what it uses: each waits as long for an answer.
    system.retries = 1
    return system, folder.rstrip("/")


def files_below(system: Any, folder: str, beginning: str = "") -> dict[str, Mapping[str, Any]]:
    """What a server says now of every file below a folder, by its name there, whose name begins in this way.

    Raises
    ------
    any of `asking_faults`
    """
    # What was listed before may have changed.
    system.invalidate_cache()
    return {
        path.removeprefix(f"{folder}/"): info
        for path, info in system.find(folder, prefix=beginning, detail=True).items()
        if path.startswith(f"{folder}/") and info.get("type", "file") == "file" and not path.endswith("/")
    }


def at_once(ask: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Answers in the order of what is asked for; many are waited for at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, items))


def _limits(url: str, read_s: float) -> dict[str, Any]:
    """How long a server is waited for, as its kind takes it."""
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        try:
            from aiohttp import ClientTimeout
        except ImportError:
            return {}
        return {"client_kwargs": {"timeout": ClientTimeout(total=None, connect=_CONNECT_S, sock_read=read_s)}}
    if scheme in ("s3", "s3a"):
        waits = {"connect_timeout": _CONNECT_S, "read_timeout": read_s, "retries": {"max_attempts": 2}}
        return {"config_kwargs": waits}
    return {}


def info_of(url: str, system: Any, path: str) -> Mapping[str, Any]:
    """What a server says of a file, asked now.

    Raises
    ------
    InputError
        If it does not answer, has no such file, or this is a folder.
    """
    try:
        # What was listed before may have changed.
        system.invalidate_cache()
        found = system.info(path)
    except asking_faults() as error:
        raise trouble(url, error) from error
    if found.get("type", "file") != "file":
        raise InputError(
            f"{shown_url(url)}: this is a folder; give the URL of a file, or copy the folder and give its path"
        )
    return dict(found)


def mark_of(found: Mapping[str, Any]) -> str:
    """What tells of a file that it changed: its ETag, checksum or time, the first that its server has."""
    return next((str(found[name]) for name in _MARKS if found.get(name)), "")


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
    found = info_of(url, *open_server(url))
    return version_of_value([url, mark_of(found), found.get("size")])


def size_of(url: str) -> int | None:
    """Bytes of a file, as its server says; None where it does not.

    Raises
    ------
    InputError
        As `stamp_of`.
    """
    size = info_of(url, *open_server(url)).get("size")
    return None if size is None else int(size)


def files_in(url: str) -> list[str]:
    """Names of all files below a folder of a server that lists them.

    Raises
    ------
    InputError
        If it does not answer, or has no such folder.
    """
    system, folder = open_folder(url, _READ_S)
    try:
        return sorted(files_below(system, folder))
    except asking_faults() as error:
        raise trouble(url, error) from error


def download(url: str, target: Path) -> None:
    """Write the content of a file of a server.

    Raises
    ------
    InputError
        As `stamp_of`; or if less arrives than the server has.
    """
    system, path = open_server(url)
    fetch(url, system, path, target, info_of(url, system, path).get("size"))


def fetch(url: str, system: Any, path: str, target: Path, expected: int | None) -> None:
    """Write the content of a file that has so many bytes, as its server said; None where it did not.

    Raises
    ------
    InputError
        If the server does not answer, refuses it, or other than so many bytes arrive.
    """
    try:
        system.get_file(path, str(target))
    except asking_faults() as error:
        raise trouble(url, error) from error
    size = target.stat().st_size
    if expected is not None and size != expected:
        raise Silent(f"{shown_url(url)}: {size} of {expected} bytes arrived; try again")


def asking_faults() -> tuple[type[Exception], ...]:
    """What is raised where a server does not answer as it should."""
    return (OSError, ValueError, *server_faults())


def trouble(url: str, error: Exception, cure: str = "") -> InputError:
    """What went wrong as one sentence with its cure, without anything secret that the URL holds.

    Parameters
    ----------
    cure : what to do where the server does not answer or has no such file; as for a single file if empty

    Returns
    -------
    InputError
        `NotThere` where the server has no such file, `Silent` where it does not answer.
    """
    named = shown_url(url)
    status, happened = _happened(error)
    if status in (404, 410) or (status is None and isinstance(happened, FileNotFoundError)):
        if cure:
            return NotThere(f"{named}: the server has no such file; {cure}")
        return NotThere(f"{named}: the server has no such file; correct the URL")
    if status in (401, 403) or isinstance(happened, PermissionError):
        return InputError(f"{named}: the server refuses it; give a name and key by the variables of its environment")
    reason = without_secrets((str(happened).strip() or type(happened).__name__).splitlines()[0])
    if cure:
        return Silent(f"{named}: not reachable ({reason}); {cure}")
    return Silent(f"{named}: not reachable ({reason}); try again, or put the file here and give its path")


def _happened(error: Exception) -> tuple[int | None, BaseException]:
    # Of http, fsspec says "not found" whatever happened, and what happened is the cause.
    happened = error.__cause__ if isinstance(error.__cause__, asking_faults()) else error
    return getattr(happened, "status", None), happened
