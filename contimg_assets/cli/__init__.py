"""The command `contimg`: one module per group of commands, no science and no SQL in any of them."""

# These modules register their commands, in the order that `contimg --help` lists them.
from contimg_assets.cli import demo, products, annotations, plots, report, cutouts, web, images, epochs  # noqa: F401, I001
from contimg_assets.cli import catalogs, compute, plan, check  # noqa: F401
from contimg_assets.cli.app import main

__all__ = ["main"]
