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
from contimg_assets.identity.versions import version_of_table
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.store import EpochStore, StoredEpochs, open_store
from contimg_assets.pipeline.survey_files import CONTENT
from contimg_assets.pipeline.survey_tables import read_epoch_scales
from contimg_assets.schemas.corrections import EPOCH_SCALES
from contimg_assets.schemas.described import describe


class EpochParquetIOManager(dg.ConfigurableIOManager):
    """Tables as Parquet files, replaced atomically: epochs with their records, and tables of the whole survey."""

    root: str
    url: str | None = None
    copy_bytes: int | None = None

    _epochs: EpochStore | None = PrivateAttr(default=None)

    @property
    def epochs(self) -> EpochStore:
        if self._epochs is None:
            self._epochs = open_store(Path(self.root), self.url, self.copy_bytes)
        return self._epochs

    def handle_output(self, context: dg.OutputContext, obj: Sequence[EpochRecord] | pa.Table) -> None:
        """Commit the epochs that a stage staged, or write the one table of an asset without epochs."""
        if isinstance(obj, pa.Table):
            file = self._file(context.asset_key)
            write_catalog(describe(obj, {CONTENT: version_of_table(obj)}), file)
            self.epochs.home.share(file)
            return
        self.epochs.commit_all(obj)

    def load_input(self, context: dg.InputContext) -> StoredEpochs | ReferenceCatalog | pd.DataFrame:
        # Opened first: of a store at a URL, that brings what others wrote, tables of the whole survey too.
        key, epochs = context.asset_key, self.epochs
        if key.path == [EPOCH_SCALES.name]:
            return read_epoch_scales(Path(self.root))
        if key.path[0] == "reference":
            return ReferenceCatalog(key.path[-1], self._file(key))
        return StoredEpochs(epochs, key.path[-1])

    def _file(self, key: dg.AssetKey) -> Path:
        return Path(self.root, *key.path).with_suffix(".parquet")
