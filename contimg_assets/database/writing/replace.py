"""Replacing epochs: their rows, and those of every source they touch.

What is written is a function of the epochs in the database alone, whatever the order in which they came. All steps work
on whole tables; the functions of this package run inside the caller's transaction and never commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.blocks import Hashes
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.matching import SourceMatching
from contimg_assets.database.models import TABLES
from contimg_assets.database.recorded import record_recomputed_with
from contimg_assets.database.writing.aliases import write_aliases
from contimg_assets.database.writing.epochs import ChangedEpochs, replace_rows
from contimg_assets.database.writing.error_model import write_error_model
from contimg_assets.database.writing.limits import Missing, update_limits
from contimg_assets.database.writing.matches import matches_differ, write_matches
from contimg_assets.database.writing.names import name_sources
from contimg_assets.database.writing.polarized import place_polarized
from contimg_assets.database.writing.present import all_there, count_sources, neighbors, read_sources
from contimg_assets.database.writing.report import Stopwatch, WriteReport
from contimg_assets.database.writing.sources import (
    covered,
    delete_sources,
    n_relations,
    novelty,
    write_sources,
    write_variability,
)
from contimg_assets.database.writing.statistics import has_all_points, recompute
from contimg_assets.database.writing.stored import read_images, read_observed
from contimg_assets.ingest.bands import mhz_of_names
from contimg_assets.sky.arrays import Floats
from contimg_assets.variability.error_model import ErrorModel
from contimg_assets.variability.position_errors import position_errors

# What most of a large change goes to.
_LARGE_TABLES = ("sources", "associations", "measurements", "variability", "cross_matches")


def replace_epochs(
    connection: Connection,
    batch: Iterable[EpochProducts],
    delete: Sequence[str],
    parameters: Variability,
    matching: SourceMatching | None,
    anew: bool = False,
    error_model: pd.DataFrame | None = None,
) -> WriteReport:
    """Replace and delete epochs within the caller's transaction; see `ProductsDatabase.replace_epochs`.

    Where the error model is another than that in the database, all statistics are made again; without one it stays.
    With ``anew`` all rows are made again, equal or not, and epochs that the batch does not have are deleted.
    """
    watch = Stopwatch()
    images, n_sources = read_images(connection), count_sources(connection)
    all_again = record_recomputed_with(connection, "variability", parameters.version) or (anew and n_sources > 0)
    errors, errors_changed = write_error_model(connection, error_model)
    all_again = all_again or (errors_changed and n_sources > 0)
    match_again = matches_differ(connection, matching)
    watch.lap("read")
    change = replace_rows(connection, batch, delete, anew, watch)
    report = WriteReport(change.written, change.unchanged, change.deleted, n_sources=n_sources)
    if not (change.written or change.deleted or all_again or match_again):
        return report
    affected = _recompute_sources(connection, images, change, (parameters, errors), all_again, watch)
    report.n_aliases = write_aliases(connection, change, affected.vanished, affected.alive)
    # Before matching: a source that is gone must not be taken for a neighbor of those that are there.
    delete_sources(connection, affected.vanished)
    place_polarized(connection, parameters.name_acronym)
    write_matches(connection, matching, None if all_again else affected.places)
    watch.lap("matches")
    if len(change.written) * 10 >= affected.n_epochs:
        bulk.analyze(connection, [TABLES[name] for name in _LARGE_TABLES])
    report.n_recomputed = len(affected.alive)
    report.n_sources = n_sources - len(affected.vanished) + affected.n_new
    report.seconds = watch.seconds
    return report


@dataclass(frozen=True)
class _Affected:
    """The sources that a change affects: those that are there after it, and those that are gone; hashes, ascending.

    ``n_new`` of them were not there before; ``places`` is where they are, or were: ra_deg, dec_deg.
    """

    alive: Hashes
    vanished: Hashes
    n_epochs: int
    n_new: int
    places: tuple[Floats, Floats]


def _recompute_sources(
    connection: Connection,
    images_before: pd.DataFrame,
    change: ChangedEpochs,
    judging: tuple[Variability, ErrorModel],
    all_again: bool,
    watch: Stopwatch,
) -> _Affected:
    """Write the rows of all sources that the change touches, or of all there are; those that are gone stay for now."""
    parameters, errors = judging
    observed = read_observed(connection, change.after)
    images = _changed_images(images_before, observed.images, change)
    before = read_sources(connection, None if all_again else images)
    if not all_there(connection, before, change.sources):
        before = read_sources(connection)
    touched = np.union1d(change.sources, before.ids if all_again else covered(before.sources, images))
    watch.lap("touched")
    bands = mhz_of_names({*images_before["band"], *observed.images["band"]})
    epochs = observed.epochs if all_again else observed.epochs.about(*_places(change, before.of(touched)))
    recomputed = recompute(connection, epochs, touched, parameters, watch, bands, errors)
    if not (epochs.near.all() or has_all_points(recomputed, before.sources, change, touched)):
        recomputed = recompute(connection, observed.epochs, touched, parameters, watch, bands, errors)
    moved = pd.concat([recomputed.sources, before.of(touched)])[["ra_deg", "dec_deg"]]
    if not before.holds(moved["ra_deg"].to_numpy(), moved["dec_deg"].to_numpy()):
        before = read_sources(connection)
    vanished = np.setdiff1d(np.intersect1d(touched, before.ids), recomputed.ids)
    since_mjd = -np.inf if all_again else float(images["mjd"].min())
    judged = novelty(recomputed.sources, before.sources, observed, parameters, since_mjd)
    watch.lap("new sources")
    missing = Missing(observed, recomputed, before.sources, change, bands, all_again)
    n_limits = update_limits(connection, missing, vanished, parameters)
    watch.lap("limits")
    sources = recomputed.sources.drop(
        columns=["first_flux_mjy_beam", "first_flux_err_mjy_beam", "first_band_mhz"]
    ).assign(**judged, n_limits=n_limits, n_relations=n_relations(connection, recomputed.ids))
    names = name_sources(connection, recomputed.sources, before.sources, touched, parameters.name_acronym)
    sources = sources.assign(name=names, **position_errors(sources)).drop(columns="position_noise_share")
    write_sources(connection, sources, neighbors(connection, sources, touched, moved, before))
    watch.lap("write sources")
    write_variability(connection, recomputed.variability, touched, len(bands) > 1)
    watch.lap("write variability")
    to_match = moved["ra_deg"].to_numpy(), moved["dec_deg"].to_numpy()
    n_new = len(np.setdiff1d(recomputed.ids, before.ids))
    return _Affected(recomputed.ids, vanished, len(observed.epochs.names), n_new, to_match)


def _places(change: ChangedEpochs, sources: pd.DataFrame) -> tuple[Floats, Floats]:
    """Where points of changed epochs, and of the sources that the change touches, are or were: ra_deg, dec_deg."""
    ra, dec = change.places
    return np.concatenate([ra, sources["ra_deg"].to_numpy()]), np.concatenate([dec, sources["dec_deg"].to_numpy()])


def _changed_images(before: pd.DataFrame, now: pd.DataFrame, change: ChangedEpochs) -> pd.DataFrame:
    """The images that came, changed or went, as they were and as they are."""
    gone = before[before["epoch"].isin([*change.written, *change.deleted])]
    return pd.concat([gone, now[now["epoch"].isin(change.written)]], ignore_index=True)
