"""Catalogs at URLs: whether they changed, without reading them, and a copy of them in the project.

Belongs here: what servers say of a file, and its copy. Does not belong here: what the file is, which is read as of any
other; and which parts of a catalog in HATS are copied, see `hats_copies`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from contimg_assets.catalogs.hats_copies import bring_hats, stamp_of_hats
from contimg_assets.config import CatalogConfig, check_section
from contimg_assets.config.catalogs import ANY_FREQ_MHZ
from contimg_assets.errors import InputError
from contimg_assets.files import replace_text, replacing, writing_to
from contimg_assets.files.servers import download, stamp_of
from contimg_assets.files.urls import is_url

_LOG = logging.getLogger(__name__)
_STAMP_SUFFIX = ".stamp"


def stamp_of_copy(file: Path) -> str | None:
    """The `stamp_at` that a copy was made at; None without a copy."""
    beside = _stamp_file(file)
    return beside.read_text(encoding="utf-8") if file.exists() and beside.is_file() else None


def stamp_at(url: str, file: Path) -> str:
    """Version of a catalog by what its server says of it; nothing of it is read.

    Parameters
    ----------
    url : of a file, or of a catalog in HATS
    file : its copy, there or not

    Raises
    ------
    InputError
        If the server does not answer, has no such file, or a package for such URLs is missing.
    """
    # A file here says that there is one there.
    in_hats = None if file.is_file() else stamp_of_hats(url, file)
    return stamp_of(url) if in_hats is None else in_hats


def current_stamp(url: str, file: Path) -> str:
    """`stamp_at` a URL; where its server does not answer, that of the copy, which then goes on being used.

    Raises
    ------
    InputError
        As `stamp_at`, if there is no copy.
    """
    try:
        return stamp_at(url, file)
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
    """Copy a file of a server, or of a catalog in HATS what it says of itself.

    Not where the copy is of the same version already, or the server does not answer.

    Parameters
    ----------
    url : of the file, or of a catalog in HATS
    file : its copy, replaced in one step; of a catalog in HATS a folder

    Raises
    ------
    InputError
        As `stamp_at`, if there is no copy; or if less arrives than the server has.
    """
    wanted = current_stamp(url, file)
    if wanted == stamp_of_copy(file):
        return
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file() or not bring_hats(url, file):
            with replacing(file) as temporary:
                download(url, temporary)
                # Without its stamp a copy counts for nothing: it is written last.
                _stamp_file(file).unlink(missing_ok=True)
        replace_text(_stamp_file(file), wanted)


def _stamp_file(file: Path) -> Path:
    return file.with_name(file.name + _STAMP_SUFFIX)
