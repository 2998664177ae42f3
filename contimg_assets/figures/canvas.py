"""Figures without a screen, and writing them to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from contimg_assets.errors import InputError

__all__ = [
    "FORMATS",
    "LIMIT",
    "MARKED",
    "REFUSED",
    "USED",
    "Figure",
    "new_figure",
    "picture_format",
    "plain",
    "png_of",
    "small_png_of",
    "write_figure",
]

USED, REFUSED, LIMIT, MARKED = "#1f6fb4", "#aaaaaa", "#8c6d31", "#c44e25"
FORMATS = ("png", "pdf", "svg")
_COLORS = 64
# Dates of creation would make files differ whose content is the same.
_WITHOUT_DATE: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


def new_figure(n_rows: int = 1, n_columns: int = 1, width: float = 7.0, height: float = 4.0) -> tuple[Figure, Any]:
    """A figure with panels, of this size in inches, and the panels, shape (n_rows, n_columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def plain(text: object) -> str:
    """A name as matplotlib shows it as it is: dollars in it are no formula."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(text)[:120])
    return words.replace("$", r"\$")


def picture_format(file: Path) -> str:
    """The format that the suffix of a file says.

    Raises
    ------
    InputError
        If it is none of FORMATS.
    """
    kind = file.suffix[1:].lower()
    if kind not in FORMATS:
        raise InputError(f"{file.name!r} says no format of pictures; end it with one of .{', .'.join(FORMATS)}")
    return kind


def write_figure(figure: Figure, file: Path, kind: str, dpi: float = 150.0) -> None:
    """Write a figure to a file; equal figures give equal bytes.

    Parameters
    ----------
    kind : one of FORMATS
    dpi : dots per inch of a PNG
    """
    # Ids within an SVG are hashes, which begin anew.
    with rc_context({"svg.hashsalt": "contimg"}):
        figure.savefig(file, format=kind, dpi=dpi, metadata=_WITHOUT_DATE[kind])


def png_of(figure: Figure, dpi: float) -> bytes:
    """A figure as the content of a PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata=_WITHOUT_DATE["png"])
    return buffer.getvalue()


def small_png_of(figure: Figure, dpi: float) -> bytes:
    """As `png_of` in 64 colors, which lines and points do with: a third of the bytes, for what is kept for ever."""
    drawn = Image.open(io.BytesIO(png_of(figure, dpi))).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(_COLORS, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
