"""Pictures: of what they should be made, the same for the same table, and with names that are no formulas."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from contimg_assets.database import ProductsDatabase
from contimg_assets.errors import InputError
from contimg_assets.figures.canvas import new_figure, plain, png_of, small_png_of
from contimg_assets.figures.light_curves import draw_light_curve, fluxes
from contimg_assets.figures.picture_files import picture_format, write_figure
from contimg_assets.figures.survey import center_of, draw_epochs, draw_image, draw_sky, draw_variability
from contimg_assets.figures.vector import LIMIT, MARKED, REFUSED, USED
from contimg_assets.schemas.variability import LIGHT_CURVE
from contimg_assets_tests.database.survey import Survey
from contimg_assets_tests.orchestration.names import HOSTILE

BEGINS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "html": b"<!doctype html>"}


@pytest.fixture
def survey_database(tmp_path: Path) -> ProductsDatabase:
    with ProductsDatabase(tmp_path / "products.sqlite3") as database:
        database.upgrade()
        database.replace_epochs(Survey(n_sources=20, n_epochs=5, detected=0.7).epochs())
        return database


def curve() -> pd.DataFrame:
    """Detected, refused, not detected, forced."""
    table = LIGHT_CURVE.empty().reindex(range(4))
    return table.assign(
        mjd=[1.0, 2.0, 3.0, 4.0],
        flux_peak_corr_mjy_beam=[5.0, 50.0, np.nan, 2.0],
        flux_peak_err_corr_mjy_beam=[1.0, 1.0, np.nan, 1.0],
        flux_scale_err=[0.1, 0.0, np.nan, np.nan],
        upper_limit_mjy_beam=[np.nan, np.nan, 7.0, np.nan],
        is_limit=[False, False, True, False],
        forced=[False, False, False, True],
        trusted=[True, False, None, True],
    )


def test_a_light_curve_shows_errors_limits_and_refused_points_apart() -> None:
    figure = draw_light_curve(curve(), "DSA $J$")
    (axes,) = figure.axes
    drawn = {container.get_label(): container.lines[0].get_xydata().tolist() for container in axes.containers}
    assert drawn == {"detected": [[1.0, 5.0]], "image refused": [[2.0, 50.0]], "forced": [[4.0, 2.0]]}
    (limit,) = [line for line in axes.lines if line.get_label() == "limit"]
    assert limit.get_xydata().tolist() == [[3.0, 7.0]]
    assert axes.get_title() == r"DSA \$J\$"
    assert "mJy/beam" in axes.get_ylabel()
    assert fluxes(curve(), "peak")[1][0] == pytest.approx(np.hypot(1.0, 0.5))
    assert draw_light_curve(curve()[:0]).axes


def test_integrated_fluxes_stand_in_where_there_are_no_peaks() -> None:
    only = curve().assign(flux_int_corr_mjy=3.0, flux_int_err_corr_mjy=1.0, flux_peak_corr_mjy_beam=np.nan)
    assert draw_light_curve(only).axes[0].get_ylabel() == "integrated flux density [mJy]"


@pytest.mark.parametrize("kind", BEGINS)
def test_files_are_the_same_for_the_same_picture(tmp_path: Path, kind: str) -> None:
    files = [tmp_path / f"{number}.{kind}" for number in range(2)]
    for file in files:
        write_figure(draw_light_curve(curve(), "x"), file, picture_format(file))
    assert files[0].read_bytes().startswith(BEGINS[kind])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_page_holds_its_picture_and_its_title(tmp_path: Path) -> None:
    write_figure(draw_light_curve(curve(), "<b>5$ & more"), tmp_path / "x.html", "html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.count("<title>&lt;b&gt;5$ &amp; more</title>") == page.count('src="data:image/png;base64,') == 1
    assert "<script" not in page and "http://" not in page


def test_other_formats_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"'x.gif' says no format of pictures; end it with one of .png, .pdf, .svg, .html"
    ):
        picture_format(Path("x.gif"))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    write_figure(draw_light_curve(curve(), name), tmp_path / "x.png", "png", dpi=30)
    assert plain(name).replace(r"\$", "$").startswith(name[:5].replace("\n", " "))


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (180.0, 90.0), (90.0, -89.9)])
def test_the_map_is_right_at_ra_0_and_at_the_poles(ra: float, dec: float) -> None:
    from contimg_assets.sky.sphere import displaced

    east, north = displaced(np.full(3, ra), np.full(3, dec), [3600.0, 0.0, 0.0], [0.0, 0.0, 1800.0])
    sources = pd.DataFrame({"ra_deg": east, "dec_deg": north})
    images = pd.DataFrame({"ra_deg": [ra], "dec_deg": [dec], "radius_deg": [2.0]})
    assert center_of(sources, images)[2] == pytest.approx(2.0)
    axes = draw_sky(sources, images, (ra, dec, 2.0)).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 0], [0, 0], [0, 0.5]], atol=1e-9)
    assert axes.get_xlim() == (2.0, -2.0)
    (edge,) = axes.collections[0].get_segments()
    np.testing.assert_allclose(np.hypot(*np.radians(edge.T)), np.radians(2.0), rtol=1e-3)


def test_far_apart_sources_are_on_a_map_of_all_the_sky() -> None:
    sources = pd.DataFrame({"ra_deg": [0.0, 90.0], "dec_deg": [0.0, 60.0], "is_new": [False, True]})
    axes = draw_sky(sources, pd.DataFrame({"ra_deg": [0.0, 90.0], "dec_deg": 0.0, "radius_deg": 1.0})).axes[0]
    assert axes.name == "mollweide"
    # East is left.
    np.testing.assert_allclose(axes.lines[1].get_xydata()[1], np.radians([-90.0, 60.0]))


def test_products_are_drawn(survey_database: ProductsDatabase) -> None:
    from contimg_assets.config import Variability
    from contimg_assets.database.image_contents import image_measurements
    from contimg_assets.database.survey_summary import image_corrections, marked_sources

    images = image_corrections(survey_database)
    found = image_measurements(survey_database, images["epoch"][0], images["image"][0], "peak")
    measured = survey_database.query(
        "SELECT count(*) AS n FROM measurements WHERE epoch = :epoch AND NOT is_limit", {"epoch": images["epoch"][0]}
    )
    assert len(found) == measured["n"][0]
    np.testing.assert_allclose((found["flux_mjy"] / found["mean_flux_mjy"]).median(), 1.0, atol=0.2)
    assert len(draw_image(images.iloc[0], found).axes) == 3
    assert len(draw_epochs(images).axes) == 4
    marked = marked_sources(survey_database, Variability())
    assert len(marked) == 20
    assert draw_sky(marked, survey_database.read_table("images")).axes
    assert "light curves" in draw_variability(survey_database.variables(), "peak", 0.05, 3).axes[0].get_title()


def test_a_light_curve_draws_itself_and_has_units(survey_database: ProductsDatabase, tmp_path: Path) -> None:
    import astropy.units as u

    name = survey_database.read_table("sources")["name"][0]
    found = survey_database.light_curve(name)
    found.plot(name, out=tmp_path / "curve.svg")
    assert b"<svg" in (tmp_path / "curve.svg").read_bytes()
    series = found.to_timeseries()
    assert series["flux_peak_corr_mjy_beam"].unit == u.mJy / u.beam
    np.testing.assert_allclose(series.time.mjd, found["mjd"])
    assert found[~found["is_limit"]].plot().axes


def test_small_pictures_show_the_same_with_a_fraction_of_the_bytes():
    rng = np.random.default_rng(1)
    figure, ((axes,),) = new_figure()
    for color in (USED, REFUSED, LIMIT, MARKED):
        axes.plot(*rng.normal(size=(2, 300)), ".", color=color)
    whole, small = png_of(figure, 60), small_png_of(figure, 60)
    assert small == small_png_of(figure, 60)
    assert len(small) < 0.4 * len(whole)
    before, after = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float) for png in (whole, small))
    assert np.abs(before - after).mean() < 2.0
    assert np.mean(np.abs(before - after) > 50.0) < 0.005


def test_a_small_picture_has_the_pixels_of_the_large_one() -> None:
    figure, ((axes,),) = new_figure(width=4.5, height=3.6)
    axes.plot([1.0, 2.0], [3.0, 1.0], color=USED)
    small, large = (
        Image.open(io.BytesIO(png)).convert("RGB") for png in (small_png_of(figure, 60), png_of(figure, 60))
    )
    assert small.size == large.size == (270, 216)
    # Of 64 colors, the nearest.
    assert np.abs(np.asarray(small, int) - np.asarray(large, int)).mean() < 1.0
