"""Figures as files: pictures, and a page of HTML that holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context

from contimg_assets.errors import InputError
from contimg_assets.figures.canvas import Figure, png_of
from contimg_assets.figures.html_page import HtmlPage

FORMATS = ("png", "pdf", "svg", "html")
# Dates of creation would make files differ whose content is the same.
_WITHOUT_DATE: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


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
    if kind == "html":
        title = figure.get_suptitle() or next((axes.get_title() for axes in figure.axes if axes.get_title()), "")
        page = HtmlPage(title.replace(r"\$", "$") or "Products")
        page.picture(figure, page.title)
        file.write_text(page.text(), encoding="utf-8")
    elif kind == "png":
        file.write_bytes(png_of(figure, dpi))
    else:
        # Ids within an SVG are hashes, which begin anew.
        with rc_context({"svg.hashsalt": "contimg"}):
            figure.savefig(file, format=kind, dpi=dpi, metadata=_WITHOUT_DATE[kind])
