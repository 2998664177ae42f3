"""Writing epochs: one transaction that replaces their rows and recomputes every source they touch.

What is written is a function of the epochs in the database alone, whatever the order in which they came. All steps work
on whole tables; the functions here run inside the caller's transaction and never commit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.crossmatch.overrides import accepted_pairs, apply_overrides
from contimg_assets.database import bulk
from contimg_assets.database.blocks import (
    Block,
    Points,
    as_points,
    light_curves,
    make_block,
    pack,
    pack_coverage,
    unpack,
    unpack_coverage,
)
from contimg_assets.database.epoch_products import EpochProducts, SourceMatching, WriteReport
from contimg_assets.database.models import TABLES
from contimg_assets.database.sources import (
    add_mean_fluxes,
    healpix_cells,
    iso_times,
    source_table,
    visits,
)
from contimg_assets.errors import StoreError
from contimg_assets.identity.ids import from_hex, hash_text, mix, source_hashes, to_hex
from contimg_assets.sky.coverage import Coverage
from contimg_assets.sky.sphere import nearest_other, tree_of, unit_vectors
from contimg_assets.variability.new_sources import ImageKey, covering, new_sources, uncovered_detections
from contimg_assets.variability.segments import LightCurves
from contimg_assets.variability.statistics import variability_table

Hashes = npt.NDArray[np.uint64]

# Points of light curves in memory at once; about 200 bytes each.
_MAX_POINTS = 4_000_000
# Points that a thread works on at once.
_CHUNK_POINTS = 200_000
_WORKERS = min(4, os.cpu_count() or 1)
_NO_HASHES: Hashes = np.empty(0, dtype=np.uint64)
_NO_MATCHING = "none"
_ASSOCIATION_KEY = ["epoch", "measurement_id", "source_id"]
_COPIED = pa.schema([("source", pa.uint64()), ("measurement", pa.uint64()), ("epoch", pa.string())])


@dataclass
class _Epochs:
    """The epochs in the database after the change, in the order of observation."""

    names: list[str]
    copied: pa.Table
    limits: dict[str, Hashes]
    n_points: int
    fresh_points: dict[str, pa.Table]


@dataclass
class _Stopwatch:
    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


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
    watch, report = _Stopwatch(), WriteReport()
    before = _existing_sources(connection)
    images_before = _images(connection)
    all_again = _set_recomputed_with(connection, "variability", parameters.version) or (anew and len(before) > 0)
    match_again = _set_recomputed_with(connection, "matching", matching.version if matching else _NO_MATCHING)
    watch.lap("read")
    old_blocks, new_blocks = _replace_rows(connection, batch, delete, report, watch, anew)
    if not (report.written or report.deleted or all_again or match_again):
        report.n_sources = len(before)
        return report

    epochs = _epochs(connection, new_blocks)
    images = _images(connection)
    coverage = _StoredCoverage(connection, images)
    blocks = [*old_blocks.values(), *new_blocks.values()]
    touched = np.unique(np.concatenate([_NO_HASHES, *(block.sources for block in blocks)]))
    if all_again:
        touched = np.union1d(touched, before["id"].to_numpy())
    else:
        old_images = images_before[images_before["epoch"].isin([*report.written, *report.deleted])]
        new_images = images[images["epoch"].isin(report.written)]
        touched = np.union1d(touched, _covered(before, pd.concat([old_images, new_images], ignore_index=True)))
    watch.lap("touched")

    recomputed = _recompute(connection, epochs, touched, parameters, watch)
    table = recomputed.sources if recomputed else None
    if table is not None:
        changed = pd.concat([images_before, images], ignore_index=True)
        changed = changed[changed["epoch"].isin([*report.written, *report.deleted])]
        since = -np.inf if all_again else float(changed["mjd"].min())
        _add_novelty(table, images, coverage, parameters, before, since)
    alive = table["id"].to_numpy() if table is not None else _NO_HASHES
    vanished = np.setdiff1d(np.intersect1d(touched, before["id"].to_numpy()), alive)
    watch.lap("new sources")
    _update_limits(
        connection, epochs, recomputed, before, vanished, images, coverage, report.written, parameters, all_again
    )
    watch.lap("limits")
    if table is not None:
        table["n_relations"] = _n_relations(connection, table["id"].to_numpy())
        _write_sources(connection, table, before, vanished)
    watch.lap("write sources")
    _write_variability(connection, recomputed, touched)
    watch.lap("write variability")
    report.n_aliases = _write_aliases(connection, vanished, alive, old_blocks, new_blocks)
    # Before matching: a source that is gone must not be taken for a neighbour of those that are there.
    _delete_vanished(connection, vanished)
    write_matches(connection, matching)
    watch.lap("matches")
    if connection.dialect.name == "postgresql" and len(report.written) * 10 >= len(epochs.names):
        # Questions are planned by what the tables held when they were last looked at.
        connection.exec_driver_sql("ANALYZE sources, associations, measurements, variability, cross_matches")
    report.n_recomputed = len(alive)
    report.n_sources = len(np.union1d(np.setdiff1d(before["id"].to_numpy(), vanished), alive))
    report.seconds = watch.seconds
    return report


def _set_recomputed_with(connection: Connection, name: str, version: str) -> bool:
    """Record what sources are computed with; whether it differs from what was recorded."""
    table = TABLES["recomputed_with"]
    known = connection.execute(sa.select(table.c.version).where(table.c.name == name)).scalar()
    if known == version:
        return False
    bulk.upsert(connection, table, pd.DataFrame({"name": [name], "version": [version]}))
    return known is not None


# Epochs ---------------------------------------------------------------------------------------------------------------


def _replace_rows(
    connection: Connection,
    batch: Iterable[EpochProducts],
    delete: Sequence[str],
    report: WriteReport,
    watch: _Stopwatch,
    anew: bool,
) -> tuple[dict[str, Block], dict[str, Block]]:
    """Delete and insert the rows that belong to epochs. Returns the old and the new blocks of those that changed.

    Only one epoch's tables are needed at a time: the batch may be a generator that reads them.
    """
    epochs = TABLES["epochs"]
    rows = connection.execute(sa.select(epochs.c.epoch, epochs.c.content_version)).all()
    recorded = {row.epoch: row.content_version for row in rows}
    old: dict[str, Block] = {}
    new: dict[str, Block] = {}
    for epoch in list(recorded) if anew else delete:
        if epoch in recorded:
            old[epoch] = _block(connection, epoch)
            _delete_epoch(connection, epoch)
            report.deleted.append(epoch)
    if anew:
        recorded = {}
    versions = _versions(connection)
    watch.lap("delete")
    for products in batch:
        if products.epoch in {*report.written, *report.unchanged, *delete}:
            raise StoreError(f"epoch {products.epoch!r} is given more than once; each epoch has one state")
        same = recorded.get(products.epoch) == products.content_version
        watch.lap("prepare")
        if same:
            report.unchanged.append(products.epoch)
        else:
            if products.epoch in recorded:
                old[products.epoch] = _block(connection, products.epoch)
                _delete_epoch(connection, products.epoch)
                watch.lap("delete")
            new[products.epoch] = _insert_epoch(connection, products)
            report.written.append(products.epoch)
        if not same or versions.get(products.epoch, {}) != dict(products.versions):
            _write_versions(connection, products)
        watch.lap("insert epochs")
    report.deleted = [epoch for epoch in report.deleted if epoch not in new]
    return old, new


def _delete_epoch(connection: Connection, epoch: str) -> None:
    associations = TABLES["associations"]
    own = sa.and_(associations.c.epoch == epoch, associations.c.copied_by.is_(None))
    connection.execute(sa.delete(associations).where(own))
    connection.execute(sa.delete(associations).where(associations.c.copied_by == epoch))
    for name in (
        "source_relations",
        "corrections",
        "measurements",
        "image_coverage",
        "images",
        "epoch_blocks",
        "epoch_limits",
        "epoch_versions",
        "epochs",
    ):
        connection.execute(sa.delete(TABLES[name]).where(TABLES[name].c.epoch == epoch))


def _insert_epoch(connection: Connection, products: EpochProducts) -> Block:
    """All rows that belong to one epoch. Its sources may come later within the transaction."""
    tables = products.tables
    mjd = pc.min_max(tables["images"]["mjd"]).as_py()
    measurements, associations = tables["measurements"], tables["associations"]
    epoch = {
        "epoch": [products.epoch],
        "mjd_start": [mjd["min"]],
        "mjd_end": [mjd["max"]],
        "n_images": [tables["images"].num_rows],
        "n_measurements": [measurements.num_rows],
        "n_duplicates": [measurements.num_rows - measurements["duplicate_of"].null_count],
        "n_associations": [associations.num_rows],
        "content_version": [products.content_version],
    }
    bulk.insert(connection, TABLES["epochs"], pa.table(epoch))
    bulk.insert(connection, TABLES["images"], _with(tables["images"], "epoch", products.epoch))
    _insert_coverage(connection, products.epoch, tables["images"], tables["coverage"])
    for name, table in (("corrections", "corrections"), ("relations", "source_relations")):
        bulk.insert(connection, TABLES[table], _with(tables[name], "epoch", products.epoch))
    kept = measurements.drop_columns(["weight_ew_per_arcsec2", "weight_ns_per_arcsec2"])
    kept = _with(_with(kept, "epoch", products.epoch), "is_limit", False)
    bulk.insert(connection, TABLES["measurements"], kept)
    by = pc.if_else(associations["copied"], pa.scalar(products.epoch), pa.scalar(None, pa.string()))
    rows = associations.append_column("copied_by", by)
    bulk.insert(connection, TABLES["associations"], rows.sort_by([(name, "ascending") for name in _ASSOCIATION_KEY]))
    block = make_block(tables["images"], measurements, associations)
    row = {"epoch": products.epoch, "points": pack(block.points), "copied": pack(block.copied)}
    connection.execute(sa.insert(TABLES["epoch_blocks"]), row)
    connection.execute(sa.insert(TABLES["epoch_limits"]), {"epoch": products.epoch, "sources": b""})
    return block


def _insert_coverage(connection: Connection, epoch: str, images: pa.Table, table: pa.Table) -> None:
    """One packed row for each image that has a coverage."""
    names, first = np.unique(table["image"].to_numpy().astype(str), return_index=True)
    centre = {row["image"]: row for row in images.select(["image", "ra_deg", "dec_deg"]).to_pylist()}
    rows = []
    for image, start, stop in zip(names, first, [*first[1:], table.num_rows], strict=False):
        here = table.slice(start, stop - start)
        coverage = Coverage(*(here[name].to_numpy() for name in ("start", "end", "rms_mjy_beam")))
        radius = coverage.reach_deg(centre[image]["ra_deg"], centre[image]["dec_deg"])
        rows.append((epoch, image, radius, pack_coverage(coverage)))
    if rows:
        frame = pd.DataFrame(rows, columns=["epoch", "image", "radius_deg", "cells"])
        bulk.insert(connection, TABLES["image_coverage"], frame)


class _StoredCoverage(Mapping[ImageKey, Coverage]):
    """What images cover, read from the database one image at a time, with the rms on the corrected flux scale."""

    def __init__(self, connection: Connection, images: pd.DataFrame) -> None:
        detailed = images[images["detailed"]]
        keys = zip(detailed["epoch"], detailed["image"], strict=True)
        self._scale = dict(zip(keys, detailed["flux_mult"], strict=True))
        self._connection = connection
        table = TABLES["image_coverage"]
        self._query = sa.select(table.c.cells).where(
            table.c.epoch == sa.bindparam("epoch"), table.c.image == sa.bindparam("image")
        )

    def __getitem__(self, key: ImageKey) -> Coverage:
        scale = self._scale[key]
        data = self._connection.execute(self._query, {"epoch": key[0], "image": key[1]}).scalar_one()
        stored = unpack_coverage(data)
        return Coverage(stored.start, stored.end, stored.rms_mjy_beam * scale)

    def __contains__(self, key: object) -> bool:
        return key in self._scale

    def __iter__(self) -> Iterator[ImageKey]:
        return iter(self._scale)

    def __len__(self) -> int:
        return len(self._scale)


def _with(table: pa.Table, name: str, value: str | bool) -> pa.Table:
    """The table with a column that has one value."""
    column = (
        pa.array(np.full(table.num_rows, value))
        if isinstance(value, bool)
        else pa.array([value] * table.num_rows, pa.string())
    )
    return table.append_column(name, column)


def _versions(connection: Connection) -> dict[str, dict[str, str]]:
    """Recorded versions of inputs: epoch -> name -> version."""
    known: dict[str, dict[str, str]] = {}
    for epoch, name, version in connection.execute(sa.select(TABLES["epoch_versions"])).all():
        known.setdefault(epoch, {})[name] = version
    return known


def _write_versions(connection: Connection, products: EpochProducts) -> None:
    table = TABLES["epoch_versions"]
    connection.execute(sa.delete(table).where(table.c.epoch == products.epoch))
    rows = [{"epoch": products.epoch, "name": name, "version": v} for name, v in sorted(products.versions.items())]
    if rows:
        connection.execute(sa.insert(table), rows)


def _block(connection: Connection, epoch: str) -> Block:
    table = TABLES["epoch_blocks"]
    row = connection.execute(sa.select(table.c.points, table.c.copied).where(table.c.epoch == epoch)).one()
    return Block(unpack(row.points), unpack(row.copied))


def _epochs(connection: Connection, fresh: Mapping[str, Block]) -> _Epochs:
    table, epoch, limits = TABLES["epoch_blocks"], TABLES["epochs"], TABLES["epoch_limits"]
    query = (
        sa.select(table.c.epoch, table.c.copied, limits.c.sources, epoch.c.n_associations)
        .join(epoch, epoch.c.epoch == table.c.epoch)
        .join(limits, limits.c.epoch == table.c.epoch)
        .order_by(epoch.c.mjd_start, table.c.epoch)
    )
    rows = connection.execute(query).all()
    return _Epochs(
        [row.epoch for row in rows],
        pa.concat_tables([_COPIED.empty_table(), *(unpack(row.copied) for row in rows)]),
        {row.epoch: np.frombuffer(row.sources, dtype="<u8") for row in rows},
        sum(row.n_associations for row in rows),
        {name: block.points for name, block in fresh.items()},
    )


def _points(connection: Connection, epochs: _Epochs, low: np.uint64 | None, high: np.uint64 | None) -> list[Points]:
    """The points of every epoch, in order; only of sources from low to high, where given."""
    found = []
    for name in epochs.names:
        fresh = epochs.fresh_points.get(name)
        block = unpack(bulk.fetch_bytes(connection, "epoch_blocks", "points", name)) if fresh is None else fresh
        found.append(as_points(block, low, high))
    return found


def _images(connection: Connection) -> pd.DataFrame:
    """All images, with the rms on the corrected flux scale; a circle that holds what they cover, and whether the
    coverage itself is stored."""
    image, correction, coverage = TABLES["images"], TABLES["corrections"], TABLES["image_coverage"]
    scale = sa.func.coalesce(correction.c.flux_mult, 1.0)
    query = (
        sa.select(
            image.c.epoch,
            image.c.image,
            image.c.mjd,
            image.c.ra_deg,
            image.c.dec_deg,
            sa.func.coalesce(coverage.c.radius_deg, image.c.radius_deg).label("radius_deg"),
            coverage.c.radius_deg.is_not(None).label("detailed"),
            (image.c.rms_mjy_beam * scale).label("rms_mjy_beam"),
            scale.label("flux_mult"),
        )
        .outerjoin(coverage, sa.and_(coverage.c.epoch == image.c.epoch, coverage.c.image == image.c.image))
        .outerjoin(correction, sa.and_(correction.c.epoch == image.c.epoch, correction.c.image == image.c.image))
        .order_by(image.c.epoch, image.c.image)
    )
    return bulk.fetch(connection, query)


# Sources --------------------------------------------------------------------------------------------------------------


def _existing_sources(connection: Connection) -> pd.DataFrame:
    """The sources before the change, as far as others depend on it; `id` is the hash."""
    table = TABLES["sources"]
    names = ("id", "ra_deg", "dec_deg", "first_mjd", "first_ra_deg", "first_dec_deg", "neighbour_arcsec", "n_limits",
             "is_new", "new_significance", "new_image")  # fmt: skip
    frame = bulk.fetch(connection, sa.select(*(table.c[name] for name in names)))
    frame["id"] = from_hex(frame["id"].to_numpy(dtype=object)) if len(frame) else _NO_HASHES
    frame["neighbour_arcsec"] = frame["neighbour_arcsec"].astype(float)
    return frame.sort_values("id", ignore_index=True)


def _covered(sources: pd.DataFrame, images: pd.DataFrame) -> Hashes:
    """Sources that the images cover; of an image with a coverage, all in the circle about it."""
    # Where they were first detected, as everything is judged that depends on coverage.
    ra, dec = sources["first_ra_deg"].to_numpy(), sources["first_dec_deg"].to_numpy()
    found = [i for i, _, _ in covering(ra, dec, images)]
    return sources["id"].to_numpy()[np.unique(np.concatenate(found))] if found else _NO_HASHES


@dataclass
class _Recomputed:
    """Rows of `sources` and `variability` of touched sources, and in which epochs each source has points."""

    sources: pd.DataFrame
    variability: pd.DataFrame
    seen: npt.NDArray[np.bool_]


def _recompute(
    connection: Connection, epochs: _Epochs, touched: Hashes, parameters: Variability, watch: _Stopwatch
) -> _Recomputed | None:
    """What light curves say about the touched sources that have points; None if none has.

    A large database is read in several passes, each for a range of sources; within a pass, sources are worked on some
    at a time, so that arrays stay small enough to be quick.
    """
    tables, variabilities, visited = [], [], []
    n_passes = max(1, -(-epochs.n_points // _MAX_POINTS))
    for part in np.array_split(touched, n_passes):
        if not len(part):
            continue
        whole = n_passes == 1
        points = _points(connection, epochs, None if whole else part[0], None if whole else part[-1])
        watch.lap("read light curves")
        n_chunks = max(1, -(-sum(len(p["source"]) for p in points) // _CHUNK_POINTS))

        def statistics(
            wanted: Hashes, points: list[Points] = points
        ) -> tuple[pd.DataFrame, pd.DataFrame, npt.NDArray[np.bool_]] | None:
            curves = light_curves(epochs.names, points, epochs.copied, wanted)
            if curves is None:
                return None
            variability = variability_table(curves, parameters)
            seen = visits(curves, len(epochs.names))
            table = source_table(curves, epochs.names, seen)
            add_mean_fluxes(table, variability)
            return table, variability, seen

        # NumPy lets go of the interpreter while it works on arrays: threads share the cores.
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            for found in pool.map(statistics, np.array_split(part, n_chunks)):
                if found is not None:
                    tables.append(found[0])
                    variabilities.append(found[1])
                    visited.append(found[2])
        watch.lap("statistics")
    if not tables:
        return None
    return _Recomputed(
        pd.concat(tables, ignore_index=True), pd.concat(variabilities, ignore_index=True), np.concatenate(visited)
    )


def _add_novelty(
    table: pd.DataFrame,
    images: pd.DataFrame,
    coverage: Mapping[ImageKey, Coverage],
    parameters: Variability,
    before: pd.DataFrame,
    since: float,
) -> None:
    """Add whether each source is new, in place.

    Only images from before its first detection count; so what is known of a source stays where that detection is the
    same and older than ``since``, the earliest of the images that came, changed or went [MJD].
    """
    place = pd.Index(before["id"]).get_indexer(pd.Index(table["id"]))
    stays = (place >= 0) & (table["first_mjd"].to_numpy() < since)
    for name in ("first_mjd", "first_ra_deg", "first_dec_deg"):
        stays[stays] = before[name].to_numpy()[place[stays]] == table[name].to_numpy()[stays]
    first = pd.DataFrame(
        {
            "epoch": table["first_epoch"],
            "mjd": table["first_mjd"],
            "ra_deg": table["first_ra_deg"],
            "dec_deg": table["first_dec_deg"],
            "flux_peak_mjy_beam": table.pop("first_flux_peak_mjy_beam"),
        }
    )
    novelty = new_sources(first[~stays], images, parameters.new_min_significance, coverage)
    for name in novelty.columns:
        values = np.empty(len(table), dtype=novelty[name].to_numpy().dtype)
        values[~stays] = novelty[name].to_numpy()
        values[stays] = before[name].to_numpy()[place[stays]]
        table[name] = values


def _n_relations(connection: Connection, alive: Hashes) -> npt.NDArray[np.int64]:
    """Number of sources each source competed with, in any epoch."""
    table = TABLES["source_relations"]
    rows = bulk.fetch(connection, sa.select(table.c.from_source_id, table.c.to_source_id))
    if not len(rows):
        return np.zeros(len(alive), dtype=np.int64)
    pairs = from_hex(rows.to_numpy(dtype=object).ravel()).reshape(-1, 2)
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    both = both[both[:, 0] != both[:, 1]]
    source, count = np.unique(both[:, 0], return_counts=True)
    return pd.Series(count, index=source).reindex(alive, fill_value=0).to_numpy(dtype=np.int64)


def _write_sources(connection: Connection, table: pd.DataFrame, before: pd.DataFrame, vanished: Hashes) -> None:
    """The recomputed sources, and the neighbour of others where it changed."""
    others = before[~before["id"].isin(table["id"]) & ~before["id"].isin(vanished)]
    everywhere = pd.concat([table[["ra_deg", "dec_deg"]], others[["ra_deg", "dec_deg"]]])
    separation = nearest_other(tree_of(unit_vectors(everywhere["ra_deg"], everywhere["dec_deg"])))
    table["neighbour_arcsec"] = separation[: len(table)]
    bulk.upsert(connection, TABLES["sources"], table.assign(id=to_hex(table["id"].to_numpy())))
    now = separation[len(table) :]
    moved = ~((now == others["neighbour_arcsec"].to_numpy()) | (np.isnan(now) & others["neighbour_arcsec"].isna()))
    if moved.any():
        sources = TABLES["sources"]
        connection.execute(
            sa.update(sources)
            .where(sources.c.id == sa.bindparam("which"))
            .values(neighbour_arcsec=sa.bindparam("now")),
            [
                {"which": which, "now": None if np.isnan(value) else float(value)}
                for which, value in zip(to_hex(others["id"].to_numpy()[moved]), now[moved], strict=True)
            ],
        )


def _write_variability(connection: Connection, recomputed: _Recomputed | None, touched: Hashes) -> None:
    """Statistics of the recomputed sources; those of vanished ones go with their sources."""
    table = TABLES["variability"]
    extra = sa.select(sa.literal(1)).select_from(table).where(table.c["sample"].in_(["forced", "all"])).limit(1)
    if connection.execute(extra).first():
        # Sources may have lost their forced measurements.
        name = bulk.set_of_ids(connection, "touched", to_hex(touched))
        connection.exec_driver_sql(
            f"DELETE FROM variability WHERE sample IN ('forced', 'all') "  # noqa: S608
            f"AND source_id IN (SELECT id FROM {name})"
        )
    if recomputed is not None:
        rows = recomputed.variability
        rows["source_id"] = to_hex(rows["source_id"].to_numpy())
        bulk.upsert(connection, table, rows)


def _delete_vanished(connection: Connection, vanished: Hashes) -> None:
    """Sources that no association names any more."""
    if not len(vanished):
        return
    name = bulk.set_of_ids(connection, "touched", to_hex(vanished))
    for table, column in (("cross_matches", "source_id"), ("variability", "source_id"), ("sources", "id")):
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM {name})")  # noqa: S608


def read_light_curves(connection: Connection, sources: Sequence[str] | None, at_once: int) -> Iterator[LightCurves]:
    """Light curves of sources, some sources at a time; all sources if none are named."""
    epochs = _epochs(connection, {})
    if sources is None:
        wanted = _existing_sources(connection)["id"].to_numpy()
    else:
        wanted = np.unique(from_hex(np.array(sources, dtype=object))) if len(sources) else _NO_HASHES
    n_passes = max(1, -(-epochs.n_points // _MAX_POINTS))
    for part in np.array_split(wanted, n_passes):
        if not len(part):
            continue
        points = _points(connection, epochs, part[0], part[-1])
        for chosen in np.array_split(part, -(-len(part) // at_once)):
            curves = light_curves(epochs.names, points, epochs.copied, chosen)
            if curves is not None:
                yield curves


# Upper limits ---------------------------------------------------------------------------------------------------------


def _update_limits(
    connection: Connection,
    epochs: _Epochs,
    recomputed: _Recomputed | None,
    before: pd.DataFrame,
    vanished: Hashes,
    images: pd.DataFrame,
    coverage: Mapping[ImageKey, Coverage],
    written: Sequence[str],
    parameters: Variability,
    all_again: bool,
) -> None:
    """Bring the upper limits up to date; adds `n_limits` to the table.

    Whether an epoch covered a source is judged where it was first detected. So limits of epochs that did not change are
    looked at again only for sources that are new or were first detected elsewhere than before.
    """
    table = recomputed.sources if recomputed else None
    old = epochs.limits
    limits = dict(old)
    source = table["id"].to_numpy() if table is not None else _NO_HASHES
    fresh = np.ones(len(source), dtype=bool)
    if table is not None and not all_again and len(before):
        at = np.minimum(np.searchsorted(before["id"].to_numpy(), source), len(before) - 1)
        fresh = ~(
            (before["id"].to_numpy()[at] == source)
            & (before["first_ra_deg"].to_numpy()[at] == table["first_ra_deg"].to_numpy())
            & (before["first_dec_deg"].to_numpy()[at] == table["first_dec_deg"].to_numpy())
        )
    again = np.union1d(source[fresh], vanished)
    _delete_limits(connection, limits, again)

    if recomputed is not None and table is not None and parameters.upper_limits and len(images):
        first = table[["first_ra_deg", "first_dec_deg"]].set_axis(["ra_deg", "dec_deg"], axis=1)
        others = [name for name in epochs.names if name not in set(written)]
        parts = []
        for rows, visits in ((np.arange(len(table)), list(written)), (np.flatnonzero(fresh), others)):
            columns = [epochs.names.index(name) for name in visits]
            seen = recomputed.seen[rows[:, None], columns]
            part = uncovered_detections(first.iloc[rows], images, seen, visits, coverage)
            part["source"] = rows[part["source"].to_numpy(dtype=np.intp)]
            parts.append(part)
        found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        found = _insert_limits(connection, found, table, images, parameters)
        for name, chosen in found.groupby("epoch", sort=False):
            limits[str(name)] = np.union1d(limits[str(name)], chosen["hash"].to_numpy())
    stored = TABLES["epoch_limits"]
    for name, present in limits.items():
        if not np.array_equal(present, old[name]):
            data = np.ascontiguousarray(present, dtype="<u8").tobytes()
            connection.execute(sa.update(stored).where(stored.c.epoch == name).values(sources=data))
    if table is not None:
        everything = np.concatenate([_NO_HASHES, *limits.values()])
        counted, count = np.unique(everything, return_counts=True)
        table["n_limits"] = pd.Series(count, index=counted).reindex(source, fill_value=0).to_numpy(dtype=np.int64)


def _limit_ids(source: Hashes, epoch: npt.NDArray) -> npt.NDArray:
    """Ids of the upper limits of sources in epochs."""
    return to_hex(mix(mix(hash_text(["upper limit"])[0], source), hash_text(epoch)))


def _delete_limits(connection: Connection, limits: dict[str, Hashes], sources: Hashes) -> None:
    """Remove the limits of some sources in all epochs that have them."""
    if not len(sources):
        return
    for name, present in limits.items():
        gone = np.intersect1d(present, sources)
        if not len(gone):
            continue
        rows = [(name, i) for i in _limit_ids(gone, np.full(len(gone), name, dtype=object))]
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        for table in ("associations", "measurements"):
            connection.exec_driver_sql(
                f"DELETE FROM {table} WHERE epoch = {mark} AND measurement_id = {mark}",  # noqa: S608
                rows,
            )
        limits[name] = np.setdiff1d(present, gone)


def _insert_limits(
    connection: Connection, found: pd.DataFrame, table: pd.DataFrame, images: pd.DataFrame, parameters: Variability
) -> pd.DataFrame:
    """Limits as rows of `measurements`: no flux, only the limit. Adds the sources' hashes to the frame."""
    source = found["source"].to_numpy(dtype=np.intp)
    found = found.assign(
        hash=table["id"].to_numpy()[source],
        measurement_id=_limit_ids(table["id"].to_numpy()[source], found["epoch"].to_numpy(dtype=object)),
    )
    ra, dec = table["first_ra_deg"].to_numpy()[source], table["first_dec_deg"].to_numpy()[source]
    rows = pd.DataFrame(
        {
            "epoch": found["epoch"],
            "measurement_id": found["measurement_id"],
            "image": found["image"],
            "mjd": images["mjd"].to_numpy()[found["image_row"].to_numpy(dtype=np.intp)],
            "ra_deg": ra,
            "dec_deg": dec,
            "healpix": healpix_cells(ra, dec),
            "forced": False,
            "is_limit": True,
            "upper_limit_mjy_beam": parameters.upper_limit_sigma * found["rms_mjy_beam"].to_numpy(dtype=float),
        }
    )
    bulk.insert(connection, TABLES["measurements"], rows.sort_values(["epoch", "measurement_id"]))
    members = pd.DataFrame(
        {
            "source_id": to_hex(found["hash"].to_numpy()),
            "measurement_id": found["measurement_id"],
            "epoch": found["epoch"],
            "copied": False,
        }
    )
    bulk.insert(connection, TABLES["associations"], members.sort_values(_ASSOCIATION_KEY))
    return found


