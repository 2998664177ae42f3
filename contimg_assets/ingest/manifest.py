"""The manifest of an epoch: `images.csv`, completed from the images' FITS headers.

Belongs here: which images an epoch has, and what is known of them. Pixels are never read here: see `footprints`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.config import OTHER_STOKES, STOKES_I, Config
from contimg_assets.errors import InputError
from contimg_assets.files.urls import is_url
from contimg_assets.ingest.manifest_text import (
    KNOWN,
    MANIFEST,
    NUMBERS,
    TEXTS,
    ManifestText,
    mjd_of,
    number_of,
    read_manifest_text,
    time_column,
)
from contimg_assets.reading.byte_by_byte import readme_of, readmes_in
from contimg_assets.reading.columns import EXCERPT
from contimg_assets.reading.files import MAX_MOC_TEXT, is_file, is_moc_text, resolve_inside, visible_names, where_it_is
from contimg_assets.reading.positions import wrapped
from contimg_assets.sky.times import MJD_OF_1900, MJD_OF_2200

_NAME = re.compile(r"[^\x00-\x1f/\\]{1,200}")

# What is allowed, and the cure where it is likely something else.
_RANGES: dict[str, tuple[float, float, str]] = {
    "mjd_mid": (MJD_OF_1900, MJD_OF_2200, "a modified Julian date in days is needed (a Julian date minus 2400000.5)"),
    "ra_deg": (0.0, 360.0, "degrees from -180 to 360 are needed"),
    "dec_deg": (-90.0, 90.0, "degrees from -90 to 90 are needed"),
    "radius_deg": (1e-6, 180.0, "degrees above 0 are needed"),
    "bmaj_arcsec": (1e-6, 1e6, "arcsec above 0 are needed"),
    "bmin_arcsec": (1e-6, 1e6, "arcsec above 0 are needed"),
    "bpa_deg": (-360.0, 360.0, "degrees from -360 to 360 are needed"),
    "freq_mhz": (10.0, 1e6, "MHz from 10 to 1,000,000 are needed: is this GHz or Hz?"),
    "rms_mjy_beam": (1e-12, 1e12, "mJy/beam above 0 are needed"),
}


@dataclass(frozen=True)
class Manifest:
    """The images of an epoch.

    Parameters
    ----------
    file : the manifest itself
    images : one row an image, columns of `NUMBERS` (NaN where `rms_mjy_beam` is unknown) and image, catalogue, format,
        path, rms_map, footprint (None where not stated), stokes (one of `STOKES_I` and `OTHER_STOKES`), line
    catalogs : where each image's catalog is, by row; None for an image that is said to have no detections
    rms_maps : where each image's rms map is, None without one and for one at a URL
    footprints : where each image's MOC is, or the MOC itself as text, None without one
    unlisted : files of the folder that the manifest does not name
    unknown : columns of the manifest that mean nothing here
    """

    file: Path
    images: pd.DataFrame
    catalogs: tuple[Path | None, ...]
    rms_maps: tuple[Path | None, ...]
    footprints: tuple[Path | str | None, ...]
    unlisted: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[dict[Hashable, Any]]:
        """What `images` says of each image: to take a row of a table costs more than to read a small catalog's."""
        return self.images.to_dict("records")


