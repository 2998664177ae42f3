"""Small pictures as SVG: where things stand, ticks that can be read, and that no name breaks them."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from contimg_assets.figures.summaries import plot_constant_fluxes, plot_forced_fluxes, plot_variability
from contimg_assets.figures.vector import MARKED, REFUSED, USED, Axis, Panel, picture, printable
from contimg_assets.schemas.forced import FORCED_FLUXES
from contimg_assets_tests.orchestration.names import HOSTILE

NAME = "{http://www.w3.org/2000/svg}"


def parsed(svg: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def words(svg: bytes) -> list[str]:
    return [text.text or "" for text in parsed(svg).iter(f"{NAME}text")]


def dots(svg: bytes, color: str) -> np.ndarray:
    """Places of the points of a color, in half pixels."""
    drawn = [one for one in parsed(svg).iter(f"{NAME}path") if one.get("stroke-linecap")]
    found = [re.findall(r"M(-?\d+) (-?\d+)h0", one.get("d", "")) for one in drawn if one.get("stroke") == color]
    return np.array([at for one in found for at in one], dtype=float).reshape(-1, 2)


def frames(svg: bytes) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of each panel's axes."""
    found = [one for one in parsed(svg).iter(f"{NAME}rect") if one.get("stroke")]
    return [tuple(float(one.get(name, "nan")) for name in ("x", "y", "width", "height")) for one in found]


