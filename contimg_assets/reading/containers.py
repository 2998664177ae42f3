"""Opening a catalog, whatever its format: found by its first bytes, and for text by its name."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from contimg_assets.errors import InputError
from contimg_assets.reading.binary import IsCatalog, open_described_text, open_fits, open_parquet, open_votable
from contimg_assets.reading.columns import Container
from contimg_assets.reading.files import plain_name, read_bytes
from contimg_assets.reading.text import TextContainer

_SEXTRACTOR = re.compile(rb"#\s*1\s+[A-Za-z_]\w*")


def open_container(path: Path, is_catalog: IsCatalog, max_unpacked_mb: float, held: ExitStack) -> Container:
    """Open a catalog; the format is found by its first bytes, and for text by its name.

    Parameters
    ----------
    is_catalog : tells the catalog among the tables of a file that holds several
    max_unpacked_mb, held : as `read_bytes` takes them; ``held`` to be closed once the columns are loaded

    Raises
    ------
    InputError
        If the file is empty, of no known format, or too damaged to have columns.
    """
    content = read_bytes(path, max_unpacked_mb, held)
    if content.startswith(b"PAR1"):
        return open_parquet(path, content)
    if content.startswith(b"SIMPLE  ="):
        return open_fits(path, content, is_catalog)
    if content.startswith(b"# %ECSV"):
        return open_described_text(path, content, "ecsv")
    if _SEXTRACTOR.match(content):
        return open_described_text(path, content, "sextractor")
    if content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return open_votable(path, content, is_catalog)
    name = plain_name(path)
    for suffixes, kind in (
        ((".fits", ".fit"), "FITS"),
        ((".parquet", ".pq"), "Parquet"),
        ((".xml", ".vot", ".votable"), "VOTable"),
    ):
        if name.endswith(suffixes):
            raise InputError(f"{path}: named like a {kind} file but does not begin like one; deliver it again")
    return TextContainer(path, content)
