"""Reference catalogs from VizieR, or any other TAP service, as files that `read_catalog` reads."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contimg_assets.catalogs.read import column_in_file
from contimg_assets.config import CatalogConfig
from contimg_assets.config.presets import PRESETS, Preset, no_preset
from contimg_assets.errors import InputError
from contimg_assets.schemas.catalogs import REFERENCE

VIZIER_TAP = "https://tapvizier.cds.unistra.fr/TAPVizieR/tap"


def fetch(
    name: str,
    file: Path,
    *,
    url: str = VIZIER_TAP,
    region: tuple[float, float, float] | None = None,
    max_rows: int = 10_000_000,
) -> int:
    """Download the published table of a survey.

    Parameters
    ----------
    name : a preset (nvss, first, ...)
    file : VOTable to write, whole or not at all
    url : TAP service that has the tables under their VizieR names
    region : ra_deg, dec_deg, radius_deg of a circle; the whole survey if None
    max_rows : more than this is refused, not cut off

    Returns
    -------
    n_rows

    Raises
    ------
    InputError
        If the preset is unknown, pyvo is not installed, the service cannot be reached or refuses, or the answer is
        empty or cut off.
    """
    try:
        import pyvo
        from requests import RequestException
    except ImportError as error:
        raise InputError(
            "fetching catalogs needs pyvo: install contimg-assets[fetch], "
            "or download the file yourself and `contimg catalog add` it"
        ) from error
    if name not in PRESETS:
        raise InputError(no_preset(name))
    try:
        with warnings.catch_warnings():
            # An answer that was cut off is refused below.
            warnings.simplefilter("ignore", pyvo.dal.exceptions.DALOverflowWarning)
            service = pyvo.dal.TAPService(url)
            # Names of columns change with a catalog's versions: ask for none that is not there.
            columns = service.run_sync(
                f"SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = '{PRESETS[name].vizier}'"  # noqa: S608
            )
            offered = [str(row["column_name"]).strip('"') for row in columns]
            text = query(PRESETS[name], usable_columns(name, offered), region)
            result = service.run_async(text, maxrec=max_rows + 1)
    except (pyvo.dal.DALServiceError, pyvo.dal.DALQueryError, pyvo.dal.DALFormatError, RequestException) as error:
        raise InputError(
            f"{url}: the catalog {name!r} was not delivered ({error}); try again, or another url"
        ) from error
    table = result.to_table()
    if not len(table):
        raise InputError(f"{url}: no source of {name!r} in the region asked for; enlarge it")
    if len(table) > max_rows or result.query_status == "OVERFLOW":
        raise InputError(f"{url}: {name!r} has more than {max_rows} rows there; ask for a smaller region")
    _write(table, file)
    return len(table)


def query(preset: Preset, columns: Sequence[str], region: tuple[float, float, float] | None) -> str:
    """ADQL for those columns, positions first, of a circle or of all."""
    selected = ", ".join(f'"{name}"' for name in columns)
    conditions = [] if preset.where is None else [preset.where]
    if region is not None:
        ra, dec, radius = (float(value) for value in region)
        point = f'POINT(\'ICRS\', "{columns[0]}", "{columns[1]}")'
        conditions.append(f"1 = CONTAINS({point}, CIRCLE('ICRS', {ra!r}, {dec!r}, {radius!r}))")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    tables = (preset.vizier, *preset.extra_tables)
    return " UNION ALL ".join(f'SELECT {selected} FROM "{table}"{where}' for table in tables)  # noqa: S608 - no user text


def usable_columns(name: str, offered: Sequence[str]) -> list[str]:
    """Those of a service's columns that `read_catalog` will look for, positions first.

    Raises
    ------
    InputError
        If positions are not among them.
    """
    config = CatalogConfig.model_validate({"preset": name, "path": name})
    wanted = [column_in_file(ours, offered, config) for ours in REFERENCE.names]
    ra, dec = (column_in_file(ours, offered, config) for ours in ("ra_deg", "dec_deg"))
    if ra is None or dec is None:
        raise InputError(f"the service has no positions of {name!r}; download the file and `contimg catalog add` it")
    return list(dict.fromkeys([ra, dec, *(column for column in wanted if column is not None)]))


def _write(table: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        temporary = Path(folder) / "catalog.vot"
        table.write(temporary, format="votable", tabledata_format="binary2")
        temporary.replace(file)
