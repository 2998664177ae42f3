"""The things outside that assets use: the Parquet store and the products database."""

from typing import Any

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.orchestration.io_manager import EpochParquetIOManager

# Stages are vectorised and short: a process for each would cost more than its work.
EXECUTOR = dg.in_process_executor


def build_resources(config: Config, products: ProductsDatabase) -> dict[str, Any]:
    """Resources of all assets, by the names that they ask for."""
    paths = config.paths
    store = EpochParquetIOManager(root=str(config.store), url=paths.store_url, copy_bytes=paths.store_copy_bytes)
    return {"store": store, "database": products}
