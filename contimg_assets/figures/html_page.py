"""One HTML page without anything beside it: pictures stand in it, no script does, all words are escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from contimg_assets.figures.canvas import Figure, png_of
from contimg_assets.schemas.shown import shown_columns

_DPI = 100.0
_LONGEST = 300
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;color:#1c2430;max-width:70rem;margin:1rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:1.6rem}.dim{color:#5b6676}img{max-width:100%;height:auto}"
    "div{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid #d8dde5;text-align:left;overflow-wrap:anywhere}"
    "td.n,th.n{text-align:right;white-space:nowrap}figure{margin:.5rem 0}"
)


@dataclass
class HtmlPage:
    """A page that grows from its top.

    Attributes
    ----------
    title : of the page
    """

    title: str
    _parts: list[str] = field(default_factory=list)

    def heading(self, words: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(words)}</h2>")

    def paragraph(self, words: str, dim: bool = False) -> None:
        """Say something; dim what explains the rest."""
        self._parts.append(f"<p{' class=dim' if dim else ''}>{html.escape(words)}</p>")

    def table(self, frame: pd.DataFrame, columns: Sequence[str] | None = None) -> None:
        """Show a table, numbers rounded by their errors.

        Parameters
        ----------
        columns : that are shown, where they are there; all if not given
        """
        if frame.empty:
            self.paragraph("None.", dim=True)
            return
        texts = shown_columns(frame)
        chosen = [name for name in (columns or texts) if name in texts]
        numeric = [
            pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name])
            for name in chosen
        ]
        classes = [" class=n" if one else "" for one in numeric]
        heads = "".join(f"<th scope=col{c}>{_words(name)}</th>" for name, c in zip(chosen, classes, strict=True))
        rows = (
            "<tr>" + "".join(f"<td{c}>{_words(text)}</td>" for text, c in zip(row, classes, strict=True)) + "</tr>\n"
            for row in zip(*(texts[name] for name in chosen), strict=True)
        )
        self._parts.append(f"<div><table><thead><tr>{heads}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table></div>")

    def picture(self, figure: Figure, words: str) -> None:
        """Show a figure.

        Parameters
        ----------
        words : what it shows, for those who cannot see it
        """
        content = base64.b64encode(png_of(figure, _DPI)).decode()
        self._parts.append(f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{content}"></figure>')

    def text(self) -> str:
        """The whole page."""
        title, parts = html.escape(self.title), "\n".join(self._parts)
        return (
            f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'\">\n"
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{parts}\n</body>\n</html>\n"
        )


def _words(text: object) -> str:
    words = str(text)
    return html.escape(words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…")
