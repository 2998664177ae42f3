"""The products database: schema, migrations, writing of epochs, questions, exports. The only room with SQL in it."""

from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.matching import SourceMatching
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.writing.report import WriteReport

__all__ = ["EpochProducts", "ProductsDatabase", "SourceMatching", "WriteReport"]
