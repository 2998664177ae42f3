"""What keeps a project tidy over the years: plain functions on the store and the products database."""

import time
from pathlib import Path

from contimg_assets.assets.products import recorded_products
from contimg_assets.catalogs.store import unreferenced_catalogs
from contimg_assets.project import Project


def tidy_store(project: Project, older_than_hours: float) -> list[tuple[Path, int]]:
    """Remove files that nothing refers to and that have not been written for so long; return them with their sizes.

    Those are files of no epoch's record, catalogues that the configuration no longer has, and temporary files of
    killed processes. A running process stages its files before their record names them: the age keeps those.
    """
    limit = time.time() - 3600.0 * older_than_hours
    removed = []
    for path in (*project.store.unreferenced(), *unreferenced_catalogs(project.config)):
        try:
            status = path.stat()
            if status.st_mtime < limit and path.is_file():
                path.unlink()
                removed.append((path, status.st_size))
        except FileNotFoundError:
            continue  # its writer has replaced or removed it meanwhile
    return removed


def empty_products(project: Project) -> list[str]:
    """Remove every epoch from the products database in one transaction; people's decisions stay. Returns the epochs."""
    epochs = sorted(recorded_products(project.products))
    if epochs:
        project.products.replace_epochs([], project.config.variability, delete=epochs)
    return epochs
