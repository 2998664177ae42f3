"""The one IO manager: stages hand their epochs to it, and get lazy views of what other stages made from it.

A run may take a thousand epochs, so neither side holds them all: an asset stages each epoch as it is made, and reads
the upstream epoch it needs when it needs it.
"""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PrivateAttr

from contimg_assets.catalogs.store import ReferenceCatalog, write_catalog
from contimg_assets.flow import STAGES
from contimg_assets.schemas.corrections import EPOCH_SCALES
from contimg_assets.storage.epoch_store import EpochRecord, EpochStore


class StoredEpochs:
    """What one upstream stage holds, read on demand."""

    def __init__(self, store: EpochStore, stage: str) -> None:
        self._store = store
        self.stage = stage

    def read(self, epoch: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One table of one epoch, checked against its schema."""
        return self._store.read(self.stage, epoch, table, columns)

    def record(self, epoch: str) -> EpochRecord | None:
        return self._store.record(self.stage, epoch)


class EpochParquetIOManager(dg.ConfigurableIOManager):
    """Tables as Parquet files, replaced atomically: epochs with their records, and what is of no epoch."""

    root: str

    _epochs: EpochStore | None = PrivateAttr(default=None)

    @property
    def epochs(self) -> EpochStore:
        if self._epochs is None:
            self._epochs = open_store(self.root)
        return self._epochs

    def handle_output(self, context: dg.OutputContext, obj: Sequence[EpochRecord] | pa.Table) -> None:
        """Commit the epochs that a stage staged, or write the one table of an asset without epochs."""
        if isinstance(obj, pa.Table):
            write_catalog(obj, self._file(context.asset_key))
            return
        for record in obj:
            self.epochs.commit(record)

    def load_input(self, context: dg.InputContext) -> StoredEpochs | ReferenceCatalog | pd.DataFrame:
        key = context.asset_key
        if key.path == [EPOCH_SCALES.name]:
            return read_epoch_scales(Path(self.root))
        if key.path[0] == "reference":
            return ReferenceCatalog(key.path[-1], self._file(key))
        return StoredEpochs(self.epochs, key.path[-1])

    def _file(self, key: dg.AssetKey) -> Path:
        return Path(self.root, *key.path).with_suffix(".parquet")


def epoch_scales_file(root: Path) -> Path:
    """Where the scales between epochs are kept."""
    return (root / EPOCH_SCALES.name).with_suffix(".parquet")


def read_epoch_scales(root: Path) -> pd.DataFrame:
    """EPOCH_SCALES as stored; empty where they were never made."""
    file = epoch_scales_file(root)
    if not file.exists():
        return EPOCH_SCALES.empty()
    found = pq.read_table(file)
    EPOCH_SCALES.check(found)
    return found.to_pandas()


def open_store(root: str) -> EpochStore:
    """The store of all stages below a folder."""
    return EpochStore(Path(root), {stage.name: stage.tables for stage in STAGES if stage.tables})
