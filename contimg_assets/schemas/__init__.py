"""One description of every table: columns, types, units, ranges, meaning.

Stage tables are described in the module named after the stage (`detections`, `association`, `matches`, `corrections`,
`variability`, `catalogs`); `core` has the classes. Storage, checks, database comments, exports and the Dagster UI all
read these descriptions; a column is defined nowhere else.
"""

from contimg_assets.schemas.core import Column, TableSchema

__all__ = ["Column", "TableSchema"]