# Aliases and matches --------------------------------------------------------------------------------------------------


def _write_aliases(
    connection: Connection,
    vanished: Hashes,
    alive: Hashes,
    old_blocks: Mapping[str, Block],
    new_blocks: Mapping[str, Block],
) -> int:
    """Say where the measurements of vanished sources went. Returns the number of aliases added.

    A source may lose its measurements in one transaction and its last ones, with a deleted epoch, in a later one: where
    they went is noted at once, as an alias of a source that is not gone.
    """
    table = TABLES["source_aliases"]
    known = connection.execute(sa.select(table.c.alias).limit(1)).first()
    if not old_blocks and not known:
        return 0
    old, new = _members(old_blocks), _members(new_blocks)
    stayed = old.merge(new, on=["source", "measurement"])
    lost = old.merge(stayed, how="left", indicator=True)
    lost = lost[lost["_merge"] == "left_only"].drop(columns="_merge")
    joined = new.merge(stayed, how="left", indicator=True)
    gained = np.unique(joined.loc[joined["_merge"] == "left_only", "source"].to_numpy())
    if len(alive) and known:
        # A source that is back needs no alias; nor does one that has measurements again.
        for chosen, which in ((alive, "gone"), (np.intersect1d(gained, alive), "NOT gone")):
            name = bulk.set_of_ids(connection, "touched", to_hex(chosen))
            connection.exec_driver_sql(
                f"DELETE FROM source_aliases WHERE {which} AND alias IN (SELECT id FROM {name})"  # noqa: S608
            )
    moved = lost.merge(new, on="measurement", suffixes=("", "_now"))
    votes = moved.groupby(["source", "source_now"], as_index=False).size()
    votes = votes.sort_values(["source", "size", "source_now"], ascending=[True, False, True])
    heirs = votes.drop_duplicates("source")
    heir = dict(zip(to_hex(heirs["source"].to_numpy()), to_hex(heirs["source_now"].to_numpy()), strict=True))
    gone = to_hex(vanished)
    noted = {row.alias: row.source_id for row in connection.execute(sa.select(table)).all()} if len(gone) else {}
    rows = [(alias, heir.get(alias, noted.get(alias)), True) for alias in gone]
    vanished_ids = set(gone)
    rows += [(alias, source, False) for alias, source in heir.items() if alias not in vanished_ids]
    present = {alias: source for alias, source, is_gone in rows if is_gone}
    for alias, source in present.items():
        connection.execute(sa.update(table).where(table.c.source_id == alias).values(source_id=source))
    rows = [(alias, present.get(source, source), is_gone) for alias, source, is_gone in rows]
    bulk.upsert(connection, table, pd.DataFrame(rows, columns=["alias", "source_id", "gone"]))
    connection.execute(sa.delete(table).where(table.c.alias == table.c.source_id))
    _follow_births(connection, new)
    return len(gone)


