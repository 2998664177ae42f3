"""Writing epochs: one transaction that replaces their rows and recomputes every source they touch.

What is written is a function of the epochs in the database alone, whatever the order in which they came. All steps work
on whole tables; the functions here run inside the caller's transaction and never commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database.blocks import NO_HASHES
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.light_curves import stored_epochs
from contimg_assets.database.matching import SourceMatching
from contimg_assets.database.recorded import set_recomputed_with
from contimg_assets.database.writing.aliases import write_aliases
from contimg_assets.database.writing.coverage import StoredCoverage
from contimg_assets.database.writing.epochs import replace_rows
from contimg_assets.database.writing.limits import update_limits
from contimg_assets.database.writing.matches import write_matches
from contimg_assets.database.writing.report import Stopwatch, WriteReport
from contimg_assets.database.writing.sources import (
    add_novelty,
    covered,
    delete_vanished,
    n_relations,
    write_sources,
    write_variability,
)
from contimg_assets.database.writing.statistics import recompute
from contimg_assets.database.writing.stored import read_images, read_sources

NO_MATCHING = "none"


def replace_epochs(
    connection: Connection,
    batch: Iterable[EpochProducts],
    delete: Sequence[str],
    parameters: Variability,
    matching: SourceMatching | None,
    anew: bool = False,
) -> WriteReport:
    """Replace and delete epochs within the caller's transaction; see `ProductsDatabase.replace_epochs`.

    With ``anew`` all rows are made again, equal or not, and epochs that the batch does not have are deleted.
    """
    watch, report = Stopwatch(), WriteReport()
    before = read_sources(connection)
    images_before = read_images(connection)
    all_again = set_recomputed_with(connection, "variability", parameters.version) or (anew and len(before) > 0)
    match_again = set_recomputed_with(connection, "matching", matching.version if matching else NO_MATCHING)
    watch.lap("read")
    old_blocks, new_blocks = replace_rows(connection, batch, delete, report, watch, anew)
    if not (report.written or report.deleted or all_again or match_again):
        report.n_sources = len(before)
        return report

    epochs = stored_epochs(connection, new_blocks)
    images = read_images(connection)
    coverage = StoredCoverage(connection, images)
    blocks = [*old_blocks.values(), *new_blocks.values()]
    touched = np.unique(np.concatenate([NO_HASHES, *(block.sources for block in blocks)]))
    if all_again:
        touched = np.union1d(touched, before["id"].to_numpy())
    else:
        old_images = images_before[images_before["epoch"].isin([*report.written, *report.deleted])]
        new_images = images[images["epoch"].isin(report.written)]
        touched = np.union1d(touched, covered(before, pd.concat([old_images, new_images], ignore_index=True)))
    watch.lap("touched")

    recomputed = recompute(connection, epochs, touched, parameters, watch)
    table = recomputed.sources if recomputed else None
    if table is not None:
        changed = pd.concat([images_before, images], ignore_index=True)
        changed = changed[changed["epoch"].isin([*report.written, *report.deleted])]
        since = -np.inf if all_again else float(changed["mjd"].min())
        add_novelty(table, images, coverage, parameters, before, since)
    alive = table["id"].to_numpy() if table is not None else NO_HASHES
    vanished = np.setdiff1d(np.intersect1d(touched, before["id"].to_numpy()), alive)
    watch.lap("new sources")
    update_limits(
        connection, epochs, recomputed, before, vanished, images, coverage, report.written, parameters, all_again
    )
    watch.lap("limits")
    if table is not None:
        table["n_relations"] = n_relations(connection, table["id"].to_numpy())
        write_sources(connection, table, before, vanished)
    watch.lap("write sources")
    write_variability(connection, recomputed, touched)
    watch.lap("write variability")
    report.n_aliases = write_aliases(connection, vanished, alive, old_blocks, new_blocks)
    # Before matching: a source that is gone must not be taken for a neighbour of those that are there.
    delete_vanished(connection, vanished)
    write_matches(connection, matching)
    watch.lap("matches")
    if connection.dialect.name == "postgresql" and len(report.written) * 10 >= len(epochs.names):
        # Questions are planned by what the tables held when they were last looked at.
        connection.exec_driver_sql("ANALYZE sources, associations, measurements, variability, cross_matches")
    report.n_recomputed = len(alive)
    report.n_sources = len(np.union1d(np.setdiff1d(before["id"].to_numpy(), vanished), alive))
    report.seconds = watch.seconds
    return report
