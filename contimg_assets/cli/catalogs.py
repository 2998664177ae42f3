"""`contimg catalog ...`: reference catalogs; `contimg match ...`: people's decisions on counterparts."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, open_project, print_frame
from contimg_assets.cli.products import SourceArgument, open_products
from contimg_assets.config import find_config_file, load_config
from contimg_assets.errors import ConfigError

catalog_app = typer.Typer(help="Reference catalogs.", no_args_is_help=True)
match_app = typer.Typer(help="Accept, reject or comment on counterparts.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")
app.add_typer(match_app, name="match")

CatalogArgument = Annotated[str, typer.Argument(metavar="CATALOG", help="Reference catalog, as configured")]
CounterpartArgument = Annotated[str, typer.Argument(metavar="CATALOG_SOURCE", help="Name of the source there")]
CommentOption = Annotated[str | None, typer.Option(help="Why")]


@command(catalog_app, "add")
def add(
    name: Annotated[str, typer.Argument(help="Name to give it; a survey's name implies its preset")],
    file: Annotated[Path, typer.Argument(help="FITS, VOTable, CSV, Parquet or SQLite file")],
    preset: Annotated[str | None, typer.Option(help="Survey whose columns, frequency and errors apply")] = None,
    freq_mhz: Annotated[float | None, typer.Option(help="Frequency of its fluxes [MHz]")] = None,
    beam_arcsec: Annotated[float | None, typer.Option(help="Resolution, FWHM [arcsec]")] = None,
    position_err_arcsec: Annotated[float | None, typer.Option(help="Error where no column gives one")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="OURS=THEIRS[:UNIT]", help="A column by hand, such as flux_mjy=S_total:Jy; repeatable"),
    ] = None,
) -> None:
    """Write a catalog into contimg.yaml, after reading it to see that it is usable."""
    from contimg_assets.catalogs.manage import add_catalog
    from contimg_assets.catalogs.read import columns_taken

    config_file = find_config_file()
    n_rows = add_catalog(
        config_file,
        name,
        file,
        preset=preset,
        freq_mhz=freq_mhz,
        beam_arcsec=beam_arcsec,
        position_err_arcsec=position_err_arcsec,
        columns=dict(_column(text) for text in column or ()),
    )
    config = load_config(config_file)
    taken = columns_taken(config.catalogs[name], config.catalog_path(name))
    for ours, theirs, unit, stated in taken.itertuples(index=False, name=None):
        shown = escape(f"{theirs} [{unit}]" if unit else str(theirs))
        doubt = "" if stated else "  [yellow]assumed: the file names no unit; say another with --column[/]"
        console.print(f"  {ours} is {shown}{doubt}", soft_wrap=True)
    console.print(f"Catalogue {escape(name)} has {n_rows} sources; `contimg run` matches every epoch to it.")


def _column(text: str) -> tuple[str, dict[str, str]]:
    """OURS=THEIRS[:UNIT] as an entry of `columns`."""
    ours, _, theirs = text.partition("=")
    column, _, unit = theirs.rpartition(":") if ":" in theirs else (theirs, "", "")
    if not ours or not column:
        raise ConfigError(f"--column {text!r}: write OURS=THEIRS or OURS=THEIRS:UNIT, such as flux_mjy=S_total:Jy")
    return ours, {"column": column} | ({"unit": unit} if unit else {})


@command(catalog_app, "list")
def list_(presets: Annotated[bool, typer.Option("--presets", help="Surveys that need no column map")] = False) -> None:
    """List the configured catalogs, or the presets."""
    from contimg_assets.catalogs.manage import list_catalogs, list_presets

    if presets:
        print_frame(list_presets(), title="Presets")
        return
    found = list_catalogs(open_project().config)
    if found.empty:
        console.print("No reference catalog is configured; `contimg catalog add NAME FILE` adds one.")
        return
    print_frame(found, title="Reference catalogs")


@command(catalog_app, "fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Survey (see `contimg catalog list --presets`), or a name of your own")],
    preset: Annotated[str | None, typer.Option(help="The survey, where NAME is your own")] = None,
    region: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="RA DEC RADIUS", help="Only this circle [deg]")
    ] = None,
    url: Annotated[str | None, typer.Option(help="TAP service; VizieR if not given")] = None,
) -> None:
    """Download a survey's published table and write it into contimg.yaml (needs the extra 'fetch')."""
    from contimg_assets.catalogs import fetch as remote
    from contimg_assets.catalogs.manage import fetch_catalog

    n_rows = fetch_catalog(find_config_file(), name, preset=preset, region=region, url=url or remote.VIZIER_TAP)
    console.print(f"Fetched {n_rows} sources as catalog {escape(name)}; `contimg run` matches every epoch to it.")


def _decide(action: str, source: str, catalog: str, counterpart: str | None, comment: str | None) -> None:
    from contimg_assets.pipeline.products import matching_of

    database = open_products()
    source_id = database.find_source(source)
    matching = matching_of(open_project().config)
    database.decide_match(action, source_id, catalog, counterpart, comment, getpass.getuser(), matching)
    console.print(f"Noted: {action} {escape(catalog)} {escape(counterpart or '(all)')} for source {source_id}.")


@command(match_app, "accept")
def accept(
    source: SourceArgument, catalog: CatalogArgument, counterpart: CounterpartArgument, comment: CommentOption = None
) -> None:
    """This is the source's counterpart, whatever its probability."""
    _decide("accept", source, catalog, counterpart, comment)


@command(match_app, "reject")
def reject(
    source: SourceArgument, catalog: CatalogArgument, counterpart: CounterpartArgument, comment: CommentOption = None
) -> None:
    """This is not the source's counterpart, whatever its probability."""
    _decide("reject", source, catalog, counterpart, comment)


@command(match_app, "comment")
def comment(
    source: SourceArgument,
    catalog: CatalogArgument,
    text: Annotated[str, typer.Argument(help="What to say")],
    counterpart: Annotated[str | None, typer.Option(help="Only on this counterpart")] = None,
) -> None:
    """Say something on a source's counterparts in a catalog."""
    _decide("comment", source, catalog, counterpart, text)
