"""Figures without a screen, and their pixels."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from contimg_assets.figures.vector import printable

__all__ = ["Figure", "new_figure", "plain", "png_of", "small_png_of"]

_COLORS = 64
# The version of matplotlib would make files differ whose content is the same.
_WITHOUT_VERSION: dict[str, Any] = {"Software": None}


def new_figure(n_rows: int = 1, n_columns: int = 1, width: float = 7.0, height: float = 4.0) -> tuple[Figure, Any]:
    """A figure with panels, of this size in inches, and the panels, shape (n_rows, n_columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def plain(text: object) -> str:
    """A name as matplotlib shows it as it is: dollars in it are no formula."""
    return printable(text).replace("$", r"\$")


def png_of(figure: Figure, dpi: float) -> bytes:
    """A figure as the content of a PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata=_WITHOUT_VERSION)
    return buffer.getvalue()


def small_png_of(figure: Figure, dpi: float) -> bytes:
    """As `png_of` in 64 colors, which lines and points do with: a third of the bytes."""
    pixels = io.BytesIO()
    figure.savefig(pixels, format="raw", dpi=dpi)
    width, height = (int(length) for length in figure.get_size_inches() * dpi)
    drawn = Image.frombytes("RGBA", (width, height), pixels.getvalue()).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(_COLORS, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
