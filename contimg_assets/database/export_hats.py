"""Sources with their light curves as a HATS collection: Parquet by tile of the sky, which LSDB opens and matches."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa

from contimg_assets.database.engine import reading
from contimg_assets.database.export import arrow_schema, pieces
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.errors import InputError
from contimg_assets.files import keep

# Margins are of cells that are smaller than the smallest tile, which LSDB makes 27 arcmin wide.
LARGEST_MARGIN_ARCSEC, USUAL_MARGIN_ARCSEC = 600.0, 60.0
# What each source has several rows of, and the column that says whose they are.
NESTED = {"light_curve": "light_curves", "variability": "variability", "matches": "cross_matches"}
_OWNER = "source_id"
# Says what stands in a folder that was written here: nothing else is ever replaced.
_MARK = ".contimg_assets"


def export_hats(database: ProductsDatabase, folder: Path, margin_arcsec: float = USUAL_MARGIN_ARCSEC) -> int:
    """Write all sources as a HATS collection, with what belongs to each of them in nested columns.

    The columns of `sources`, and nested ones: ``light_curve`` (rows of the view `light_curves`), ``variability`` (by
    band and sample) and ``matches`` (candidates in reference catalogs). Sources within a margin around each tile are
    kept with it, so that a cross-match finds partners across its border. Returns the number of sources.

    Parameters
    ----------
    database : what to read; all of it is in memory meanwhile, about 1 kB a row of a light curve
    folder : where to write; what was written there before is replaced when the new collection is whole
    margin_arcsec : width of the margin [arcsec], at most `LARGEST_MARGIN_ARCSEC`; no cross-match can reach farther

    Raises
    ------
    InputError
        If LSDB is not installed, there are no sources, the margin is too wide, or the folder holds anything else or
        cannot be written.

    References
    ----------
    Caplar et al. 2025, "Using LSDB to enable large-scale catalog distribution, cross-matching, and analytics".
    """
    _require()
    if not 0 < margin_arcsec <= LARGEST_MARGIN_ARCSEC:
        raise InputError(
            f"a margin of {margin_arcsec:g} arcsec is none; give one up to {LARGEST_MARGIN_ARCSEC:g} arcsec"
        )
    # Of a link, where it leads to is replaced.
    folder = folder.resolve()
    _refuse_others(folder)
    frame = _sources(database)
    if frame.empty:
        raise InputError("there are no sources to write; run `contimg run` first")
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write(frame, temporary, margin_arcsec)
        _put_in_place(temporary, folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror or error}); name another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(frame)


def _require() -> None:
    if importlib.util.find_spec("lsdb") is None:
        raise InputError(
            "a HATS collection is written by LSDB, which is not installed; pip install 'contimg-assets[hats]'"
        )


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that holds anything but what was written here."""
    if not folder.parent.is_dir():
        raise InputError(f"folder {folder.parent} does not exist; create it first, or name another")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder")
    mark = folder / _MARK
    ours = {_MARK, *mark.read_text(encoding="utf-8").splitlines()} if mark.is_file() else set()
    if others := sorted(path.name for path in folder.iterdir() if path.name not in ours):
        raise InputError(f"{folder} holds {others[0]!r}, which was not written here; name another folder")


def _sources(database: ProductsDatabase) -> pd.DataFrame:
    """The sources, by id, with nested columns."""
    from nested_pandas import NestedFrame

    # One transaction: all tables are as of one moment.
    with reading(database.engine) as connection:
        tables = {}
        for column, name in ({"": "sources"} | NESTED).items():
            schema = arrow_schema(name)
            tables[column] = pa.Table.from_batches(pieces(connection, name, schema), schema)
    frame = NestedFrame(_frame(tables.pop(""))).set_index("id")
    for column, table in tables.items():
        frame = frame.join_nested(_frame(table).set_index(_OWNER), column)
    whole: pd.DataFrame = frame.reset_index()
    return whole


def _frame(table: pa.Table) -> pd.DataFrame:
    # Missing flags and numbers stay missing, and integers integers.
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _write(frame: pd.DataFrame, folder: Path, margin_arcsec: float) -> None:
    from lsdb.loaders.dataframe.from_dataframe import from_dataframe

    catalog = from_dataframe(
        frame, ra_column="ra_deg", dec_column="dec_deg", margin_threshold=margin_arcsec, catalog_name="sources"
    )
    catalog.write_catalog(folder, as_collection=True, progress_bar=False)
    names = sorted(path.name for path in folder.iterdir())
    (folder / _MARK).write_text("\n".join(names) + "\n", encoding="utf-8")


def _put_in_place(new: Path, folder: Path) -> None:
    """Readers see the old collection or the new one, but for the moment between two renames."""
    keep([file for file in new.rglob("*") if file.is_file()], [new])
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
