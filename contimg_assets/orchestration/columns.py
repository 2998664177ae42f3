"""The columns of a table as the Dagster UI shows them: name, type, meaning, unit."""

from __future__ import annotations

import dagster as dg

from contimg_assets.database.models import describe_table
from contimg_assets.schemas import TableSchema

COLUMN_SCHEMA = "dagster/column_schema"


def columns_of(schema: TableSchema) -> dg.TableSchema:
    """Columns of a stored table."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type),
                description=f"{column.description} [{column.unit}]" if column.unit else column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in schema
        ]
    )


def columns_of_product(table: str) -> dg.TableSchema:
    """Columns of a table of the products database."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in describe_table(table).columns
        ]
    )