@pytest.mark.parametrize(
    ("axis", "drawn", "expected"),
    [
        (Axis(limits=(0.0, 10.0)), [], "0 2 4 6 8 10"),
        (Axis(limits=(-0.02, 0.03)), [], "-0.02 -0.01 0 0.01 0.02 0.03"),
        (Axis(limits=(59000.0, 59010.0)), [], "59000 59002 59004 59006 59008 59010"),
        (Axis(log=True, limits=(2.0, 60.0)), [], "2 5 10 20 50"),
        (Axis(log=True, limits=(1e-3, 1e3)), [], "0.001 0.01 0.1 1 10 100 1000"),
        (Axis(log=True, limits=(10.0, 14.0)), [], "10 11 12 13 14"),
        (Axis(), [0.0, np.nan, 100.0], "0 20 40 60 80 100"),
        (Axis(log=True), [-5.0, 0.0, 10.0, 1000.0], "10 100 1000"),
        (Axis(), [], "0 0.2 0.4 0.6 0.8 1"),
        (Axis(), [7.0], "6.4 7 7.6"),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(axis: Axis, drawn: list[float], expected: str) -> None:
    low, high = axis.span([axis.scaled(drawn)])
    places, written = axis.ticks(low, high)
    assert (places >= low - 1e-9).all() and (places <= high + 1e-9).all()
    assert set(expected.split()) <= set(written) if drawn else expected.split() == written
    assert 2 <= len(written) <= 9
    np.testing.assert_allclose(places, axis.scaled([float(word) for word in written]), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e5, 1e12])
@pytest.mark.parametrize("log", [False, True])
def test_any_range_has_ticks(scale: float, log: bool) -> None:
    rng = np.random.default_rng(3)
    for width in (1e-9, 1e-3, 0.3, 3.0, 1e6):
        values = scale * (1.0 + width * rng.random(20))
        panel = Panel(Axis("x", log=log), Axis("y", log=log))
        panel.points(values, values, USED)
        svg = picture([panel])
        assert len(words(svg)) > 3
        assert len(dots(svg, USED))


def test_points_stand_where_their_values_are() -> None:
    panel = Panel(Axis(limits=(0.0, 10.0)), Axis(log=True, limits=(1.0, 100.0)))
    panel.points([0.0, 5.0, 10.0, 20.0, np.nan], [1.0, 10.0, 100.0, 10.0, 3.0], USED)
    svg = picture([panel])
    ((left, top, width, height),) = frames(svg)
    across, up = [0.0, 0.5, 1.0], [1.0, 0.5, 0.0]
    expected = np.column_stack([left + width * np.array(across), top + height * np.array(up)])
    # What lies outside or is missing is not drawn.
    np.testing.assert_allclose(dots(svg, USED), expected, atol=1)


def test_right_ascension_grows_to_the_left_and_the_sky_is_not_squeezed() -> None:
    panel = Panel(Axis(backward=True), Axis(), as_on_sky=True)
    panel.points([0.0], [0.0], USED)
    panel.points([1.0], [0.0], MARKED)
    panel.points([0.0], [1.0], REFUSED)
    svg = picture([panel], width=400, height=200)
    ((x, y),), ((east, _),), ((_, north),) = (dots(svg, color).tolist() for color in (USED, MARKED, REFUSED))
    assert x - east == pytest.approx(y - north, abs=2)
    assert x - east > 100


def test_of_many_points_a_thousand_are_drawn_and_those_upon_each_other_once() -> None:
    panel = Panel()
    rng = np.random.default_rng(1)
    panel.points(rng.normal(size=50_000), rng.normal(size=50_000), USED)
    panel.points(np.zeros(1000), np.zeros(1000), MARKED)
    svg = picture([panel])
    assert len(svg) < 20_000
    assert len(dots(svg, USED)) == 1000
    assert len(dots(svg, MARKED)) == 1


def test_lines_have_gaps_where_there_is_nothing() -> None:
    panel = Panel(Axis(log=True), Axis())
    panel.line([1.0, 2.0, np.nan, 4.0, 5.0, -1.0, 6.0], np.arange(7.0), USED, "a line", dashed=True)
    (path,) = [one for one in parsed(picture([panel])).iter(f"{NAME}path") if one.get("stroke") == USED]
    assert [piece.count("L") for piece in path.get("d", "").split("M")[1:]] == [1, 1, 0]
    assert path.get("stroke-dasharray")


def test_errors_reach_from_below_to_above() -> None:
    panel = Panel(Axis(limits=(0.0, 2.0)), Axis(limits=(0.0, 10.0)))
    panel.bars([1.0, 1.5], [5.0, np.nan], USED, y_err=[2.0, 1.0])
    svg = picture([panel])
    ((_, top, _, height),) = frames(svg)
    (path,) = [one for one in parsed(svg).iter(f"{NAME}path") if one.get("stroke") == USED]
    ends = sorted(float(number) for number in re.findall(r" (\d+)", path.get("d", "")))
    np.testing.assert_allclose(ends, [top + 0.3 * height, top + 0.7 * height], atol=1)


@pytest.mark.parametrize("name", [*HOSTILE, "$x$", "\ud800 alone"])
def test_names_are_words_and_nothing_more(name: str) -> None:
    panel = Panel(Axis(name), Axis(name), name)
    panel.points([1.0], [1.0], USED, name)
    svg = picture([panel], title=name)
    kinds = {one.tag.removeprefix(NAME) for one in parsed(svg).iter()}
    assert kinds == {"svg", "rect", "g", "clipPath", "path", "text"}
    # Twice at axes, above the panel and in it; above all panels on lines of its own.
    assert words(svg).count(printable(name)) >= 4
    assert words(svg)[0].split()[0] == printable(name).split()[0][:100]


def test_the_same_panels_give_the_same_bytes() -> None:
    table = pd.DataFrame({"eta_peak": [1.0, 50.0, 2.0], "v_peak": [0.05, 0.4, 0.1], "q_value_peak": [1.0, 0.01, 0.5]})
    first = plot_variability(table, "peak", 0.05)
    assert first == plot_variability(table.copy(), "peak", 0.05)
    assert "1 with q ≤ 0.05" in words(first) and "3 light curves, peak flux" in words(first)
    assert len(dots(first, MARKED)) == 1


def test_forced_fluxes_are_drawn_with_the_limits_of_the_worst_image() -> None:
    rows = FORCED_FLUXES.empty().reindex(range(4)).assign(
        image=["good [1]$", "bad", "bad", "bad"], reason=["", "", "", "blank"], ra_deg=[10.0, 359.9, 0.1, 0.2],
        dec_deg=[1.0, -2.0, -2.0, -2.0], flux_peak_mjy_beam=[5.0, -30.0, 10.0, np.nan],
        flux_peak_err_mjy_beam=[1.0, 10.0, 10.0, np.nan],
    )  # fmt: skip
    svg = plot_forced_fluxes(rows)
    found = words(svg)
    assert {"worst image: bad", "3 fluxes"} <= set(found)
    # A negative flux has the limit of no flux; across RA 0 two places stand beside each other.
    assert "≤ 26.4 mJy/beam" in found
    assert {"359.9", "360", "360.1"} <= set(found)


def test_differences_of_constant_sources_are_drawn_over_their_errors() -> None:
    rows = pd.DataFrame({"flux": [12.0, 9.0, 90.0], "flux_err": 3.0, "mean": [7.0, 9.0, 10.0], "other_err": 4.0})
    svg = plot_constant_fluxes(rows, 1.07)
    assert {"scatter: 1.07 errors", "3 fluxes", "by brightness"} <= set(words(svg))
    # Differences over errors of 1, 0, and far off, where all such stand.
    places = dots(svg, "#666666")
    (_, (_, top, _, height)) = frames(svg)
    assert len(places) == 3
    up = np.sort((places[:, 1] - top) / height)[::-1]
    np.testing.assert_allclose(np.diff(up) / (up[1] - up[0]), [1.0, 5.0], rtol=0.1)


def test_what_runs_draw_needs_no_matplotlib() -> None:
    program = (
        "import sys, contimg_assets.figures.summaries, contimg_assets.figures.corrections\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('matplotlib', 'PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
