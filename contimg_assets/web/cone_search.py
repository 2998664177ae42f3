"""The IVOA's Simple Cone Search 1.03 (Plante et al. 2008): the sources about a position, as VOTable."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from astropy.io.votable.tree import Info, Resource, TableElement, VOTableFile

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.export_files import votable, votable_bytes
from contimg_assets.errors import InputError
from contimg_assets.schemas.core import FLOAT, Column
from contimg_assets.schemas.variability import SOURCES

MEDIA_TYPE = "application/x-votable+xml"
# The standard asks for these words of the first list of UCDs.
_UCDS = {"id": "ID_MAIN", "ra_deg": "POS_EQ_RA_MAIN", "dec_deg": "POS_EQ_DEC_MAIN"}
_SEPARATION = Column("separation_arcsec", FLOAT, "arcsec", "Separation from the position", ucd="pos.angDistance")


def cone_search(database: ProductsDatabase, asked: Mapping[str, str]) -> bytes:
    """Answer a cone search: the rows of `ProductsDatabase.cone`; a radius of 0 asks for the columns alone.

    Parameters
    ----------
    database : what to search
    asked : RA, DEC and SR, in any case [deg]

    Returns
    -------
    A VOTable; of an error, one that says it as the standard asks.
    """
    given = {name.upper(): value for name, value in asked.items()}
    try:
        ra, dec, radius = (_number(given, name) for name in ("RA", "DEC", "SR"))
        found = database.cone(ra, dec, radius * 3600.0)
    except InputError as error:
        return votable_bytes(_refusal(str(error)))
    rows = found if radius > 0 else found[:0]
    schema = pa.schema([column.arrow for column in (*SOURCES, _SEPARATION)])
    document = votable(pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False), "sources")
    for column in document.get_first_table().fields:
        column.ucd = _UCDS.get(column.name, "meta.id" if column.ucd == "meta.id;meta.main" else column.ucd)
    return votable_bytes(document)


def _number(given: Mapping[str, str], name: str) -> float:
    try:
        return float(given[name])
    except (KeyError, ValueError) as error:
        raise InputError(f"{name} must be a number of degrees, such as {name}=1.5") from error


def _refusal(sentence: str) -> VOTableFile:
    document = VOTableFile()
    document.infos.append(Info(name="Error", ID="Error", value=sentence))
    resource = Resource()
    document.resources.append(resource)
    resource.tables.append(TableElement(document))
    return document
