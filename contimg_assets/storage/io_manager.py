"""The one IO manager: stages hand their epochs to it, and get lazy views of what other stages made from it.

A run may take a thousand epochs, so neither side holds them all: an asset stages each epoch as it is made, and reads
the upstream epoch it needs when it needs it.
"""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
from pydantic import PrivateAttr

from contimg_assets.catalogs.store import ReferenceCatalog, write_catalog
from contimg_assets.flow import STAGES
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
    """Tables as Parquet files, replaced atomically: epochs with their records, and reference catalogues."""

    root: str

    _epochs: EpochStore | None = PrivateAttr(default=None)

    @property
    def epochs(self) -> EpochStore:
        if self._epochs is None:
            self._epochs = open_store(self.root)
        return self._epochs

    def handle_output(self, context: dg.OutputContext, obj: Sequence[EpochRecord] | pa.Table) -> None:
        """Commit the epochs that a stage staged, or write a reference catalogue."""
        if isinstance(obj, pa.Table):
            write_catalog(obj, self._catalog_file(context.asset_key))
            return
        for record in obj:
            self.epochs.commit(record)

    def load_input(self, context: dg.InputContext) -> StoredEpochs | ReferenceCatalog:
        key = context.asset_key
        if key.path[0] == "reference":
            return ReferenceCatalog(key.path[-1], self._catalog_file(key))
        return StoredEpochs(self.epochs, key.path[-1])

    def _catalog_file(self, key: dg.AssetKey) -> Path:
        return Path(self.root, *key.path).with_suffix(".parquet")


def open_store(root: str) -> EpochStore:
    """The store of all stages below a folder."""
    return EpochStore(Path(root), {stage.name: stage.tables for stage in STAGES if stage.tables})
