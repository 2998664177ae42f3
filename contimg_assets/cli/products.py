"""Questions to the products database: `source`, `lightcurve`, `variables`, `new`, `export`, and `db ...`."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contimg_assets.cli.app import app
from contimg_assets.cli.console import (
    command,
    console,
    ended_by_sigterm,
    open_project,
    print_frame,
    require_project,
)
from contimg_assets.cli.listings import Listing, listing
from contimg_assets.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from contimg_assets.database import ProductsDatabase

_ID = re.compile(r"[0-9a-f]{16}")
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|ID|RA,DEC",
        help="Name of a source or a part of it (J0359+1535), its id, past ones too, a position in degrees or, with "
        "hours of RA, sexagesimal, or the name of a counterpart",
    ),
]


LIGHT_CURVE_COLUMNS = [
    "epoch",
    "mjd",
    "flux_peak_corr_mjy_beam",
    "flux_peak_err_corr_mjy_beam",
    "flux_int_corr_mjy",
    "flux_int_err_corr_mjy",
    "upper_limit_mjy_beam",
    "snr",
    "trusted",
    "separation_arcsec",
]
POLARIZATION_COLUMNS = [
    "stokes",
    "epoch",
    "mjd",
    "band",
    "flux_peak_corr_mjy_beam",
    "flux_peak_err_corr_mjy_beam",
    "upper_limit_mjy_beam",
    "fraction",
    "fraction_err",
    "fraction_limit",
    "significance",
    "status",
]
POLARIZED_COLUMNS = [
    "name",
    "source_id",
    "stokes",
    "n_detections",
    "n_limits",
    "flux_peak_mean_mjy_beam",
    "fraction",
    "fraction_err",
    "max_significance",
    "only_polarized",
]
DECISION_COLUMNS = ["catalog", "catalog_source_id", "action", "comment", "author", "created_at"]
MATCH_COLUMNS = [
    "catalog_type",
    "catalog_source_id",
    "separation_arcsec",
    "de_ruiter",
    "probability",
    "flux_ratio",
    "match_quality",
    "comment",
]
NEW_COLUMNS = [
    "name",
    "ra_deg",
    "dec_deg",
    "first_epoch",
    "n_measurements",
    "flux_peak_mjy_beam",
    "flux_int_mjy",
    "new_significance",
    "forced_before_mjy_beam",
    "false_chance",
]
FADED_COLUMNS = [
    "name",
    "epoch",
    "n_measurements",
    "flux_peak_mjy_beam",
    "forced_mjy_beam",
    "forced_err_mjy_beam",
    "significance",
    "n_faded",
]


DeclinationArgument = Annotated[
    str | None, typer.Argument(metavar="[DEC]", help="Declination, where a blank and no comma is before it")
]
TagOption = Annotated[str | None, typer.Option(help="Only sources with this tag")]
FORCED_COLUMNS = ["epoch", "mjd", "flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam", "upper_limit_mjy_beam",
                  "chi_squared_fit", "dof", "n_neighbors", "near_bright", "trusted", "reason"]  # fmt: skip
MONITORED_COLUMNS = ["name", "n_images", "n_fluxes", "last_mjd", "last_flux_mjy_beam", "last_err_mjy_beam",
                     "brightest_mjd", "brightest_snr"]  # fmt: skip


class Flux(StrEnum):
    """Which flux statistics are of."""

    PEAK = "peak"
    INT = "int"


def open_products() -> ProductsDatabase:
    """The products database of the current project.

    Raises
    ------
    StoreError
        If nothing was written yet.
    """
    from contimg_assets.database.engine import shown_url

    project = open_project()
    database: ProductsDatabase = project.products
    require_project(project.config)
    if database.current() is None:
        raise StoreError(f"{shown_url(database.url)} holds nothing yet; `contimg run` fills it")
    return database


@command(app)
def source(
    what: SourceArgument,
    declination: DeclinationArgument = None,
    radius_arcsec: Annotated[float, typer.Option(min=0)] = 30.0,
    json: Annotated[bool, typer.Option("--json", help="All about it as one JSON object, with all digits")] = False,
) -> None:
    """Show one source: position, statistics, counterparts, relations, light curve. Example: contimg source J0359+15"""
    import pandas as pd

    from contimg_assets.schemas.shown import shown_columns

    database = open_products()
    source_id = database.find_source(what if declination is None else f"{what} {declination}", radius_arcsec)
    if json:
        from json import dumps

        from contimg_assets.database.source_record import source_record

        print(dumps(source_record(database, source_id), indent=1))
        return
    row = database.source(source_id)
    shown = row.dropna()
    values: Any = shown.to_numpy()
    if sys.stdout.isatty():
        values = [texts[0] for texts in shown_columns(shown.to_frame().T.infer_objects()).values()]
    print_frame(pd.DataFrame({"column": shown.index, "value": values}), title=str(row["name"]))
    polarized = database.polarization(source_id)
    tables: list[tuple[str, pd.DataFrame, list[str] | None]] = [
        ("Variability", database.source_variability(source_id), None),
        ("Counterparts", database.matches(source_id), MATCH_COLUMNS),
        ("What people say of them", database.decisions(source_id), DECISION_COLUMNS),
        ("Tags", database.tags(source_id)[["tag", "author", "created_at"]], None),
        ("Notes", database.notes(source_id)[["note", "author", "created_at"]], None),
        ("Favorite of", database.favorites(source_id)[["author", "created_at"]], None),
        ("Related sources", _with_names(database, database.relations(source_id)), None),
        ("Light curve", database.light_curve(source_id), LIGHT_CURVE_COLUMNS),
        ("Polarization", polarized, POLARIZATION_COLUMNS),
    ]
    for title, frame, columns in tables:
        # Most surveys have no other Stokes parameters: not a word of them there.
        if len(frame) or frame is not polarized:
            print_frame(frame.dropna(axis=1, how="all"), title, columns)
    _sketch(database.light_curve(source_id), database.flux_kind())


def _tagged(
    database: ProductsDatabase, found: pd.DataFrame, tag: str | None, id_column: str = "source_id"
) -> pd.DataFrame:
    """Those with a tag; all where none is asked for."""
    if tag is None:
        return found
    tags = database.tags()
    return found[found[id_column].isin(tags.loc[tags["tag"] == tag, "source_id"])].reset_index(drop=True)


def _with_names(database: ProductsDatabase, relations: pd.DataFrame) -> pd.DataFrame:
    """Names before ids."""
    import pandas as pd

    ends = ("from", "to")
    names = {f"{end}_name": database.names(relations[f"{end}_source_id"].tolist()).to_numpy() for end in ends}
    return pd.concat([pd.DataFrame(names, index=relations.index), relations], axis=1)


def _sketch(curve: pd.DataFrame, kind: str) -> None:
    """A small picture of the light curve, in a terminal only."""
    from contimg_assets.cli.sketch import sketch_light_curve

    if sys.stdout.isatty():
        unit = {"peak": "mJy/beam", "int": "mJy"}[kind]
        marks = "● detected, □ forced, ▽ upper limit, · image refused"
        console.print(f"[dim]{unit}; {marks}; `contimg plot lightcurve` draws it[/]")
        for line in sketch_light_curve(curve, kind):
            console.print(line, highlight=False, soft_wrap=True)


@listing(app)
def lightcurve(
    what: SourceArgument,
    declination: DeclinationArgument = None,
    limits: Annotated[bool, typer.Option(help="Include upper limits of epochs that did not detect it")] = True,
    radius_arcsec: Annotated[float, typer.Option(min=0)] = 30.0,
) -> Listing:
    """Show the light curve of a source, corrected and in time order. Example: contimg lightcurve J0359+1535 --csv"""
    database = open_products()
    source_id = database.find_source(what if declination is None else f"{what} {declination}", radius_arcsec)
    curve = database.light_curve(source_id, limits)
    columns = [*LIGHT_CURVE_COLUMNS, "forced"] if curve["forced"].any() else LIGHT_CURVE_COLUMNS
    return Listing(curve, f"Light curve of {database.source(source_id)['name']}", columns)


@listing(app, limit=50)
def polarized(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|ID|RA,DEC]", help="Source whose light curves are shown; a list of all if none"),
    ] = None,
    significance: Annotated[float, typer.Option(min=0, help="Smallest significance, of either sign")] = 5.0,
) -> Listing:
    """List the sources with flux in Stokes V, Q, U or L, or show one source's.

    Fluxes and fractions are signed. Sources that only polarized flux shows (stokes.sources) come first.

    Example: contimg polarized --limit 20
    """
    database = open_products()
    if what is None:
        found = database.polarized_sources(significance)
        return Listing(found, "Polarized sources", POLARIZED_COLUMNS, absolute=("fraction", "max_significance"))
    known = _ID.fullmatch(what) is not None
    curve = database.polarization(what if known else database.find_source(what))
    return Listing(curve, f"Polarization of {what}", POLARIZATION_COLUMNS, absolute=("fraction", "significance"))


@listing(app, limit=50)
def variables(
    eta: Annotated[float | None, typer.Option(min=0, help="Smallest eta")] = None,
    v: Annotated[float | None, typer.Option(min=0, help="Smallest V")] = None,
    p_value: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Largest p-value: the chance that a constant source scatters at least this much"
        ),
    ] = None,
    flux: Annotated[
        Flux | None, typer.Option(help="Statistics of peak or integrated flux; peak where there are any, if not given")
    ] = None,
    q_value: Annotated[
        float | None,
        typer.Option(
            "--q-value", "--q", min=0, max=1, help="Largest q-value: share of constant sources expected in the list"
        ),
    ] = None,
    tag: TagOption = None,
) -> Listing:
    """List the sources that vary, most significant first.

    Without a threshold, those with a q-value of at most variability.max_q of contimg.yaml, 0.05 if nothing else is
    said there: of the sources listed, this share is expected to be constant.

    Example: contimg variables --limit 20 --sort v_peak
    """
    database = open_products()
    if eta is v is p_value is q_value is None:
        q_value = open_project().config.variability.max_q
    kind = database.flux_kind() if flux is None else flux.value
    found = _tagged(database, database.variables(eta=eta, v=v, p_value=p_value, kind=kind, q_value=q_value), tag)
    mean = next(name for name in map(str, found) if name.startswith(f"flux_{kind}_weighted_mean"))
    columns = ["name", f"n_{kind}", mean, f"eta_{kind}", f"v_{kind}", f"q_value_{kind}", "is_new"]
    columns += ["n_untrusted"] if found["n_untrusted"].any() else []
    limits = {"q-value at most": q_value, "eta at least": eta, "V at least": v, "p-value at most": p_value}
    used = ", ".join(f"{what} {value:g}" for what, value in limits.items() if value is not None)
    only_q = tag is None and eta is v is p_value is None

    def note_of(shown: pd.DataFrame) -> list[str]:
        return [_expected_false(float(shown[f"q_value_{kind}"].max()), len(shown), only_q)] if len(shown) else []

    return Listing(
        found,
        f"Sources that vary, by their {kind} fluxes",
        columns,
        [f"Thresholds: {used}; choose with --q-value, --p-value, --eta and --v."],
        note_of,
    )


def _expected_false(largest_q: float, n_sources: int, only_q: bool) -> str:
    """How many of the sources listed are expected not to vary."""
    meaning = "q of a source is the share of constant ones to be expected in the list of all sources down to it"
    if not only_q:
        return f"Here q is at most {largest_q:.2g}; {meaning}."
    some = f"about {largest_q * n_sources:.1f}" if largest_q * n_sources >= 0.1 else "fewer than 0.1"
    number = f"{n_sources} sources" if n_sources > 1 else "1 source"
    return f"Of the {number} listed, {some} are expected to be constant; {meaning}."


@listing(app, limit=50)
def new(
    min_significance: Annotated[
        float | None, typer.Option(min=0, help="First flux over the rms of the best earlier image, at least")
    ] = None,
    since_mjd: Annotated[float | None, typer.Option(help="First detected then or later [MJD]")] = None,
    max_false_chance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Largest chance that a source is not new: that all earlier images and catalogs miss a constant source "
            "of its first flux, or that noise makes its only detection; 1 for all candidates",
        ),
    ] = None,
    in_a_band: Annotated[
        bool, typer.Option("--in-a-band", help="Those that another band had shown before, and this one had not")
    ] = False,
    tag: TagOption = None,
) -> Listing:
    """List the sources that appeared where earlier images would have shown them.

    The chance that a source is not new counts the local rms, the threshold of each image's source finder and how often
    it misses bright sources, the errors of both fluxes, reference catalogs, and noise peaks. Without --in-a-band they
    are new in all bands: no band had shown them.

    Example: contimg new --max-false-chance 0.01
    """
    parameters = open_project().config.variability
    largest = parameters.new_max_false_chance if max_false_chance is None else max_false_chance
    database = open_products()
    if in_a_band:
        rows = database.new_in_band(min_significance, since_mjd, largest, parameters)
        notes = ["Known in another band before: such a source varies, or its spectrum does."]
        return Listing(_tagged(database, rows, tag, "id"), "New in a band", ["new_in", *NEW_COLUMNS], notes)
    candidates = _tagged(database, database.new_sources(min_significance, since_mjd, 1.0, parameters), tag, "id")
    chosen = candidates["false_chance"] <= largest
    if min_significance is None and max_false_chance is None:
        chosen &= candidates["is_new"]
    found = candidates[chosen].reset_index(drop=True)
    notes = [f"Each is not new with a chance of at most {largest:g}; choose with --max-false-chance."]
    if len(candidates) > len(found):
        notes.append(
            f"There are {len(candidates) - len(found)} more that earlier images, catalogs or noise explain as well: "
            "--max-false-chance 1 shows them."
        )
    return Listing(found, "New sources", NEW_COLUMNS, notes)


@listing(app, limit=50)
def faded(
    min_significance: Annotated[
        float, typer.Option(min=0, help="Forced flux below the source's own by this many errors, at least")
    ] = 5.0,
    since_mjd: Annotated[float | None, typer.Option(help="In an image of then or later [MJD]")] = None,
) -> Listing:
    """List the sources that an image no longer shows: forced fluxes far below their own.

    Needs the FITS images, which images.csv names in `path`. Errors are those of both fluxes and of the image's scale,
    and 10 % of the source's flux.

    Example: contimg faded --limit 20
    """
    found = open_products().faded(min_significance, since_mjd)
    return Listing(found, "Sources that have faded", FADED_COLUMNS)


@listing(app)
def monitored(
    name: Annotated[str | None, typer.Argument(help="A monitored position; all of them if not given")] = None,
) -> Listing:
    """List the monitored positions with what the images show there, or every image of one.

    Example: contimg monitored --json
    """
    database = open_products()
    if name is not None:
        return Listing(database.forced_fluxes(name), f"Forced fluxes of {name}", FORCED_COLUMNS)
    return Listing(database.monitored(), "Monitored positions", MONITORED_COLUMNS)


@command(app)
def export(
    table: Annotated[
        str,
        typer.Argument(
            help="Table or view; 'variables': sources with q-values; 'spectral_indices': of sources of several bands; "
            "'pairs': all pairs (Parquet); 'hats': sources with light curves as a folder that LSDB opens"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write; <table>.<format> here if not given, sources_hats/ for 'hats'")
    ] = None,
    format: Annotated[
        Literal["parquet", "votable", "csv", "fits"] | None, typer.Option(help="By the suffix of --out if not given")
    ] = None,
    min_abs_vs: Annotated[
        float | None, typer.Option(min=0, help="'pairs': smallest |Vs|; all pairs if not given")
    ] = None,
    margin_arcsec: Annotated[
        float | None,
        typer.Option(min=1, help="'hats': margin kept with each tile; no cross-match can reach farther [default: 60]"),
    ] = None,
) -> None:
    """Write a table with its units to a file: Parquet, VOTable (with UCDs), CSV or FITS; or all sources to HATS.

    Example: contimg export sources --out sources.xml
    """
    from contimg_assets.database import export as files
    from contimg_assets.database.export_hats import USUAL_MARGIN_ARCSEC, export_hats

    database = open_products()
    for option, given, of in (
        ("--min-abs-vs", min_abs_vs, files.PAIRS_NAME),
        ("--margin-arcsec", margin_arcsec, files.HATS_NAME),
    ):
        if given is not None and table != of:
            raise typer.BadParameter(f"{option} is of {of!r} alone; leave it out")
    if table == files.HATS_NAME:
        if format is not None:
            raise typer.BadParameter("'hats' has a form of its own; leave --format out")
        folder = out or Path("sources_hats")
        console.print(f"Writing {folder}/ ...")
        with ended_by_sigterm():
            n_sources = export_hats(database, folder, margin_arcsec or USUAL_MARGIN_ARCSEC)
        console.print(f"Wrote {n_sources} source(s) to {folder}/.")
        return
    file = out or Path(f"{table}.{'xml' if format == 'votable' else format or 'parquet'}")
    with ended_by_sigterm():
        n_rows = files.export(database, table, file, format, min_abs_vs or 0.0)
    console.print(f"Wrote {n_rows} row(s) to {file}.")


db_app = typer.Typer(help="Schema of the products database.", no_args_is_help=True)
app.add_typer(db_app, name="db")


@command(db_app, "upgrade")
def db_upgrade() -> None:
    """Create the tables, or bring them up to date with this version. Example: contimg db upgrade"""
    from contimg_assets.database.engine import shown_url

    project = open_project()
    console.print(f"{shown_url(project.config.products_url)} is at revision {project.products.upgrade()}.")


@command(db_app, "current")
def db_current() -> None:
    """Show the revision of the database's schema. Example: contimg db current"""
    console.print(open_project().products.current() or "no schema yet; `contimg db upgrade` creates it")


@command(db_app, "check")
def db_check() -> None:
    """Compare the database's schema with what this version expects; exit status 1 if they differ.

    Example: contimg db check
    """
    differences = open_products().check()
    for difference in differences:
        console.print(difference)
    if differences:
        raise typer.Exit(1)
    console.print("The schema is as this version expects it.")
