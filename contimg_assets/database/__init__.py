"""The products database: schema, migrations, writing of epochs, questions, exports. The only room with SQL in it.

`models` and `views` are the schema, `migrations` and `schema` bring a database to it, `engine` connects. What goes in
is in `epoch_products` and `matching`, and `writing` writes it; `queries` answers questions, `export` writes files.
`blocks` and `light_curves` pack points for statistics. `ProductsDatabase` is all of this as one object.
"""

from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.matching import SourceMatching
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.writing.report import WriteReport

__all__ = ["EpochProducts", "ProductsDatabase", "SourceMatching", "WriteReport"]
