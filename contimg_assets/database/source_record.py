"""All that the products database holds about one source."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from contimg_assets.database.products_database import ProductsDatabase


def source_record(database: ProductsDatabase, source_id: str) -> dict[str, Any]:
    """All about a source, as JSON knows it: missing values are None.

    Parameters
    ----------
    database : what to read
    source_id : id or name of a present or past source

    Returns
    -------
    source: its row; variability, matches, decisions, tags, notes, favorites, relations, light_curve,
    polarization: lists of rows

    Raises
    ------
    StoreError
        If there is no such source.
    """
    present = str(database.source(source_id)["id"])
    tables = {
        "variability": database.source_variability(present),
        "matches": database.matches(present),
        "decisions": database.decisions(present),
        "tags": database.tags(present),
        "notes": database.notes(present),
        "favorites": database.favorites(present),
        "relations": database.relations(present),
        "light_curve": pd.DataFrame(database.light_curve(present)),
        "polarization": database.polarization(present),
    }
    source = records(database.source(present).to_frame().T)[0]
    return {"source": source, **{name: records(frame) for name, frame in tables.items()}}


def records(frame: pd.DataFrame) -> Any:
    """Rows as objects; missing values are None."""
    return json.loads(frame.to_json(orient="records", double_precision=15))