def read_manifest(folder: Path, config: Config) -> Manifest:
    """Read `images.csv` of an epoch's folder.

    Raises
    ------
    InputError
        If it is missing, or a row of it cannot be used; all of an epoch's images are needed.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path) and os.access(folder, os.X_OK):
        raise InputError(f"{path}: no such file; an epoch's folder needs a manifest with one row an image")
    roots = config.image_roots
    text = read_manifest_text(path)
    table = _with_stokes(_parse(path, text), path)
    catalogs = _catalogs(table, path, folder, roots)
    table = _with_headers(table, path, folder, config)
    ra = wrapped(table["ra_deg"].to_numpy())
    table["ra_deg"] = np.where(ra == 360.0, 0.0, ra)
    _check(table, path, text.names)
    _check_sums(table, path, catalogs)
    rms_maps = [
        # To know what an image covers its map is read wholly: one at a URL serves forced fluxes alone.
        None if name is not None and is_url(name) else _named(name, "rms_map", line, path, folder, roots)
        for name, line in _lines(table, "rms_map")
    ]
    footprints = [_footprint(text, line, path, folder, roots) for text, line in _lines(table, "footprint")]
    table["catalogue"] = table["catalogue"].fillna("")
    named = {
        MANIFEST,
        *(catalog.name for catalog in catalogs if catalog is not None),
        *table["path"].dropna(),
        *table["background_map"].dropna(),
    }
    named |= {file.name for file in (*rms_maps, *footprints) if isinstance(file, Path)}
    unlisted = [name for name in visible_names(folder) if name not in named and is_file(folder / name)]
    if readmes_in(str(folder)):
        described = {readme_of(catalog) for catalog in catalogs if catalog is not None}
        unlisted = [name for name in unlisted if folder.resolve() / name not in described]
    unknown = tuple(name for name in text.names if name and name not in KNOWN)
    return Manifest(path, table, tuple(catalogs), tuple(rms_maps), tuple(footprints), tuple(unlisted), unknown)


def _lines(table: pd.DataFrame, column: str) -> list[tuple[str | None, int]]:
    return list(zip(table[column], table["line"], strict=True))


def _named(name: str | None, column: str, line: int, path: Path, folder: Path, roots: Sequence[Path]) -> Path | None:
    return None if name is None else resolve_inside(name, folder, roots, f"{path}: line {line}, column {column!r}")


def _footprint(text: str | None, line: int, path: Path, folder: Path, roots: Sequence[Path]) -> Path | str | None:
    """A MOC as text as it is, else the file that is named."""
    if text is None or not is_moc_text(text):
        return _named(text, "footprint", line, path, folder, roots)
    if len(text) > MAX_MOC_TEXT:
        raise InputError(
            f"{path}: line {line}, column 'footprint': a MOC of {len(text)} characters; put it into a file of its own "
            "and name that"
        )
    return text


def _parse(path: Path, text: ManifestText) -> pd.DataFrame:
    for needed in ("image", "catalogue"):
        if needed not in text.names:
            raise InputError(
                f"{path}: line 1: column {needed!r} is missing; it needs at least image and catalogue"
                f"{_meant(needed, text.names)}"
            )
    _refuse_misspelt(path, text.names)
    for broken in text.broken:
        raise InputError(f"{path}: line {broken.line}: {broken.reason}; correct the line")
    numbers = {name: _numbers(text, name, path) for name in (*NUMBERS, "n_detections") if name != "mjd_mid"}
    numbers["mjd_mid"] = _times(text, path)
    if not text.rows:
        raise InputError(f"{path}: lists no image; add one row an image, or remove the folder")
    table = pd.DataFrame({"line": np.asarray(text.lines, np.int64)})
    for name in TEXTS:
        table[name] = pd.Series(text.column(name), dtype=object)
    return table.assign(**numbers)


# How else the parameters are written: in words, and by the numbers of the axis STOKES of FITS (Greisen & Calabretta
# 2002, A&A 395, 1061). Linearly polarized intensity is called P as often as L.
_STOKES_WORDS = {
    **dict.fromkeys(("1", "1.0", "total", "totalintensity"), STOKES_I),
    **dict.fromkeys(("2", "2.0"), "Q"),
    **dict.fromkeys(("3", "3.0"), "U"),
    **dict.fromkeys(("4", "4.0", "circular"), "V"),
    **dict.fromkeys(("p", "pi", "linear", "linearintensity"), "L"),
}
_NO_STOKES = r"stokes[-:]?|polari[sz]ed|polari[sz]ation|[\s_]"


def _with_stokes(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with the Stokes parameter of each image: I where it is not stated."""
    words = table["stokes"].fillna(STOKES_I).astype(str).str.lower().str.replace(_NO_STOKES, "", regex=True)
    stokes = words.map(_STOKES_WORDS).fillna(words.str.upper())
    strange = ~stokes.isin((STOKES_I, *OTHER_STOKES)).to_numpy()
    if strange.any():
        row = int(np.argmax(strange))
        raise InputError(
            f"{path}: line {table['line'].iloc[row]}, column 'stokes': {table['stokes'].iloc[row][:EXCERPT]!r} is none "
            f"of {', '.join((STOKES_I, *OTHER_STOKES))}; correct it, or leave it empty for I"
        )
    if not (stokes == STOKES_I).any():
        raise InputError(
            f"{path}: no image is in Stokes I, which sources are made from; add those, or remove the folder"
        )
    return table.assign(stokes=stokes.astype(object))