def _follow_births(connection: Connection, new: pd.DataFrame) -> None:
    """Give an alias that had nothing left the source which now has the measurement that gave birth to it."""
    table = TABLES["source_aliases"]
    lost = connection.execute(sa.select(table.c.alias).where(table.c.source_id.is_(None), table.c.gone)).scalars().all()
    if not lost or not len(new):
        return
    births = source_hashes(new["measurement"].to_numpy())
    back = new.assign(birth=births)[np.isin(births, from_hex(lost))].sort_values("source").drop_duplicates("birth")
    if len(back):
        connection.execute(
            sa.update(table).where(table.c.alias == sa.bindparam("which")).values(source_id=sa.bindparam("heir")),
            [
                {"which": which, "heir": heir}
                for which, heir in zip(to_hex(back["birth"].to_numpy()), to_hex(back["source"].to_numpy()), strict=True)
            ],
        )


def _members(blocks: Mapping[str, Block]) -> pd.DataFrame:
    """(source, measurement) of some blocks."""
    parts = [table.select(["source", "measurement"]) for b in blocks.values() for table in (b.points, b.copied)]
    if not parts:
        return pd.DataFrame({"source": _NO_HASHES, "measurement": _NO_HASHES})
    return pa.concat_tables(parts).to_pandas().drop_duplicates(ignore_index=True)


