"""The HATS collection beside the products database, kept as the database is."""

from __future__ import annotations

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.export_hats import HatsUpdate, update_hats


def keep_hats(config: Config, database: ProductsDatabase) -> HatsUpdate | None:
    """Bring the collection of `products.hats` up to date; None where none is wanted, or there are no products yet.

    Raises
    ------
    InputError
        If its folder holds anything else or cannot be written.
    """
    if config.hats_folder is None or not database.is_current():
        return None
    return update_hats(database, config.hats_folder, config.products.hats_margin_arcsec, config.products.hats_order)