# What may be left out, so that nothing else would tell of a name that is written otherwise.
_OPTIONAL = (
    *("stokes", "rms_mjy_beam", "rms_map", "background_map", "footprint", "sha256", "format", "path", "n_detections"),
)
_ALIKE = 0.7


def _refuse_misspelt(path: Path, names: Sequence[str]) -> None:
    """Columns that are nearly called like one that may be left out: it would be left out without a word."""
    absent = [name for name in _OPTIONAL if name not in names]
    for name in names:
        if not name or name in KNOWN:
            continue
        near = difflib.get_close_matches(name, absent, 1, _ALIKE)
        near = near or [other for other in absent if name.split("_")[0] == "rms" and other == "rms_mjy_beam"]
        if near:
            raise InputError(
                f"{path}: line 1: column {name!r} is not known; is {near[0]!r} meant? Rename it, or take it out"
            )


def nearest_known(name: str) -> str:
    """A column that is not known, with the known one that it is nearest to, where there is one."""
    near = difflib.get_close_matches(name, KNOWN, 1, _ALIKE)
    return f"{name} (is {near[0]} meant?)" if near else name


def _meant(needed: str, names: Sequence[str]) -> str:
    """A hint at a column that is nearly called like one that is needed."""
    unknown = [name for name in names if name and name not in KNOWN]
    start = needed.split("_")[0]
    near = difflib.get_close_matches(needed, unknown, 1, _ALIKE) or [n for n in unknown if n.split("_")[0] == start]
    if needed == "mjd_mid" and not near:
        near = [name for name in unknown if re.search("date|time|jd|year", name)]
        if near:
            return f"; column {near[0]!r} is not known: call it `time` if it is the middle of the observation"
    return f"; is {near[0]!r} meant to be it?" if near else ""


def _times(text: ManifestText, path: Path) -> npt.NDArray[np.float64]:
    values = np.full(len(text.rows), np.nan)
    column = time_column(text.names)
    for row, (cell, line) in enumerate(zip(text.column(column or "mjd_mid"), text.lines, strict=True)):
        if cell is not None:
            try:
                values[row] = mjd_of(cell, column or "mjd_mid")
            except ValueError as error:
                raise InputError(f"{path}: line {line}, column {column!r}: {error}") from error
    return values


def _numbers(text: ManifestText, column: str, path: Path) -> npt.NDArray[np.float64]:
    values = np.full(len(text.rows), np.nan)
    for row, (cell, line) in enumerate(zip(text.column(column), text.lines, strict=True)):
        if cell is None:
            continue
        value = number_of(cell)
        if value is None:
            raise InputError(f"{path}: line {line}, column {column!r}: {cell[:EXCERPT]!r} is not a number; correct it")
        values[row] = value
    return values


