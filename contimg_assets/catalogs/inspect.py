"""What a file of detections or a catalog is, and what is taken from it: for people, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from contimg_assets.catalogs.formats import dialect_of
from contimg_assets.catalogs.hats import is_hats, open_hats
from contimg_assets.catalogs.read import MOTIONS_IN, NoRowsError, OpenedCatalog, moves, open_catalog, table_of
from contimg_assets.catalogs.read import UNITS as REFERENCE_UNITS
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import CatalogConfig, Ingest
from contimg_assets.config.catalogs import ANY_FREQ_MHZ
from contimg_assets.config.presets import PRESETS, no_preset
from contimg_assets.errors import InputError
from contimg_assets.ingest.delivered import OUR_UNITS, DeliveredCatalog, Taken, read_delivered
from contimg_assets.ingest.manifest_text import refuse_manifest
from contimg_assets.ingest.rows import Field, broken_lines, check_rows
from contimg_assets.sky.sphere import separation_arcsec

_FIRST = 5
_ANYWHERE = Field(0.0, 0.0, 180.0, 0.0, 0.0)


@dataclass(frozen=True)
class Inspection:
    """What a file is.

    Parameters
    ----------
    read_as : "detections", or "reference" where it is no catalog of detections, for the reason ``refused``
    kind : container, in words
    table, tables : which is read, of which
    format : finder or survey, empty where unknown
    frame : of the positions, and what becomes of it
    columns : ours, theirs, unit, unit_from (who says it), converted (in words)
    missing : our column -> names that were looked for
    ignored : columns of the file that nobody asks for
    n_rows, set_aside : rows, and of those that would be set aside how many for which reason
    first : first rows in our columns and units
    warnings : sentences
    """

    read_as: str
    kind: str
    table: str
    tables: tuple[str, ...]
    format: str
    frame: str
    columns: pd.DataFrame
    missing: Mapping[str, Sequence[str]]
    ignored: tuple[str, ...]
    n_rows: int
    set_aside: Mapping[str, int]
    first: pd.DataFrame
    refused: str = ""
    warnings: tuple[str, ...] = field(default=())


def inspect_file(
    path: Path, parameters: Ingest, stated_format: str | None = None, preset: str | None = None
) -> Inspection:
    """What a file is: as detections, else as a reference catalog.

    Parameters
    ----------
    parameters : section `ingest`, with the table and the frame that a person says
    stated_format : as a manifest may state it
    preset : a survey; the file is then read as a reference

    Raises
    ------
    InputError
        If it can be read as neither: what is said of detections, and of references; or if the preset is unknown.
    """
    refuse_manifest(path)
    if preset is not None:
        return inspect_reference(path, _settings(path, parameters, preset))
    try:
        return _of_detections(read_delivered(path, stated_format, parameters), parameters)
    except InputError as error:
        try:
            found = inspect_reference(path, _settings(path, parameters, None))
        except NoRowsError:
            raise
        except InputError as other:
            if str(other) == str(error):
                raise error from None
            raise InputError(f"{error}. As a reference catalog: {other}") from None
        return Inspection(**(vars(found) | {"refused": str(error)}))


def _settings(path: Path, parameters: Ingest, preset: str | None) -> CatalogConfig:
    # The frequency is asked for when the catalog is added; nothing shown depends on it.
    if preset is not None and preset.lower() not in PRESETS:
        raise InputError(no_preset(preset))
    settings = {"path": path, "preset": preset, "table": parameters.table, "frame": parameters.frame}
    return CatalogConfig.model_validate(settings | ({} if preset is not None else {"freq_mhz": ANY_FREQ_MHZ}))


def _of_detections(catalog: DeliveredCatalog, parameters: Ingest) -> Inspection:
    """What is known without the image: rules that ask for its field or its beam are left out."""
    rows = catalog.rows
    limit = parameters.max_position_err_arcsec or np.inf
    accepted, faults = check_rows(catalog, _ANYWHERE, parameters.model_copy(update={"max_position_err_arcsec": limit}))
    broken = broken_lines(catalog)
    reasons = [*faults["reason"], *broken["reason"]]
    values = {ours: values for ours, values in {**rows.texts, **rows.numbers}.items() if not ours.startswith("_")}
    shown = pd.DataFrame({ours: np.asarray(value)[accepted][:_FIRST] for ours, value in values.items()})
    columns = pd.DataFrame(
        [
            (
                one.ours,
                one.theirs,
                one.unit,
                _said_by(one, catalog.format),
                _converted(one.factor, one.ours),
            )
            for one in catalog.taken
            if not one.ours.startswith("_")
        ],
        columns=["ours", "theirs", "unit", "unit_from", "converted"],
    )
    n_rows = len(rows) + len(broken)
    forced = int(np.broadcast_to(np.asarray(rows.forced, bool), len(rows)).sum())
    survey = dialect_of([*catalog.ignored, *columns["theirs"]])
    warnings = list(catalog.about.cautions)
    if forced:
        warnings.append(f"{forced} of {n_rows} rows are forced: measured at a given position, not detected")
    if catalog.format == "sky_model":
        warnings.append("components are kept as they stand, those of one source are not summed; axes are not taken")
    if survey is not None and catalog.format == "table":
        warnings.append(f"its columns are those of the survey {survey.survey}: is it a reference catalog?")
    return Inspection(
        "detections",
        catalog.about.kind,
        catalog.about.table,
        catalog.about.tables,
        catalog.format,
        catalog.frame,
        columns,
        {ours: names for ours, names in catalog.sought.items() if not ours.startswith("_")},
        catalog.ignored,
        n_rows,
        dict(pd.Series(reasons, dtype="object").value_counts()),
        shown,
        warnings=tuple(warnings),
    )


def _said_by(one: Taken, format_: str) -> str:
    """Who says the unit: our own names of columns say theirs."""
    if one.stated or not one.unit or one.ours == one.theirs:
        return one.stated
    return "assumed" if format_ == "table" else format_


def _converted(scale: float, ours: str) -> str:
    return "" if scale == 1.0 else f"x {scale:g} to {OUR_UNITS.get(ours, '')}"


def inspect_reference(path: Path, config: CatalogConfig) -> Inspection:
    """What a reference catalog's file is.

    Raises
    ------
    InputError
        If it cannot be read as one.
    """
    with ExitStack() as held:
        opened = open_catalog("NAME", config, path, held)
        names = opened.container.names
        rows, left_out = table_of("NAME", opened, path)
        # What the file is, such as one with decimal commas, is known once it is read.
        about = opened.container.about
    taken = [
        (ours, one.column, one.unit or REFERENCE_UNITS.get(ours, ""), one.said_by or _assumed(ours), "")
        for ours, one in opened.found.items()
    ]
    columns = pd.DataFrame(taken, columns=["ours", "theirs", "unit", "unit_from", "converted"])
    wanted = ("catalog_source_id", *REFERENCE_UNITS, "spectral_index")
    missing = {ours: _looked_for(ours, config) for ours in wanted if ours not in opened.found}
    # A position may be spread over several columns.
    asked = {name for one in opened.found.values() for name in (one.column, *one.column.split(" "))}
    return Inspection(
        "reference",
        about.kind,
        about.table,
        about.tables,
        opened.kind,
        opened.frame_told,
        columns,
        missing,
        tuple(name for name in names if name and name not in asked),
        rows.num_rows + sum(left_out.values()),
        left_out,
        rows.slice(0, _FIRST).to_pandas().drop(columns="healpix_29"),
        warnings=(*_of_tiles(path), *_warnings(opened, missing, config)),
    )


def _of_tiles(path: Path) -> list[str]:
    """What is to be known of a catalog in HATS, of which one tile was read."""
    if not is_hats(path):
        return []
    hats = open_hats(path)
    return [
        f"a catalog in HATS with {len(hats)} tiles and {hats.n_rows} rows, of which the first tile was read here; the "
        "others are read where images need them"
    ]


def _assumed(ours: str) -> str:
    return "assumed" if ours in REFERENCE_UNITS and ours not in ("ra_deg", "dec_deg") else ""


def _looked_for(ours: str, config: CatalogConfig) -> tuple[str, ...]:
    given = config.columns.get(ours)
    return (ours,) if given is None else (given.column, ours)


def _warnings(opened: OpenedCatalog, missing: Mapping[str, Sequence[str]], config: CatalogConfig) -> list[str]:
    told = list(opened.container.about.cautions)
    if config.preset is not None:
        named = PRESETS[config.preset.lower()].columns
        absent = [f"{named[ours][0]} for {ours}" for ours in missing if ours in named]
        if absent:
            told.append(
                f"the preset {config.preset} names columns that the file lacks: {', '.join(absent)}; say others with "
                "--column"
            )
        survey = "" if opened.dialect is None else opened.dialect.survey
        if survey in PRESETS and not _alike(survey, config.preset.lower()):
            told.append(
                f"its columns are those of {survey}, and the preset is {config.preset}: frequency, beam and errors are "
                "taken from the preset"
            )
    if opened.dialect is not None and opened.dialect.islands:
        told.append("its rows are islands, not components: several sources of yours may be one of them")
    if opened.n_tables > 1:
        told.append(
            f"{opened.n_tables} of its tables have positions, and only {opened.container.about.table} is read: say "
            "another with --table"
        )
    if "flux_mjy" in missing:
        told.append("no flux density was found: nothing is tied to its flux scale")
    if not {"ra_err_arcsec", "dec_err_arcsec"} <= set(opened.found):
        told.append(
            f"no position errors were found: {config.position_err_arcsec:g} arcsec are taken (position_err_arcsec)"
        )
    if moves(opened) and opened.frame.name in MOTIONS_IN:
        told.append("its sources have proper motions: images meet them where they are at the time, errors grown")
    elif moves(opened):
        told.append(f"its proper motions are not followed, as its positions are in the frame {opened.frame}")
    return told


def _alike(survey: str, other: str) -> bool:
    """Whether two surveys, or parts of one, publish tables with the same columns."""
    return survey.partition("-")[0] == other.partition("-")[0] or {survey, other} == {"sumss", "mgps"}


def misgivings(catalog: ReferenceCatalog, images: pd.DataFrame, spectral_index: float) -> list[str]:
    """What speaks against a catalog for these images: none of its sources in them, too few, or only bright ones.

    Parameters
    ----------
    images : ra_deg, dec_deg, radius_deg, freq_mhz, rms_mjy_beam of the survey's images so far, rms NaN if unknown
    """
    if images.empty:
        return []
    counts: list[int] = []
    faintest: list[float] = []
    columns = ("ra_deg", "dec_deg", "radius_deg", "freq_mhz", "rms_mjy_beam")
    for ra, dec, radius, freq_mhz, rms in images[list(columns)].to_numpy(float):
        inside = catalog.cone(ra, dec, min(radius, 180.0))
        counts.append(len(inside))
        flux = inside["flux_mjy"].to_numpy(float) * (freq_mhz / catalog.freq_mhz) ** spectral_index
        if np.isfinite(flux).any() and np.isfinite(rms):
            faintest.append(float(np.nanpercentile(flux, 10) / rms))
    if not any(counts):
        first = images[["ra_deg", "dec_deg"]].to_numpy(float)[0]
        ra, dec = (catalog.table.column(name).to_numpy() for name in ("ra_deg", "dec_deg"))
        nearest = float(separation_arcsec(first[0], first[1], ra, dec).min()) / 3600.0
        none = f"none of its sources lies in the {len(images)} images looked at"
        if _covered_if_swapped(catalog, images):
            return [f"{none}, and they would with right ascension and declination swapped: say with --column which is"]
        return [
            f"{none}; the nearest is {nearest:.1f} deg from the center of the first: is it of another part of the sky, "
            "or in another frame?"
        ]
    told = []
    if np.median(counts) < _FEW:
        told.append(
            f"it is sparse: {np.median(counts):g} sources in a typical image; it will identify some sources, but "
            "measure neither positions nor fluxes of images"
        )
    if faintest and np.median(faintest) > _SHALLOW:
        told.append(
            f"it is shallow: its faint sources are {np.median(faintest):.0f} times the noise of your images, so most "
            "of your sources have no counterpart in it"
        )
    return told


def _covered_if_swapped(catalog: ReferenceCatalog, images: pd.DataFrame) -> bool:
    """Whether sources lie where images would be whose right ascension were the declination, and the other way round."""
    centers = images[["ra_deg", "dec_deg", "radius_deg"]].to_numpy(float)
    possible = centers[centers[:, 0] <= 90.0]
    return any(len(catalog.cone(dec % 360.0, ra, min(radius, 180.0))) for ra, dec, radius in possible)


# Sources an image: fewer measure no offset. Noises: fainter sources are most of an image's.
_FEW, _SHALLOW = 10, 100.0
