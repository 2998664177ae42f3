"""One table of all epochs, read from files that hold many epochs each, so that one epoch more costs one epoch.

A copy of what the store holds and nothing else: each file is named by the tables that it was copied from, so that a
changed epoch finds no copy; one that is damaged or gone is read from the store again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets.files import reading_from, replacing, writing_to
from contimg_assets.identity.versions import combine_versions
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.store import EpochStore

FOLDER = "gathered"
EPOCH = "epoch"
_EPOCHS_IN_FILE = 64
# What is read in this way was checked when it was first read.
_COMPRESSION = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}


def gathered_table(
    store: EpochStore, records: Mapping[str, EpochRecord], table: str, columns: Sequence[str]
) -> pa.Table | None:
    """Columns of one table of many epochs, and a column ``epoch``; None where there is no epoch.

    Parameters
    ----------
    records : of one stage, by epoch, in time order
    """
    stages = sorted({record.stage for record in records.values()})
    prefix = "-".join([*stages, table, combine_versions(*columns)])
    folder = store.root / FOLDER
    parts: list[pa.Table] = []
    used: set[str] = set()
    for group, complete in _groups(records):
        versions = (f"{record.epoch}={record.tables[table].version}" for record in group if table in record.tables)
        file = folder / f"{prefix}-{combine_versions(*versions)}.parquet"
        copied = _copy(file) if complete else None
        parts.append(_read(store, group, table, columns, file if complete else None) if copied is None else copied)
        used.add(file.name)
    for file in folder.glob(f"{prefix}-*.parquet"):
        if file.name not in used:
            file.unlink(missing_ok=True)
    return pa.concat_tables(parts) if parts else None


def _read(
    store: EpochStore, group: Sequence[EpochRecord], table: str, columns: Sequence[str], file: Path | None
) -> pa.Table:
    """The table of some epochs from the store, copied into a file where one is named."""
    try:
        found = pa.concat_tables(_of_epoch(store.read_recorded(one, table, columns), one.epoch) for one in group)
    except FileNotFoundError:
        # An epoch was made again meanwhile: what it holds now is no copy of what the record tells of.
        return pa.concat_tables(
            _of_epoch(store.read_arrow(one.stage, one.epoch, table, columns), one.epoch) for one in group
        )
    if file is not None:
        _keep(found, file)
    return found


def _groups(records: Mapping[str, EpochRecord]) -> Iterator[tuple[list[EpochRecord], bool]]:
    """Epochs that follow each other, and whether another one at the end would leave them as they are.

    A group ends at epochs that their names choose, so that one that comes late or goes changes one group.
    """
    group: list[EpochRecord] = []
    for record in records.values():
        group.append(record)
        if _ends_group(record.epoch):
            yield group, True
            group = []
    if group:
        yield group, False


def _ends_group(epoch: str) -> bool:
    digest = hashlib.blake2b(epoch.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % _EPOCHS_IN_FILE == 0


def _of_epoch(table: pa.Table, epoch: str) -> pa.Table:
    named = table.append_column(EPOCH, pa.repeat(pa.scalar(epoch, pa.string()), table.num_rows))
    return named.replace_schema_metadata()


def _copy(file: Path) -> pa.Table | None:
    """What was copied before; None where there is nothing or nothing sound."""
    try:
        with reading_from(file):
            return pq.read_table(file, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None


def _keep(table: pa.Table, file: Path) -> None:
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, kept=False) as temporary:
            pq.write_table(table, temporary, **_COMPRESSION)
