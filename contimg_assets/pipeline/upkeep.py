"""What keeps a project tidy over the years: plain functions on the store and the products database."""

import time

from contimg_assets.catalogs.store import unreferenced_catalogs
from contimg_assets.database import WriteReport
from contimg_assets.pipeline import inputs
from contimg_assets.pipeline.products import StoredProducts, complete_epochs, matching_of, published_error_model
from contimg_assets.pipeline.project import Project, stored_world
from contimg_assets.pipeline.stages import PRODUCTS


def tidy_store(project: Project, older_than_hours: float) -> list[tuple[str, int]]:
    """Remove files that nothing refers to and that have not been written for so long; return their paths or URLs, and
    their sizes.

    Those are files of no epoch's record, catalogs that the configuration no longer has, and temporary files of
    killed processes; of a store at a URL, its objects too. A running process stages its files before their record
    names them: the age keeps those.
    """
    limit = time.time() - 3600.0 * older_than_hours
    elsewhere = project.store.unreferenced_elsewhere(limit)
    project.store.home.remove(elsewhere)
    removed = [(project.store.home.shown(file), n_bytes) for file, n_bytes in elsewhere.items()]
    for path in (*project.store.unreferenced(), *unreferenced_catalogs(project.config)):
        try:
            status = path.stat()
            if status.st_mtime < limit and path.is_file():
                path.unlink()
                project.store.home.forget([path])
                removed.append((str(path), status.st_size))
        except FileNotFoundError:
            continue  # its writer has replaced or removed it meanwhile
    return removed


def rebuild_products(project: Project) -> WriteReport:
    """Make every row of the products database anew from the store, in one transaction: readers see the old or the new.

    Decisions stay, and the aliases by which they follow their sources. Epochs that the store does not hold whole
    are removed.
    """
    stored = StoredProducts(project.config, project.store)
    world = stored_world(project.config, project.store)
    products = (
        stored.read(epoch, inputs.of(PRODUCTS, epoch, world), world.merged.get(epoch, {}))
        for epoch in complete_epochs(project.store)
    )
    return project.products.rebuild(
        products, project.config.variability, matching_of(project.config), published_error_model(project.store)
    )
