"""`contimg plot`: pictures of the products as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, open_project
from contimg_assets.cli.products import Flux, SourceArgument, open_products
from contimg_assets.errors import StoreError

if TYPE_CHECKING:
    from contimg_assets.figures.canvas import Figure

plot_app = typer.Typer(help="Draw pictures of the products: PNG, PDF, SVG or HTML.", no_args_is_help=True)
app.add_typer(plot_app, name="plot")

OutOption = Annotated[
    Path | None, typer.Option(help="File to write: .png, .pdf, .svg or .html; a PNG here if not given")
]
FluxOption = Annotated[Flux | None, typer.Option(help="Which flux; peak where there are any, if not given")]


@command(plot_app, "lightcurve")
def plot_lightcurve(what: SourceArgument, out: OutOption = None, flux: FluxOption = None) -> None:
    """Draw the light curve of a source, with errors, upper limits, and points of refused images in grey.

    Example: contimg plot lightcurve J0359+1535 --out curve.pdf
    """
    from contimg_assets.figures.light_curves import draw_light_curve

    database = open_products()
    source_id = database.find_source(what)
    name = str(database.source(source_id)["name"])
    curve = database.light_curve(source_id)
    _write(draw_light_curve(curve, name, flux and flux.value), out, f"{name.replace(' ', '_')}.png")


@command(plot_app, "eta-v")
def plot_eta_v(
    out: OutOption = None,
    flux: FluxOption = None,
    names: Annotated[int, typer.Option(min=0, help="Write the names of so many of those that vary most")] = 8,
) -> None:
    """Draw V against eta of all sources, with those that vary marked. Example: contimg plot eta-v --names 12"""
    from contimg_assets.figures.survey import draw_variability

    database = open_products()
    kind = flux.value if flux else database.flux_kind()
    max_q = open_project().config.variability.max_q
    _write(draw_variability(database.variables(kind=kind), kind, max_q, names), out, "eta-v.png")


@command(plot_app, "sky")
def plot_sky(
    around: Annotated[
        str | None, typer.Option(help="Source or position in the middle; all there is if not given")
    ] = None,
    radius_deg: Annotated[float, typer.Option(min=0.001, max=40, help="How far about it [deg]")] = 1.0,
    out: OutOption = None,
) -> None:
    """Draw the sources and the images on the sky, with those that vary and the new ones marked.

    Example: contimg plot sky --around J0359+1535 --radius-deg 0.5
    """
    from contimg_assets.database.survey_summary import marked_sources
    from contimg_assets.figures.survey import draw_sky

    database = open_products()
    sources = marked_sources(database, open_project().config.variability)
    center = None
    if around is not None:
        place = database.source(database.find_source(around))
        center = (float(place["ra_deg"]), float(place["dec_deg"]), radius_deg)
    _write(draw_sky(sources, database.read_table("images"), center, around or ""), out, "sky.png")


@command(plot_app, "image")
def plot_image(
    epoch: Annotated[str, typer.Argument(help="Epoch")],
    image: Annotated[str, typer.Argument(help="Image; `contimg images` lists them")],
    out: OutOption = None,
) -> None:
    """Draw an image by its detections: where they are, and their flux over the mean flux of their sources.

    Example: contimg plot image 2026-01-25T2200 tile1
    """
    from contimg_assets.database.image_contents import image_measurements
    from contimg_assets.database.survey_summary import image_corrections
    from contimg_assets.figures.survey import draw_image

    database = open_products()
    images = image_corrections(database)
    chosen = images[(images["epoch"] == epoch) & (images["image"] == image)]
    if chosen.empty:
        raise StoreError(f"no image {image!r} of epoch {epoch!r} in the products; `contimg images` lists all")
    found = image_measurements(database, epoch, image, database.flux_kind())
    _write(draw_image(chosen.iloc[0], found, f"{epoch} {image}"), out, "image.png")


@command(plot_app, "epochs")
def plot_epochs(out: OutOption = None) -> None:
    """Draw offsets, flux scales and rms of all images over time. Example: contimg plot epochs --out epochs.svg"""
    from contimg_assets.database.survey_summary import image_corrections
    from contimg_assets.figures.survey import draw_epochs

    _write(draw_epochs(image_corrections(open_products()), "Images over time"), out, "epochs.png")


def _write(figure: Figure, out: Path | None, name: str) -> None:
    """Write a figure and say where."""
    from contimg_assets.database.export_files import replacing
    from contimg_assets.figures.picture_files import picture_format, write_figure

    file = out or Path(name)
    kind = picture_format(file)
    with replacing(file) as temporary:
        write_figure(figure, temporary, kind)
    console.print(f"Wrote {escape(str(file))}.", highlight=False, soft_wrap=True)
