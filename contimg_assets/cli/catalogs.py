"""`contimg catalog ...`: reference catalogs; `contimg match ...`: people's decisions on counterparts."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, open_project
from contimg_assets.cli.listings import Listing, listing
from contimg_assets.cli.products import SourceArgument, open_products
from contimg_assets.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from contimg_assets.catalogs.inspect import Inspection
    from contimg_assets.config import CatalogConfig, Config

catalog_app = typer.Typer(help="Reference catalogs.", no_args_is_help=True)
match_app = typer.Typer(help="Accept or reject counterparts, withdraw that, or comment on them.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")
app.add_typer(match_app, name="match")

CatalogArgument = Annotated[str, typer.Argument(metavar="CATALOG", help="Reference catalog, as configured")]
CounterpartArgument = Annotated[str, typer.Argument(metavar="CATALOG_SOURCE", help="Name of the source there")]
CommentOption = Annotated[str | None, typer.Option(help="Why")]


@command(catalog_app, "add")
def add(
    name: Annotated[str, typer.Argument(help="Name to give it; a survey's name implies its preset")],
    file: Annotated[str, typer.Argument(help="FITS, VOTable, CSV, Parquet or SQLite file, its URL, or folder in HATS")],
    preset: Annotated[str | None, typer.Option(help="Survey whose columns, frequency and errors apply")] = None,
    freq_mhz: Annotated[float | None, typer.Option(help="Frequency of its fluxes [MHz]")] = None,
    beam_arcsec: Annotated[float | None, typer.Option(help="Resolution, FWHM [arcsec]")] = None,
    position_err_arcsec: Annotated[float | None, typer.Option(help="Error where no column gives one")] = None,
    table: Annotated[str | None, typer.Option(help="Table, of a file that has several: its number or name")] = None,
    frame: Annotated[str | None, typer.Option(help="Frame of its positions, such as galactic or 'fk4 1950'")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="OURS=THEIRS[:UNIT]", help="A column by hand, such as flux_mjy=S_total:Jy; repeatable"),
    ] = None,
) -> None:
    """Write a catalog into contimg.yaml, after reading it to see that it is usable, and say what was taken.

    Example: contimg catalog add nvss NVSS.fits
    """
    from contimg_assets.catalogs.copies import local_file
    from contimg_assets.catalogs.inspect import inspect_reference
    from contimg_assets.catalogs.manage import add_catalog
    from contimg_assets.catalogs.read import columns_taken, has_motions
    from contimg_assets.config import find_config_file, load_config

    config_file, name = find_config_file(), name.lower()
    images = _images_so_far(config_file)
    mjd = float(images["mjd_mid"].mean()) if len(images) else None
    n_rows = add_catalog(
        config_file,
        name,
        file,
        preset=preset,
        freq_mhz=freq_mhz,
        beam_arcsec=beam_arcsec,
        position_err_arcsec=position_err_arcsec,
        positions_at_mjd=mjd if has_motions(local_file(file, config_file.parent), table) else None,
        table=table,
        frame=frame,
        columns=dict(_column(text) for text in column or ()),
    )
    config = load_config(config_file)
    found = inspect_reference(config.catalog_path(name), config.catalogs[name])
    _tell_kind(config.catalog_path(name), found)
    taken = columns_taken(config.catalogs[name], config.catalog_path(name))
    for ours, theirs, unit, stated in taken.itertuples(index=False, name=None):
        shown = escape(f"{theirs} [{unit}]" if unit else str(theirs))
        doubt = "" if stated else "  [yellow]assumed: the file names no unit; say another with --column[/]"
        console.print(f"  {ours} is {shown}{doubt}", soft_wrap=True)
    _tell_settings(config.catalogs[name], given=(freq_mhz, beam_arcsec))
    _tell_rest(found)
    _tell_first_rows(found)
    for sentence in _misgivings(config, name, images):
        console.print(f"[yellow]note:[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(f"Catalog {escape(name)} has {n_rows} sources; `contimg run` matches every epoch to it.")


def _images_so_far(config_file: Path) -> pd.DataFrame:
    """Images of the last epochs that were delivered, as their manifests have them; none where there is no project."""
    import pandas as pd

    from contimg_assets.config import load_config
    from contimg_assets.errors import InputError
    from contimg_assets.ingest.manifest import read_manifest
    from contimg_assets.pipeline.deliveries import find_deliveries

    config = load_config(config_file) if config_file.exists() else None
    found = []
    if config is not None and config.incoming.is_dir():
        for delivery in find_deliveries(config.incoming)[-_LOOKED_AT:]:
            try:
                found.append(read_manifest(delivery.folder, config).images)
            except InputError:
                continue
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


# Epochs that a catalog is held against when it is added.
_LOOKED_AT = 5


def _misgivings(config: Config, name: str, images: pd.DataFrame) -> list[str]:
    from contimg_assets.catalogs.inspect import misgivings
    from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog

    if not len(images):
        return []
    catalog = ReferenceCatalog(name, build_catalog(name, config.catalogs[name], config.root))
    return misgivings(catalog, images, config.matching.spectral_index)


def _tell_settings(settings: CatalogConfig, given: tuple[float | None, float | None]) -> None:
    """Frequency, beam and errors that count, and who says them."""
    by = f"preset {settings.preset}" if settings.preset is not None else "default"
    parts = [
        f"{settings.freq_mhz:g} MHz ({'you' if given[0] is not None else by})",
        f"beam {settings.beam_arcsec:g} arcsec ({'you' if given[1] is not None else by})",
        f"position errors {settings.position_err_arcsec:g} arcsec where no column gives them",
    ]
    if settings.rms_mjy_beam is not None:
        parts.append(f"grown with the noise of {settings.rms_mjy_beam:g} mJy/beam")
    if settings.position_err_floor_arcsec:
        parts.append(f"{settings.position_err_floor_arcsec:g} arcsec added to all errors")
    if not settings.ra_err_on_sky:
        parts.append("errors of right ascension are of the coordinate")
    if settings.positions_at_mjd is not None:
        parts.append(
            f"proper motions: shown as of MJD {settings.positions_at_mjd:.0f}, the mean of your images "
            "(positions_at_mjd), and matched as of each image"
        )
    console.print("  " + escape("; ".join(parts)), highlight=False, soft_wrap=True)


def _tell_rest(found: Inspection) -> None:
    """Frame, what was not found, what would be set aside, and warnings."""
    console.print(f"  frame: {escape(found.frame)}", highlight=False, soft_wrap=True)
    if found.missing:
        listed = ", ".join(
            f"{ours} ({' or '.join(names)})" if tuple(names) != (ours,) else ours
            for ours, names in found.missing.items()
        )
        console.print(f"  looked for and not found: {escape(listed)}", highlight=False, soft_wrap=True)
    for reason, count in found.set_aside.items():
        console.print(f"  {count} of {found.n_rows} rows set aside: {escape(str(reason))}", soft_wrap=True)
    for sentence in found.warnings:
        console.print(f"[yellow]note:[/] {escape(sentence)}", highlight=False, soft_wrap=True)


@command(app, "inspect")
def inspect(
    file: Annotated[Path, typer.Argument(help="A catalog of detections, or a reference catalog")],
    format_: Annotated[str | None, typer.Option("--format", help="As images.csv may state it")] = None,
    table: Annotated[str | None, typer.Option(help="Table, of a file that has several: its number or name")] = None,
    frame: Annotated[str | None, typer.Option(help="Frame of its positions, such as galactic or 'fk4 1950'")] = None,
    preset: Annotated[str | None, typer.Option(help="Survey, for a reference catalog")] = None,
) -> None:
    """Say what a file is and what is taken from it: container, finder, columns, units, frame, rows set aside.

    Example: contimg inspect tile1.csv
    """
    from contimg_assets.catalogs.inspect import inspect_file
    from contimg_assets.config import Config, Ingest, find_config_file, load_config

    config_file = find_config_file()
    config = load_config(config_file) if config_file.exists() else Config()
    said = {key: value for key, value in (("table", table), ("frame", frame)) if value is not None}
    parameters = Ingest.model_validate(config.ingest.model_dump() | said) if said else config.ingest
    found = inspect_file(file, parameters, format_, preset)
    _tell_inspection(file, found)


def _tell_kind(file: Path, found: Inspection) -> None:
    """Container, table, finder or survey, rows."""
    of = f", table {found.table} of {', '.join(found.tables)}" if found.table else ""
    known = found.format or "nobody we know"
    console.print(f"{escape(str(file))}: {escape(found.kind + of)}", highlight=False, soft_wrap=True)
    kind = "detections" if found.read_as == "detections" else "a reference catalog"
    console.print(
        f"  read as {kind}; written by: {escape(known)}; {found.n_rows} rows", highlight=False, soft_wrap=True
    )


def _tell_inspection(file: Path, found: Inspection) -> None:
    _tell_kind(file, found)
    for ours, theirs, unit_, by, converted in found.columns.astype(str).to_numpy().tolist():
        unit = f" [{unit_}]" if unit_ else ""
        said = (
            "  [yellow]assumed: nobody says the unit[/]" if by == "assumed" else escape(f" (unit: {by})") if by else ""
        )
        line = escape(f"  {ours} is {theirs}{unit}") + said + escape(f" {converted}".rstrip())
        console.print(line, highlight=False, soft_wrap=True)
    _tell_rest(found)
    if found.refused:
        console.print(f"  no catalog of detections: {escape(found.refused)}", highlight=False, soft_wrap=True)
    _tell_first_rows(found)


def _tell_first_rows(found: Inspection) -> None:
    """Columns that nobody asked for, and the first rows in our columns."""
    if found.ignored:
        console.print(f"  not asked for: {escape(', '.join(found.ignored)[:1000])}", highlight=False, soft_wrap=True)
    if len(found.first):
        console.print("First rows:")
        console.print(escape(found.first.T.to_string(header=False)), highlight=False, soft_wrap=True)


@command(catalog_app, "remove")
def remove(name: CatalogArgument) -> None:
    """Take a catalog out of contimg.yaml; its file stays where it is. Example: contimg catalog remove nvss"""
    from contimg_assets.catalogs.manage import remove_catalog
    from contimg_assets.config import find_config_file

    remove_catalog(find_config_file(), name)
    console.print(f"Catalog {escape(name.lower())} is no longer configured; `contimg run` takes its matches out.")


def _column(text: str) -> tuple[str, dict[str, str]]:
    """OURS=THEIRS[:UNIT] as an entry of `columns`."""
    ours, _, theirs = text.partition("=")
    column, _, unit = theirs.rpartition(":") if ":" in theirs else (theirs, "", "")
    if not ours or not column:
        raise ConfigError(f"--column {text!r}: write OURS=THEIRS or OURS=THEIRS:UNIT, such as flux_mjy=S_total:Jy")
    return ours, {"column": column} | ({"unit": unit} if unit else {})


@listing(catalog_app, name="list")
def list_(
    presets: Annotated[bool, typer.Option("--presets", help="Surveys that need no column map")] = False,
) -> Listing:
    """List the configured catalogs, or the presets. Example: contimg catalog list --presets"""
    from contimg_assets.catalogs.manage import list_catalogs, list_presets

    if presets:
        known = list_presets()
        return Listing(known, "Presets", [str(name) for name in known])
    found = list_catalogs(open_project().config)
    none = ["No reference catalog is configured; `contimg catalog add NAME FILE` adds one."] if found.empty else []
    return Listing(found, "Reference catalogs", ("name", "freq_mhz", "beam_arcsec", "n_rows", "exists", "path"), none)


@command(catalog_app, "fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Survey (see `contimg catalog list --presets`), or a name of your own")],
    preset: Annotated[str | None, typer.Option(help="The survey, where NAME is your own")] = None,
    region: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="RA DEC RADIUS", help="Only this circle [deg]")
    ] = None,
    url: Annotated[str | None, typer.Option(help="TAP service; VizieR if not given")] = None,
) -> None:
    """Download a survey's published table and write it into contimg.yaml (needs the extra 'fetch').

    Example: contimg catalog fetch nvss
    """
    from contimg_assets.catalogs import fetch as remote
    from contimg_assets.catalogs.manage import fetch_catalog
    from contimg_assets.config import find_config_file

    n_rows = fetch_catalog(find_config_file(), name, preset=preset, region=region, url=url or remote.VIZIER_TAP)
    console.print(f"Fetched {n_rows} sources as catalog {escape(name)}; `contimg run` matches every epoch to it.")


def _decide(action: str, source: str, catalog: str, counterpart: str | None, comment: str | None) -> None:
    from contimg_assets.pipeline.products import matching_of

    database = open_products()
    source_id = database.find_source(source)
    matching = matching_of(open_project().config)
    database.decide_match(action, source_id, catalog.lower(), counterpart, comment, getpass.getuser(), matching)
    name = database.source(source_id)["name"]
    console.print(f"Noted: {action} {escape(catalog)} {escape(counterpart or '(all)')} for {name}.")


@command(match_app, "accept")
def accept(
    source: SourceArgument, catalog: CatalogArgument, counterpart: CounterpartArgument, comment: CommentOption = None
) -> None:
    """This is the source's counterpart, whatever its probability.

    Example: contimg match accept J0359+1535 nvss J035912+153523
    """
    _decide("accept", source, catalog, counterpart, comment)


@command(match_app, "reject")
def reject(
    source: SourceArgument, catalog: CatalogArgument, counterpart: CounterpartArgument, comment: CommentOption = None
) -> None:
    """This is not the source's counterpart, whatever its probability.

    Example: contimg match reject J0359+1535 nvss J035912+153523
    """
    _decide("reject", source, catalog, counterpart, comment)


@command(match_app, "withdraw")
def withdraw(
    source: SourceArgument, catalog: CatalogArgument, counterpart: CounterpartArgument, comment: CommentOption = None
) -> None:
    """Neither accepted nor rejected any more: what matching says of this counterpart holds again.

    Example: contimg match withdraw J0359+1535 nvss J035912+153523
    """
    _decide("withdraw", source, catalog, counterpart, comment)


@command(match_app, "comment")
def comment(
    source: SourceArgument,
    catalog: CatalogArgument,
    text: Annotated[str, typer.Argument(help="What to say")],
    counterpart: Annotated[str | None, typer.Option(help="Only on this counterpart")] = None,
) -> None:
    """Say something on a source's counterparts in a catalog.

    Example: contimg match comment J0359+1535 nvss "a lobe"
    """
    _decide("comment", source, catalog, counterpart, text)