def _catalogs(table: pd.DataFrame, path: Path, folder: Path, roots: Sequence[Path]) -> list[Path | None]:
    """Where the catalogs are; images and catalogs must be named, once each, but for images without detections."""
    # In another Stokes parameter fluxes are measured in the image where there is no catalog.
    in_image = (table["stokes"] != STOKES_I) & table["path"].notna() & table["n_detections"].isna()
    nothing = (table["n_detections"] == 0).to_numpy() | in_image.to_numpy()
    for name in ("image", "catalogue"):
        empty = (table[name].isna() & ~(nothing & (name == "catalogue"))).to_numpy()
        if empty.any():
            row = int(np.argmax(empty))
            hint = " (or state n_detections 0, if the image has none)" if name == "catalogue" else ""
            raise InputError(f"{path}: line {table['line'].iloc[row]}: column {name!r} is empty; fill it in{hint}")
        twice = (table[name].duplicated() & table[name].notna()).to_numpy()
        if twice.any():
            row = int(np.argmax(twice))
            raise InputError(
                f"{path}: line {table['line'].iloc[row]}: {name} {table[name].iloc[row]!r} is listed twice; "
                "list each image once, with a catalogue of its own"
            )
    for line, image in zip(table["line"], table["image"], strict=True):
        if not _NAME.fullmatch(image):
            raise InputError(
                f"{path}: line {line}: {image[:80]!r} is no image name; use up to 200 characters without '/'"
            )
    found: list[Path | None] = []
    taken = {(folder / MANIFEST).resolve()}
    for line, name in zip(table["line"], table["catalogue"], strict=True):
        if name is None:
            found.append(None)
            continue
        catalog = resolve_inside(name, folder, roots, f"{path}: line {line}, column 'catalogue'")
        if catalog in taken:
            raise InputError(f"{path}: line {line}: {name!r} is the same file as another's; list each catalogue once")
        taken.add(catalog)
        found.append(catalog)
    return found


def _with_headers(table: pd.DataFrame, path: Path, folder: Path, config: Config) -> pd.DataFrame:
    """The table with what it lacks taken from the headers of the images it names."""
    # Reading a manifest waits for no other server than its own: of images at URLs it has to say everything itself.
    lacking = table[list(NUMBERS)].isna().any(axis=1) & table["path"].notna() & ~table["path"].map(is_url)
    if not lacking.any():
        return table
    # Loaded where a header is read: with astropy, which takes longer than reading a small epoch.
    from contimg_assets.ingest.header import image_from_header

    values = {column: table[column].to_numpy(copy=True) for column in NUMBERS}
    for row in np.flatnonzero(lacking):
        name, line = table["path"].iloc[row], table["line"].iloc[row]
        image = resolve_inside(str(name), folder, config.image_roots, f"{path}: line {line}, column 'path'")
        for column, value in image_from_header(where_it_is(image, config)).items():
            if np.isnan(values[column][row]):
                values[column][row] = value
    return table.assign(**values)


_WORDS = {"freq_mhz": "the frequency is not known: ", "mjd_mid": "the time is not known: "}


def _check(table: pd.DataFrame, path: Path, names: Sequence[str]) -> None:
    for column, (low, high, cure) in _RANGES.items():
        values = table[column].to_numpy()
        missing = np.isnan(values)
        if missing.any() and column != "rms_mjy_beam":
            row = int(np.argmax(missing))
            told = f"{_WORDS.get(column, '')}column {column!r} is missing"
            where = f"{path}: line {table['line'][row]} (image {table['image'][row]})"
            cure = f"add it to the manifest{_meant(column, names)}"
            if table["path"][row] and not is_url(table["path"][row]):
                raise InputError(f"{where}: {told} and the FITS header does not give it; {cure}")
            raise InputError(f"{where}: {told} and no FITS image is named in 'path' that would give it; {cure}")
        wrong = ~missing & ~((values >= low) & (values <= high))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{path}: line {table['line'][row]}, column {column!r}: {values[row]:g} is not allowed; {cure}"
            )
    swapped = (table["bmin_arcsec"] > table["bmaj_arcsec"]).to_numpy()
    if swapped.any():
        row = int(np.argmax(swapped))
        raise InputError(
            f"{path}: line {table['line'][row]}, column 'bmin_arcsec': larger than bmaj_arcsec; swap the two"
        )


def _check_sums(table: pd.DataFrame, path: Path, catalogs: Sequence[Path | None]) -> None:
    """Catalogs whose SHA-256 the manifest states are what was sent: nothing else shows a digit that was changed."""
    for line, stated, catalog in zip(table["line"], table["sha256"], catalogs, strict=True):
        if stated is None or catalog is None:
            continue
        try:
            with catalog.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(
                f"{catalog}: cannot be read ({error.strerror}); allow it, or deliver the catalog again"
            ) from error
        if found != stated.lower():
            raise InputError(
                f"{catalog}: its SHA-256 is {found[:12]}…, but {path} line {line} states {stated[:12]}…; "
                "deliver the catalog again"
            )
