"""Charts of pages, with Bokeh: as JSON that the page's own script embeds, so that no page has a script within."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool, TapTool
from bokeh.models.annotations.geometry import Span
from bokeh.plotting import figure

from contimg_assets.figures.light_curves import best_kind, fluxes
from contimg_assets.figures.survey import center_of
from contimg_assets.figures.vector import LIMIT, MARKED, REFUSED, USED
from contimg_assets.sky.robust import scatter
from contimg_assets.sky.sphere import offsets_arcsec
from contimg_assets.web.survey import MOST_POINTS

_TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
# The page's script opens what is tapped in sources of this name.
_LINKED = "linked"
# A point is hit so many times its size around.
_HIT = 2.5
_LOG = {"x_axis_type": "log", "y_axis_type": "log"}
# What Mooley et al. (2016, ApJ 818, 105) take for variable between two epochs: 95 % and 30 % of change.
PAIR_VS, PAIR_M = 4.3, 0.26
_LEAST_BULK = 10
_SERIES = ("#1f6fb4", "#c44e25", "#3c8a4e", "#7a55a3", "#8c6d31", "#444444")
_UNITS = {"peak": "mJy/beam", "int": "mJy"}


def light_curve_chart(curve: pd.DataFrame) -> dict[str, Any]:
    """Fluxes with errors, upper limits, and points of refused images in grey; each group can be hidden."""
    kind = best_kind(curve)
    flux, err = fluxes(curve, kind)
    is_limit, trusted = curve["is_limit"].to_numpy(bool), curve["trusted"].fillna(True).to_numpy(bool)
    forced = curve["forced"].to_numpy(bool)
    points = pd.DataFrame(
        {
            "mjd": curve["mjd"],
            "flux": np.where(is_limit, curve["upper_limit_mjy_beam"], flux),
            "low": flux - err,
            "high": flux + err,
            "epoch": curve["epoch"],
            "image": curve["image"],
            "snr": curve["snr"],
        }
    )
    chart = _chart("MJD (UTC) [d]", f"flux density [{_UNITS[kind]}]", 320)
    groups = (
        ("detected", ~is_limit & ~forced & trusted, USED, "circle"),
        ("forced", ~is_limit & forced & trusted, MARKED, "square"),
        ("image refused", ~is_limit & ~trusted, REFUSED, "circle"),
        ("upper limit", is_limit, LIMIT, "inverted_triangle"),
    )
    for label, rows, color, marker in groups:
        if rows.any():
            data = _source(points[rows])
            if label != "upper limit":
                chart.segment("mjd", "low", "mjd", "high", source=data, color=color, legend_label=label)
            chart.scatter("mjd", "flux", source=data, marker=marker, size=8, color=color, legend_label=label)
    if len(points):
        chart.legend.click_policy = "hide"
        chart.legend.label_text_font_size = "9pt"
    chart.add_tools(HoverTool(tooltips=[(name, f"@{name}") for name in ("epoch", "image", "mjd", "flux", "snr")]))
    return _json(chart)


def variability_chart(judged: pd.DataFrame, first: pd.DataFrame, kind: str, max_q: float) -> dict[str, Any]:
    """V against eta: the density of all sources, and points for those that vary most, which open their pages.

    Parameters
    ----------
    judged : of `ProductsDatabase.significances`
    first : those that are drawn as points, with names
    """
    eta, v, q = f"eta_{kind}", f"v_{kind}", f"q_value_{kind}"
    points = pd.DataFrame({"x": first[eta], "y": first[v], "q": first[q], "name": first["name"]})
    points = points.assign(source_id=first["source_id"], marked=first[q] <= max_q)
    chart = _chart("eta (reduced chi squared)", "V (std / mean)", 520, **_LOG)
    return _scattered(chart, (judged[eta], judged[v]), points, {"eta": "x", "V": "y", "q": "q"})


def pairs_chart(every: pd.DataFrame, first: pd.DataFrame) -> dict[str, Any]:
    """Vs against |m| of the pair of epochs that differs most, of each source (Mooley et al. 2016).

    Parameters
    ----------
    every : of `contimg_assets.database.significances.largest_pairs`
    first : those that are drawn as points, with names
    """
    points = pd.DataFrame({"x": first["m"].abs(), "y": first["vs"].abs(), "name": first["name"]})
    points = points.assign(source_id=first["source_id"], marked=(points["y"] > PAIR_VS) & (points["x"] > PAIR_M))
    chart = _chart("|m| (difference over mean)", "|Vs| (difference over its error)", 420, **_LOG)
    _mark(chart, PAIR_VS, "width")
    _mark(chart, PAIR_M, "height")
    return _scattered(chart, (every["m"].abs(), every["vs"].abs()), points, {"|m|": "x", "|Vs|": "y"})


def _scattered(
    chart: Any, every: tuple[pd.Series, pd.Series], points: pd.DataFrame, told: dict[str, str]
) -> dict[str, Any]:
    """Points that open their sources' pages; under them the density of all where these are more.

    Parameters
    ----------
    every : x and y of all
    points : x, y, name, source_id, marked
    told : word -> column, of what is told of a point
    """
    positive = (every[0] > 0) & (every[1] > 0)
    if positive.sum() > len(points):
        density = _source(_density(every[0][positive], every[1][positive]))
        chart.quad("left", "right", "top", "bottom", source=density, fill_alpha="alpha", line_alpha=0, fill_color=USED)
    shown = points[(points["x"] > 0) & (points["y"] > 0)]
    data = shown.drop(columns=["source_id", "marked"]).assign(
        href=[f"source/{one}" for one in shown["source_id"]], color=np.where(shown["marked"], MARKED, USED)
    )
    drawn = chart.scatter("x", "y", source=_source(data, _LINKED), size=5, color="color", alpha=0.7, hit_dilation=_HIT)
    tooltips = [("name", "@name"), *((word, f"@{column}") for word, column in told.items())]
    chart.add_tools(TapTool(renderers=[drawn]), HoverTool(renderers=[drawn], tooltips=tooltips))
    return _json(chart)


def histogram_chart(values: pd.Series, label: str) -> dict[str, Any]:
    """How often values occur, on a logarithmic axis, with the normal distribution of their bulk and its 3 sigma.

    The field chooses thresholds so (Rowlinson et al. 2019): constant sources are nearly normal in log eta and log V.
    """
    logs = np.log10(values[values > 0].to_numpy(dtype=float))
    chart = _chart(f"log10 {label}", "sources", 200)
    if len(logs) < _LEAST_BULK:
        return _json(chart)
    count, edges = np.histogram(logs, bins=60)
    chart.quad(left=edges[:-1].tolist(), right=edges[1:].tolist(), top=count.tolist(), bottom=0, fill_color=USED,
               line_color=USED, alpha=0.6)  # fmt: skip
    center, width = float(np.median(logs)), float(scatter(logs, np.median(logs)))
    at = np.linspace(edges[0], edges[-1], 200)
    if width > 0:
        normal = np.exp(-0.5 * ((at - center) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        chart.line(at.tolist(), (normal * len(logs) * (edges[1] - edges[0])).tolist(), color="#444444")
        _mark(chart, center + 3 * width, "height")
    return _json(chart)


def epochs_chart(epochs: pd.DataFrame) -> dict[str, Any]:
    """Numbers of measurements of all epochs over time.

    Parameters
    ----------
    epochs : rows of the table `epochs`
    """
    chart = _chart("MJD (UTC) [d]", "measurements", 200)
    shown = epochs[epochs["mjd_start"].notna()]
    data = pd.DataFrame({"mjd": shown["mjd_start"], "n": shown["n_measurements"], "images": shown["n_images"]})
    source = _source(data.assign(epoch=shown["epoch"]))
    chart.scatter("mjd", "n", source=source, size=6, color=USED)
    chart.add_tools(HoverTool(tooltips=[("epoch", "@epoch"), ("images", "@images"), ("measurements", "@n")]))
    return _json(chart)


def matched_chart(fractions: pd.DataFrame) -> dict[str, Any]:
    """Matched fraction of each epoch in each catalog.

    Parameters
    ----------
    fractions : of `contimg_assets.pipeline.catalog_summary.by_epoch`
    """
    epochs = fractions["epoch"].drop_duplicates().tolist()
    chart = _chart("epochs in time order", "matched fraction", 280, y_range=(0, 1.05))
    for number, (name, rows) in enumerate(fractions.groupby("catalog", sort=True)):
        place = [epochs.index(one) + 1 for one in rows["epoch"]]
        data = pd.DataFrame({"place": place, "fraction": rows["matched_fraction"], "epoch": rows["epoch"]})
        color = _SERIES[number % len(_SERIES)]
        source = _source(data.assign(catalog=name))
        chart.line("place", "fraction", source=source, color=color, legend_label=str(name)[:60])
        chart.scatter("place", "fraction", source=source, color=color, size=5)
        chart.legend.location = "bottom_left"
    chart.add_tools(HoverTool(tooltips=[(word, f"@{word}") for word in ("catalog", "epoch", "fraction")]))
    return _json(chart)


def _density(x: pd.Series, y: pd.Series, n_bins: int = 60) -> pd.DataFrame:
    """Numbers of points in cells of the logarithms, as opacities."""
    log_x, log_y = np.log10(x.to_numpy(dtype=float)), np.log10(y.to_numpy(dtype=float))
    count, x_edges, y_edges = np.histogram2d(log_x, log_y, bins=n_bins)
    i, j = np.nonzero(count)
    return pd.DataFrame(
        {
            "left": 10 ** x_edges[i],
            "right": 10 ** x_edges[i + 1],
            "bottom": 10 ** y_edges[j],
            "top": 10 ** y_edges[j + 1],
            "alpha": 0.1 + 0.9 * np.log1p(count[i, j]) / np.log1p(count.max()),
        }
    )


def sky_chart(
    sources: pd.DataFrame, images: pd.DataFrame, center: tuple[float, float, float] | None = None
) -> dict[str, Any]:
    """Sources about a place, or all of them: east is left, right at RA 0 and at the poles.

    Parameters
    ----------
    sources : name, id, ra_deg, dec_deg, varies, is_new
    images : ra_deg, dec_deg, radius_deg
    center : ra_deg, dec_deg and radius_deg; all there is if not given
    """
    ra, dec, radius = center or center_of(sources, images)
    dra, ddec = (value / 3600.0 for value in offsets_arcsec(ra, dec, sources["ra_deg"], sources["dec_deg"]))
    marked = (sources["varies"] | sources["is_new"]).to_numpy(bool)
    inside = np.hypot(dra, ddec) <= radius
    # Those that are marked are always shown; of the others, evenly as many as a browser draws.
    others = np.flatnonzero(inside & ~marked)
    every = others[:: max(1, len(others) // MOST_POINTS)]
    data = pd.DataFrame({"east": dra, "north": ddec, "name": sources["name"]}).assign(
        href=[f"source/{one}" for one in sources["id"]],
        what=np.select([sources["varies"], sources["is_new"]], ["varies", "new"], ""),
        color=np.where(marked, MARKED, USED),
        size=np.where(marked, 9, 5),
    )
    # As wide as high, so that circles are round.
    square = {"aspect_ratio": 1.0, "max_width": 760, "x_range": (radius, -radius), "y_range": (-radius, radius)}
    chart = _chart(f"east of RA {ra:.4f}° [deg]", f"north of Dec {dec:+.4f}° [deg]", None, **square)
    image_ra, image_dec = offsets_arcsec(ra, dec, images["ra_deg"], images["dec_deg"])
    circles = pd.DataFrame({"x": image_ra / 3600, "y": image_dec / 3600, "radius": images["radius_deg"]})
    chart.circle("x", "y", radius="radius", source=_source(circles), fill_alpha=0, line_color="#cccccc")
    chosen = np.union1d(every, np.flatnonzero(inside & marked))
    points = _source(data.iloc[chosen], _LINKED)
    drawn = chart.scatter("east", "north", source=points, size="size", color="color", alpha=0.7, hit_dilation=_HIT)
    tooltips = [("name", "@name"), ("", "@what")]
    chart.add_tools(TapTool(renderers=[drawn]), HoverTool(renderers=[drawn], tooltips=tooltips))
    return _json(chart)


def images_chart(images: pd.DataFrame, column: str, error: str | None, label: str) -> dict[str, Any]:
    """A number of all images over time, with its error; those that are not trusted in grey."""
    value = images[column].to_numpy(dtype=float)
    # Nothing has no range of its own.
    empty = {} if np.isfinite(value).any() else {"x_range": (0, 1), "y_range": (0, 1)}
    chart = _chart("MJD (UTC) [d]", label, 240, **empty)
    err = images[error].fillna(0.0).to_numpy(dtype=float) if error else np.zeros(len(images))
    data = pd.DataFrame({"mjd": images["mjd"], "value": value, "low": value - err, "high": value + err})
    data = data.assign(image=images["image"], epoch=images["epoch"])
    data = data.assign(color=np.where(images["trusted"].to_numpy(bool), USED, REFUSED))
    source = _source(data[np.isfinite(value)])
    chart.segment("mjd", "low", "mjd", "high", source=source, color="color")
    chart.scatter("mjd", "value", source=source, size=6, color="color")
    chart.add_tools(HoverTool(tooltips=[(name, f"@{name}") for name in ("epoch", "image", "value")]))
    return _json(chart)


def _mark(chart: Any, at: float, dimension: Literal["width", "height"]) -> None:
    """A threshold."""
    chart.add_layout(Span(location=at, dimension=dimension, line_dash="dashed", line_color="#777777"))


def _chart(x: str, y: str, height: int | None, **options: Any) -> Any:
    chart = figure(height=height, sizing_mode="stretch_width", tools=_TOOLS, **options)
    chart.xaxis.axis_label, chart.yaxis.axis_label = x, y
    chart.toolbar.logo = None
    return chart


def _source(frame: pd.DataFrame, name: str | None = None) -> ColumnDataSource:
    """Lists, not arrays: a page of JSON has no binary parts. Missing numbers stay missing."""
    columns = {str(column): frame[column].tolist() for column in frame}
    return ColumnDataSource(data=columns, name=name)


def _json(chart: Any) -> dict[str, Any]:
    return dict(json_item(chart))
