"""The table that names the parts of another one, which is kept by cell of the sky."""

from __future__ import annotations

from contimg_assets.schemas.core import INT, TEXT, Column, TableSchema

# What the name of the table that names parts ends in.
PARTS = "_parts"


def parts_of(schema: TableSchema) -> TableSchema:
    """Where the parts of a table are: one row a cell of the sky that has any of its rows."""
    return TableSchema(
        f"{schema.name}{PARTS}",
        f"Parts of `{schema.name}` by cell of the sky, each a file of its own that other epochs share",
        (
            Column("cell", INT, "", "Nested HEALPix cell of order 4", minimum=0),
            Column("version", TEXT, "", "Version of the part's content, in the name of its file"),
            Column("n_rows", INT, "", "Its rows", minimum=1),
        ),
        key=("cell",),
    )
