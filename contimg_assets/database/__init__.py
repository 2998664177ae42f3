"""The products database: schema, migrations, writing of epochs, questions, exports. The only room with SQL in it."""

from contimg_assets.database.epoch_products import EpochProducts, SourceMatching, WriteReport
from contimg_assets.database.products_database import ProductsDatabase

__all__ = ["EpochProducts", "ProductsDatabase", "SourceMatching", "WriteReport"]
