"""Sky models: source lists of WSClean (``-save-source-list``), models of BBS, DP3 and LSMTool, PyBDSF's format "bbs".

Fluxes in Jy. Each component is kept as it stands; those of one source are not summed. Axes are of the model and not of
a fit with the beam in it, hence not taken; neither fluxes nor positions have errors.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.ingest.readers.base import FinderReader, Rows, Source
from contimg_assets.reading.columns import parse_numbers


def _finish(rows: Rows) -> None:
    """The first spectral term is the index, where the terms are logarithmic."""
    terms = rows.texts.get("_terms")
    if terms is None:
        return
    first = pc.struct_field(pc.extract_regex(terms, r"^\[?\s*(?P<first>[^,\]\s]*)"), "first")
    logarithmic = rows.texts.get("_logarithmic", pa.nulls(len(rows), pa.string()))
    usable = pc.not_equal(pc.fill_null(pc.utf8_lower(logarithmic), "true"), "false")
    rows.numbers["spectral_index"] = parse_numbers(pc.if_else(usable, first, None))[0]
    rows.columns["spectral_index"] = rows.columns["_terms"]


READER = FinderReader(
    "sky_model",
    (frozenset({"Name", "Type", "Ra", "Dec", "I"}), frozenset({"Name", "Ra", "Dec", "I"})),
    (
        Source("component_id", ("Name",), text=True),
        Source("island_id", ("Patch",), text=True),
        Source("ra_deg", ("Ra",), "deg"),
        Source("dec_deg", ("Dec",), "deg"),
        Source("flux_int_mjy", ("I",), "Jy"),
        Source("_terms", ("SpectralIndex",), text=True),
        Source("_logarithmic", ("LogarithmicSI",), text=True),
    ),
    _finish,
)
