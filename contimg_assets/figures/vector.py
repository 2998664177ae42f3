"""Small pictures as SVG, for what is drawn in every run: matplotlib takes a second to come and a tenth of one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Any, Literal

import numpy as np

from contimg_assets.sky.arrays import Floats

__all__ = ["LIMIT", "MARKED", "REFUSED", "USED", "Axis", "Panel", "picture", "printable"]

USED, REFUSED, LIMIT, MARKED = "#1f6fb4", "#aaaaaa", "#8c6d31", "#c44e25"

# Lengths are in half pixels, so that all are whole numbers.
_UNITS = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 100, 24, 44, 76
_TICK, _FONT, _LINE_HEIGHT = 8, 19, 24
# Of points that lie upon each other one is drawn, and of more than this so many: nobody tells more of them apart.
_MOST_POINTS = 1000
# Coordinates of lines that leave the panel, which clips them.
_FAR = 10_000
_N_TICKS = 7
_LETTERS_A_LINE, _MOST_LINES = 100, 2
_MOST_DECADES = 6
_ROOM = 0.05
_BAR_WIDTH = 1.5


@dataclass(frozen=True)
class Axis:
    """An axis of a panel.

    Attributes
    ----------
    label : with its unit
    log : whether it is logarithmic; values that are not positive are not drawn
    backward : whether values grow to the left or downward, as right ascension does
    limits : if not given, what is drawn with a little room about it
    """

    label: str = ""
    log: bool = False
    backward: bool = False
    limits: tuple[float, float] | None = None

    def scaled(self, values: Any) -> Floats:
        """Values as they are spaced on it; what cannot stand there is NaN."""
        numbers = np.asarray(values, dtype=float)
        if not self.log:
            return np.where(np.isfinite(numbers), numbers, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(numbers)
        return np.where(np.isfinite(logs), logs, np.nan)

    def span(self, drawn: Sequence[Floats]) -> tuple[float, float]:
        """First and last scaled value.

        Parameters
        ----------
        drawn : scaled values of all that is drawn
        """
        if self.limits is not None:
            low, high = (float(value) for value in self.scaled(self.limits))
            return low, high
        values = np.concatenate([*drawn, np.empty(0)])
        values = values[np.isfinite(values)]
        if not len(values):
            return 0.0, 1.0
        low, high = float(values.min()), float(values.max())
        room = _ROOM * (high - low) or 0.1 * abs(low) or 0.5
        return low - room, high + room

    def ticks(self, low: float, high: float) -> tuple[Floats, list[str]]:
        """Places of ticks between two scaled values, scaled, and what is written there."""
        if self.log and high - low > 0.4:
            values = _decades(low, high)
        elif self.log:
            # Less than a factor of 2.5: evenly spaced numbers tell more than powers of ten.
            values = _even(10**low, 10**high)
        else:
            values = _even(low, high)
        return self.scaled(values), [f"{value:.6g}" for value in values]


def _even(low: float, high: float) -> Floats:
    """About `_N_TICKS` numbers of 1, 2 or 5 times a power of ten apart."""
    step = (high - low) / _N_TICKS
    power = 10.0 ** np.floor(np.log10(step))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)
    numbers: Floats = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step
    return numbers + 0.0


def _decades(low: float, high: float) -> Floats:
    """1, 2, 5, 10 … where these are few, else powers of ten."""
    every = max(1, int(np.ceil((high - low) / _MOST_DECADES)))
    decades = np.arange(np.floor(low), np.ceil(high) + 1, every)
    factors = np.array([1.0, 2.0, 5.0] if high - low <= 2.0 else [1.0])
    numbers: Floats = (10.0 ** decades[:, None] * factors).ravel()
    return numbers[(np.log10(numbers) >= low) & (np.log10(numbers) <= high)]


@dataclass(frozen=True)
class _Mark:
    """Vertices of what is drawn in one go; NaN between the pieces of a line or an area."""

    kind: Literal["points", "line", "area"]
    x: Floats
    y: Floats
    color: str
    width: float = 1.0
    opacity: float = 1.0
    dashed: bool = False


@dataclass
class Panel:
    """A panel of a picture, and what is drawn in it."""

    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    title: str = ""
    as_on_sky: bool = False
    """Whether a unit is as long on both axes."""

    _marks: list[_Mark] = field(default_factory=list)
    _words: list[tuple[str, str]] = field(default_factory=list)

    def points(self, x: Any, y: Any, color: str, label: str = "", size: float = 3.0) -> None:
        """Dots.

        Parameters
        ----------
        size : their diameter in pixels
        """
        self._add("points", x, y, color, label, width=size)

    def line(self, x: Any, y: Any, color: str, label: str = "", *, dashed: bool = False, width: float = 1.5) -> None:
        """A line from each vertex to the next, with gaps where there is none."""
        self._add("line", x, y, color, label, width=width, dashed=dashed)

    def bars(self, x: Any, y: Any, color: str, *, x_err: Any = None, y_err: Any = None) -> None:
        """Standard errors of points."""
        x, y = (np.asarray(values, dtype=float) for values in (x, y))
        for dx, dy in ((x_err, 0.0), (0.0, y_err)):
            if dx is not None and dy is not None:
                dx, dy = (np.broadcast_to(np.asarray(one, dtype=float), x.shape) for one in (dx, dy))
                ends = [np.column_stack([at - of, at + of, np.full(len(at), np.nan)]) for at, of in ((x, dx), (y, dy))]
                self._add("line", ends[0].ravel(), ends[1].ravel(), color, "", width=_BAR_WIDTH)

    def area(self, x: Any, y: Any, color: str, label: str = "", opacity: float = 1.0) -> None:
        """What a closed line encloses; several of them with NaN between."""
        self._add("area", x, y, color, label, opacity=opacity)

    def band(self, x: Any, low: Any, high: Any, color: str) -> None:
        """What lies between two lines, lightly."""
        x, low, high = (np.asarray(values, dtype=float) for values in (x, low, high))
        self.area(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]), color, opacity=0.2)

    def histogram(self, counts: Any, edges: Any, color: str, label: str = "") -> None:
        """How many there are in each bin."""
        x, y = np.repeat(np.asarray(edges, dtype=float), 2), np.repeat(np.asarray(counts, dtype=float), 2)
        self.area(x, np.concatenate([[0.0], y, [0.0]]), color, label)

    def level(self, *values: float) -> None:
        """Thin lines across the panel."""
        for value in values:
            self._marks.append(_Mark("line", np.array([-np.inf, np.inf]), np.full(2, value), "#000", 0.5))

    def upright(self, *values: float) -> None:
        """Thin lines from bottom to top."""
        for value in values:
            self._marks.append(_Mark("line", np.full(2, value), np.array([-np.inf, np.inf]), "#000", 0.5))

    def _add(self, kind: Any, x: Any, y: Any, color: str, label: str, **style: Any) -> None:
        self._marks.append(_Mark(kind, np.asarray(x, dtype=float), np.asarray(y, dtype=float), color, **style))
        if label:
            self._words.append((label, color))

    def drawn(self, number: int, left: int, width: int, height: int) -> str:
        """The panel as SVG.

        Parameters
        ----------
        number : of the panel in its picture
        left, width, height : of the part of the picture that it has, with its labels
        """
        frame = _Frame(left + _LEFT, _TOP, width - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
        spans = [
            axis.span([axis.scaled(getattr(mark, name)) for mark in self._marks])
            for axis, name in ((self.x, "x"), (self.y, "y"))
        ]
        if self.as_on_sky:
            spans = frame.as_long_on_both(spans)
        across = _Place(self.x, *spans[0], frame.left, frame.width)
        up = _Place(self.y, *spans[1], frame.top + frame.height, -frame.height)
        marks = "".join(_mark(mark, across, up, frame) for mark in self._marks)
        clip = f'<clipPath id="p{number}">{frame.rectangle("")}</clipPath><g clip-path="url(#p{number})">{marks}</g>'
        return (
            clip + frame.rectangle(' fill="none" stroke="#000"') + self._ticks(across, up, frame) + self._texts(frame)
        )

    def _ticks(self, across: _Place, up: _Place, frame: _Frame) -> str:
        bottom, left = frame.top + frame.height, frame.left
        (x, below), (y, beside) = across.ticks, up.ticks
        path = "".join([*(f"M{at} {bottom}v{_TICK}" for at in x), *(f"M{left} {at}h-{_TICK}" for at in y)])
        words = [_text(word, at, bottom + _TICK + _FONT) for at, word in zip(x, below, strict=True)]
        numbers = [_text(word, left - _TICK - 4, at + _FONT // 3) for at, word in zip(y, beside, strict=True)]
        return f'<path d="{path}" stroke="#000"/>' + _anchored("middle", words) + _anchored("end", numbers)

    def _texts(self, frame: _Frame) -> str:
        bottom, right = frame.top + frame.height, frame.left + frame.width
        middle, up = frame.left + frame.width // 2, frame.top + frame.height // 2
        turned = frame.left - _LEFT + _FONT
        words = [
            _text(self.title, middle, frame.top - 12),
            _text(self.x.label, middle, bottom + _BOTTOM - 14),
            _text(self.y.label, turned, up, f' transform="rotate(-90 {turned} {up})"'),
        ]
        labels = [
            _text(word, right - 8, frame.top + number * _LINE_HEIGHT, f' fill="{color}"')
            for number, (word, color) in enumerate(self._words, 1)
        ]
        # On white, so that they can be read upon points.
        halo = ' paint-order="stroke" stroke="#fff" stroke-width="5"'
        return _anchored("middle", words) + _anchored("end", labels, halo)


@dataclass(frozen=True)
class _Frame:
    """Where the axes of a panel stand, in half pixels."""

    left: int
    top: int
    width: int
    height: int

    def rectangle(self, style: str) -> str:
        return f'<rect x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}"{style}/>'

    def as_long_on_both(self, spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """The spans about their middles, such that a unit is as long on both axes."""
        unit = max((high - low) / length for (low, high), length in zip(spans, (self.width, self.height), strict=True))
        middles = [(low + high) / 2 for low, high in spans]
        reaches = [unit * length / 2 for length in (self.width, self.height)]
        return [(middle - reach, middle + reach) for middle, reach in zip(middles, reaches, strict=True)]


@dataclass(frozen=True)
class _Place:
    """Where values stand along an axis, in half pixels."""

    axis: Axis
    low: float
    high: float
    start: int
    length: int

    def of(self, values: Floats) -> Floats:
        """Of values; those at the ends of the world stand far outside."""
        scaled = np.where(np.isinf(values), values, self.axis.scaled(values))
        return self._of_scaled(scaled)

    def _of_scaled(self, scaled: Floats) -> Floats:
        part = (scaled - self.low) / (self.high - self.low)
        part = 1.0 - part if self.axis.backward else part
        return np.clip(self.start + self.length * part, -_FAR, _FAR)

    @property
    def ticks(self) -> tuple[list[int], list[str]]:
        places, words = self.axis.ticks(self.low, self.high)
        return [round(at) for at in self._of_scaled(places).tolist()], words


def _mark(mark: _Mark, across: _Place, up: _Place, frame: _Frame) -> str:
    x, y = across.of(mark.x), up.of(mark.y)
    width = f'stroke-width="{_UNITS * mark.width:g}"'
    if mark.kind == "points":
        path = "".join(f"M{i} {j}h0" for i, j in _apart(x, y, frame))
        return f'<path d="{path}" stroke="{mark.color}" {width} stroke-linecap="round"/>' if path else ""
    path = _path(x, y, "Z" if mark.kind == "area" else "")
    if mark.kind == "area":
        return f'<path d="{path}" fill="{mark.color}" fill-opacity="{mark.opacity:g}"/>'
    dashes = ' stroke-dasharray="8 5"' if mark.dashed else ""
    return f'<path d="{path}" fill="none" stroke="{mark.color}" {width}{dashes}/>'


def _apart(x: Floats, y: Floats, frame: _Frame) -> list[list[int]]:
    """Points in the frame that can be told from each other; evenly chosen ones of many."""
    inside = (x >= frame.left) & (x <= frame.left + frame.width) & (y >= frame.top) & (y <= frame.top + frame.height)
    points = np.unique(np.column_stack([x[inside], y[inside]]).round().astype(int), axis=0)
    return points[np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).astype(int)].tolist()  # type: ignore[no-any-return]


def _path(x: Floats, y: Floats, end: str) -> str:
    """Lines from vertex to vertex, anew after each gap.

    Parameters
    ----------
    end : of each piece: "Z" closes it
    """
    there = np.isfinite(x) & np.isfinite(y)
    pieces = np.split(np.column_stack([x, y]), np.flatnonzero(~there))
    whole = [piece[np.isfinite(piece).all(axis=1)].round().astype(int).tolist() for piece in pieces]
    return "".join("M" + "L".join(f"{i} {j}" for i, j in piece) + end for piece in whole if piece)


def _text(words: str, x: int, y: int, style: str = "") -> str:
    shown = escape(printable(words))
    return f'<text x="{x}" y="{y}"{style}>{shown}</text>' if shown else ""


def _anchored(anchor: str, words: Sequence[str], style: str = "") -> str:
    """Words at whose beginning, middle or end their places are."""
    return f'<g text-anchor="{anchor}"{style}>{"".join(words)}</g>' if any(words) else ""


def printable(text: object, at_most: int = 120) -> str:
    """A name as it is, but for what nobody can see; not endless."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:at_most])


def picture(panels: Sequence[Panel], width: int = 540, height: int = 216, title: str = "") -> bytes:
    """Panels side by side, as the content of an SVG; equal panels give equal bytes.

    Parameters
    ----------
    width, height : in pixels
    title : above all panels
    """
    wide, high, each = _UNITS * width, _UNITS * height, _UNITS * width // len(panels)
    lines = wrap(printable(title, _MOST_LINES * _LETTERS_A_LINE), _LETTERS_A_LINE)[:_MOST_LINES]
    above = len(lines) * _LINE_HEIGHT
    head = _anchored("middle", [_text(line, wide // 2, n * _LINE_HEIGHT) for n, line in enumerate(lines, 1)])
    drawn = "".join(panel.drawn(number, number * each, each, high - above) for number, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {wide} {high}" '
        f'font-family="sans-serif" font-size="{_FONT}"><rect width="{wide}" height="{high}" fill="#fff"/>{head}'
        f'<g transform="translate(0 {above})">{drawn}</g></svg>'
    ).encode()