def write_matches(connection: Connection, matching: SourceMatching | None) -> None:
    """Match all sources again: a match depends on the sources around it, and on how many have none."""
    catalogs, matches = TABLES["reference_catalogs"], TABLES["cross_matches"]
    connection.execute(sa.delete(matches))
    names = list(matching.catalogs["name"]) if matching else []
    connection.execute(sa.delete(catalogs).where(catalogs.c.name.not_in(names)))
    if not matching or not names:
        return
    present = [name for name in ("name", "freq_mhz", "beam_arcsec", "version") if name in matching.catalogs]
    bulk.upsert(connection, catalogs, matching.catalogs[present])
    rows = cross_match_table(matching, sources_to_match(connection), overrides(connection), aliases(connection))
    bulk.insert(connection, matches, rows)


def rematch(connection: Connection, matching: SourceMatching) -> None:
    """Match all sources again, such as after a person's decision."""
    _set_recomputed_with(connection, "matching", matching.version)
    write_matches(connection, matching)


def sources_to_match(connection: Connection) -> pd.DataFrame:
    """All sources as `match_sources` takes them, and `first_mjd`."""
    table = TABLES["sources"]
    names = [
        "ra_deg",
        "dec_deg",
        "uncertainty_ew_arcsec",
        "uncertainty_ns_arcsec",
        "freq_mhz",
        "beam_arcsec",
        "first_mjd",
    ]
    flux = sa.func.coalesce(table.c.flux_int_mjy, table.c.flux_peak_mjy_beam)
    query = sa.select(table.c.id, *(table.c[name] for name in names), flux).order_by(table.c.id)
    frame = bulk.fetch(connection, query).set_axis(["source_id", *names, "flux_mjy"], axis=1)
    return frame.astype(dict.fromkeys((*names, "flux_mjy"), float)).astype({"source_id": "str"})


