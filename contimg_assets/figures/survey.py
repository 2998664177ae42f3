"""A survey as pictures: its sky, an image of it, its epochs over time, what varies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from contimg_assets.figures.canvas import new_figure, plain
from contimg_assets.figures.summaries import FLUXES
from contimg_assets.figures.vector import MARKED, REFUSED, USED
from contimg_assets.sky.arrays import Flags, Floats
from contimg_assets.sky.sphere import displaced, offsets_arcsec, positions, unit_vectors

# Wider than this, a plane is no map.
_LOCAL_DEG = 40.0


def center_of(sources: pd.DataFrame, images: pd.DataFrame) -> tuple[float, float, float]:
    """Middle of a survey and the largest distance from it: ra_deg, dec_deg, radius_deg; right at RA 0 and the poles.

    Parameters
    ----------
    sources : ra_deg, dec_deg
    images : ra_deg, dec_deg, radius_deg
    """
    rows = images if len(images) else sources
    if not len(rows):
        return 0.0, 0.0, 1.0
    mean = unit_vectors(rows["ra_deg"], rows["dec_deg"]).mean(axis=0)
    ra, dec = (float(value[0]) for value in positions(mean[None]))
    dra, ddec = offsets_arcsec(ra, dec, rows["ra_deg"], rows["dec_deg"])
    reach = np.hypot(dra, ddec) / 3600.0 + (rows["radius_deg"].to_numpy(dtype=float) if len(images) else 0.0)
    return ra, dec, float(np.max(reach))


def draw_sky(
    sources: pd.DataFrame,
    images: pd.DataFrame,
    center: tuple[float, float, float] | None = None,
    title: str = "",
) -> Figure:
    """Sources and images on the sky: a map about a place, or all of the sky where they are far apart.

    Parameters
    ----------
    sources : ra_deg, dec_deg; `is_new` and `varies` (flags) mark some, where there are such columns
    images : ra_deg, dec_deg, radius_deg
    center : ra_deg, dec_deg and radius_deg of the map; all there is if not given
    """
    ra, dec, radius = center or center_of(sources, images)
    if radius > _LOCAL_DEG:
        return _draw_all_sky(sources, images, title)
    figure, ((axes,),) = new_figure(width=6.5, height=6.0)

    def place(rows_ra: Any, rows_dec: Any) -> tuple[Floats, Floats]:
        dra, ddec = offsets_arcsec(ra, dec, rows_ra, rows_dec)
        return dra / 3600.0, ddec / 3600.0

    circles = _circles(images)
    axes.add_collection(LineCollection([np.stack(place(*one), axis=-1) for one in circles], colors="0.8", lw=0.5))
    for rows, style, label in _groups(sources):
        axes.plot(*place(sources["ra_deg"][rows], sources["dec_deg"][rows]), linestyle="none", label=label, **style)
    axes.set(xlim=(radius, -radius), ylim=(-radius, radius), aspect="equal", title=plain(title))
    axes.set(xlabel=f"east of RA {ra:.4f}° [deg]", ylabel=f"north of Dec {dec:+.4f}° [deg]")
    axes.legend(fontsize=7, loc="upper right")
    return figure


def _draw_all_sky(sources: pd.DataFrame, images: pd.DataFrame, title: str) -> Figure:
    figure = new_figure(width=8.0, height=4.4)[0]
    figure.clear()
    axes = figure.add_subplot(projection="mollweide")

    def place(rows_ra: Any, rows_dec: Any) -> tuple[Floats, Floats]:
        # East is left, and RA 0 in the middle.
        lon = -((np.asarray(rows_ra, dtype=float) + 180.0) % 360.0 - 180.0)
        return np.radians(lon), np.radians(np.asarray(rows_dec, dtype=float))

    axes.plot(*place(images["ra_deg"], images["dec_deg"]), "o", ms=3, mfc="none", color="0.7", label="images")
    for rows, style, label in _groups(sources):
        axes.plot(*place(sources["ra_deg"][rows], sources["dec_deg"][rows]), linestyle="none", label=label, **style)
    axes.set_xticks(np.radians(np.arange(-150, 151, 60)), [f"{-lon % 360}°" for lon in range(-150, 151, 60)])
    axes.grid(lw=0.3)
    axes.set_title(plain(title))
    axes.legend(fontsize=7, loc="lower right")
    return figure


def _circles(images: pd.DataFrame) -> list[tuple[Floats, Floats]]:
    """Edges of images as lines on the sky."""
    angle = np.linspace(0.0, 2.0 * np.pi, 73)
    radius = 3600.0 * images["radius_deg"].to_numpy(dtype=float)
    # Along a great circle from the center: as an offset of the sky-offset frame, east to the angle.
    lon = np.arctan2(np.sin(radius[:, None] / _RADIAN) * np.cos(angle), np.cos(radius[:, None] / _RADIAN))
    lat = np.arcsin(np.sin(radius[:, None] / _RADIAN) * np.sin(angle))
    ra, dec = displaced(
        np.repeat(images["ra_deg"].to_numpy(dtype=float), len(angle)),
        np.repeat(images["dec_deg"].to_numpy(dtype=float), len(angle)),
        lon.ravel() * _RADIAN,
        lat.ravel() * _RADIAN,
    )
    return list(zip(ra.reshape(lon.shape), dec.reshape(lon.shape), strict=True))


_RADIAN = 180.0 * 3600.0 / np.pi


def _groups(sources: pd.DataFrame) -> list[tuple[Flags, dict[str, Any], str]]:
    """Sources by how they are marked."""
    every = np.ones(len(sources), bool)
    groups: list[tuple[Flags, dict[str, Any], str]] = [
        (every, {"marker": ".", "ms": 2, "color": USED, "alpha": 0.6}, f"{len(sources)} sources")
    ]
    for name, word, marker in (("varies", "vary", "+"), ("is_new", "new", "x")):
        if name in sources and sources[name].any():
            rows = sources[name].to_numpy(bool)
            groups.append((rows, {"marker": marker, "ms": 7, "color": MARKED}, f"{rows.sum()} {word}"))
    return groups


def draw_image(image: pd.Series, measurements: pd.DataFrame, title: str = "") -> Figure:
    """An image by its detections: where they are, and their flux over the mean flux of their sources.

    Parameters
    ----------
    image : ra_deg, dec_deg, radius_deg
    measurements : ra_deg, dec_deg, snr, flux_mjy and mean_flux_mjy (of the same kind)
    """
    figure, ((left, right),) = new_figure(1, 2, width=9.5, height=4.4)
    dra, ddec = offsets_arcsec(image["ra_deg"], image["dec_deg"], measurements["ra_deg"], measurements["dec_deg"])
    ratio = measurements["flux_mjy"].to_numpy(dtype=float) / measurements["mean_flux_mjy"].to_numpy(dtype=float)
    shown = left.scatter(dra / 3600, ddec / 3600, s=8, c=ratio, cmap="coolwarm", vmin=0.8, vmax=1.2)
    figure.colorbar(shown, ax=left, label="flux / mean flux of the source")
    (edge,) = _circles(pd.DataFrame([image]))
    left.plot(*(value / 3600 for value in offsets_arcsec(image["ra_deg"], image["dec_deg"], *edge)), color="0.7", lw=1)
    left.invert_xaxis()
    left.set(xlabel="east of the center [deg]", ylabel="north [deg]", aspect="equal", title=plain(title))
    right.plot(measurements["snr"], ratio, ".", ms=4, color=USED)
    right.axhline(1, color="k", lw=0.5)
    right.set(xscale="log", xlabel="signal to noise ratio", ylabel="flux / mean flux of the source", ylim=(0, 2))
    right.set_title(f"{len(measurements)} measurements")
    return figure


def draw_matched(fractions: pd.DataFrame, title: str = "Measurements with a counterpart in each catalog") -> Figure:
    """Matched fraction of each epoch in each catalog.

    Parameters
    ----------
    fractions : epoch, catalog, matched_fraction, in the order of the epochs
    """
    figure, ((axes,),) = new_figure(width=7.5, height=3.5)
    places = {epoch: place for place, epoch in enumerate(fractions["epoch"].drop_duplicates(), 1)}
    for name, rows in fractions.groupby("catalog", sort=True):
        axes.plot(rows["epoch"].map(places), rows["matched_fraction"], ".-", lw=0.8, ms=4, label=plain(name))
    axes.set(ylim=(0, 1.05), xlabel="epochs in time order", ylabel="matched fraction", title=plain(title))
    if len(fractions):
        axes.legend(fontsize=7, loc="lower left")
    return figure


def draw_epochs(images: pd.DataFrame, title: str = "", *, in_a_row: bool = False) -> Figure:
    """Offsets, flux scales and rms of images over time; those that are not trusted in grey.

    Parameters
    ----------
    images : of `contimg_assets.database.survey_summary.image_corrections`
    in_a_row : the panels stand beside each other, and not one above the other
    """
    figure, grid = new_figure(1, 4, width=11.0, height=2.1) if in_a_row else new_figure(4, 1, width=7.5, height=7.5)
    panels = grid.ravel()
    trusted = images["trusted"].to_numpy(bool)
    columns = (
        ("dra_arcsec", "dra_err_arcsec", "offset east\n[arcsec]", 0.0),
        ("ddec_arcsec", "ddec_err_arcsec", "offset north\n[arcsec]", 0.0),
        ("flux_mult", "flux_mult_err", "flux factor", 1.0),
        ("rms_mjy_beam", None, "rms [mJy/beam]", None),
    )
    for axes, (name, error, label, line) in zip(panels, columns, strict=True):
        for rows, color in ((trusted, USED), (~trusted, REFUSED)):
            if rows.any():
                err = images[error][rows] if error else None
                axes.errorbar(images["mjd"][rows], images[name][rows], err, fmt=".", ms=4, lw=0.8, color=color)
        if line is not None:
            axes.axhline(line, color="k", lw=0.5)
        axes.set_ylabel(label, fontsize=8)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.sharex(panels[-1])
    if in_a_row:
        panels[-1].locator_params(axis="x", nbins=3)
    figure.suptitle(plain(title))
    panels[-1].set_xlabel("MJD (UTC) [d]; grey: not trusted", fontsize=8)
    return figure


def draw_variability(
    variability: pd.DataFrame, kind: str = "peak", max_q: float = 0.0, n_named: int = 0, title: str = ""
) -> Figure:
    """Variability index V against eta: constant sources lie lower left, variables upper right.

    Parameters
    ----------
    variability : columns eta_<kind> and v_<kind> of schema VARIABILITY; q_value_<kind>, where there is such a column
    kind : which flux
    max_q : sources up to this q-value are marked
    n_named : the names of so many of these are written beside them, the first ones; column `name`
    """
    figure, ((axes,),) = new_figure(width=7.0, height=5.5)
    eta, v = f"eta_{kind}", f"v_{kind}"
    shown = variability[(variability[eta] > 0) & (variability[v] > 0)]
    if len(shown):
        grid = axes.hexbin(shown[eta], shown[v], gridsize=40, xscale="log", yscale="log", bins="log", mincnt=1)
        figure.colorbar(grid, label="sources")
    if max_q and f"q_value_{kind}" in shown:
        chosen = shown[shown[f"q_value_{kind}"] <= max_q]
        axes.plot(chosen[eta], chosen[v], "r+", ms=4, mew=0.7, label=f"{len(chosen)} with q <= {max_q:g}")
        axes.legend(fontsize=7, loc="lower right")
        for row in chosen[:n_named].to_dict("records"):
            label = plain(row["name"])
            axes.annotate(label, (row[eta], row[v]), (-4, 2), textcoords="offset points", ha="right", fontsize=6)
    axes.set(xlabel="eta (reduced chi squared)", ylabel="V (std / mean)")
    axes.set_title(plain(title) or f"{len(shown)} light curves, {FLUXES[kind]}")
    return figure
