"""Figures without a screen, and their pixels."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

__all__ = [
    "LIMIT",
    "MARKED",
    "REFUSED",
    "USED",
    "Figure",
    "new_figure",
    "place_words",
    "plain",
    "png_of",
    "small_png_of",
]

USED, REFUSED, LIMIT, MARKED = "#1f6fb4", "#aaaaaa", "#8c6d31", "#c44e25"
_COLORS = 64
# The version of matplotlib would make files differ whose content is the same.
_WITHOUT_VERSION: dict[str, Any] = {"Software": None}


def new_figure(n_rows: int = 1, n_columns: int = 1, width: float = 7.0, height: float = 4.0) -> tuple[Figure, Any]:
    """A figure with panels, of this size in inches, and the panels, shape (n_rows, n_columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def place_words(axes: Any, below_inch: float, left_inch: float) -> None:
    """Title and labels at their places: where matplotlib looks for room for them, it lays out all ticks three times.

    Parameters
    ----------
    below_inch, left_inch : of the labels' edges from the axes
    """
    axes.set_title(axes.get_title(), y=1.0)
    frame = axes.get_position()
    width, height = axes.figure.get_size_inches() * frame.size
    axes.xaxis.set_label_coords(0.5, -below_inch / height)
    # A color bar has its label on the other side.
    if axes.yaxis.get_label_position() == "left":
        axes.yaxis.set_label_coords(-left_inch / width, 0.5)


def plain(text: object) -> str:
    """A name as matplotlib shows it as it is: dollars in it are no formula."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(text)[:120])
    return words.replace("$", r"\$")


def png_of(figure: Figure, dpi: float) -> bytes:
    """A figure as the content of a PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata=_WITHOUT_VERSION)
    return buffer.getvalue()


def small_png_of(figure: Figure, dpi: float) -> bytes:
    """As `png_of` in 64 colors, which lines and points do with: a third of the bytes, for what is kept for ever."""
    pixels = io.BytesIO()
    figure.savefig(pixels, format="raw", dpi=dpi)
    width, height = (int(length) for length in figure.get_size_inches() * dpi)
    drawn = Image.frombytes("RGBA", (width, height), pixels.getvalue()).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(_COLORS, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