def cross_match_table(
    matching: SourceMatching, sources: pd.DataFrame, decided: pd.DataFrame, aliases: pd.DataFrame
) -> pd.DataFrame:
    """Rows of `cross_matches`: candidates with people's decisions on top."""
    decided = decided[decided["catalog"].isin(set(matching.catalogs["name"]))]
    candidates = matching.match(sources.drop(columns="first_mjd"), accepted_pairs(decided, aliases))
    candidates = apply_overrides(candidates, decided, aliases)
    known = candidates["source_id"].isin(sources["source_id"])
    candidates = candidates[known].rename(columns={"catalog": "catalog_type", "quality": "match_quality"})
    source = candidates["source_id"].to_numpy(dtype=object)
    key = mix(mix(from_hex(source), hash_text(candidates["catalog_type"])), hash_text(candidates["catalog_source_id"]))
    born = sources.set_index("source_id")["first_mjd"].reindex(candidates["source_id"]).to_numpy()
    rows = candidates.assign(id=to_hex(key), created_at=iso_times(born))
    columns = [name for name in list(TABLES["cross_matches"].columns.keys()) if name in rows]
    return rows[columns].sort_values(["source_id", "catalog_type", "rank"], ignore_index=True)


def overrides(connection: Connection) -> pd.DataFrame:
    """What people decided, in the order they did."""
    table = TABLES["match_overrides"]
    names = ["source_id", "catalog", "catalog_source_id", "action", "comment", "created_at"]
    query = sa.select(*(table.c[name] for name in names)).order_by(table.c.created_at, table.c.id)
    return bulk.fetch(connection, query).astype("str")


def aliases(connection: Connection) -> pd.DataFrame:
    table = TABLES["source_aliases"]
    query = sa.select(table.c.alias, table.c.source_id).where(table.c.source_id.is_not(None), table.c.gone)
    return bulk.fetch(connection, query).astype("str")
