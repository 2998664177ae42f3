"""Is what the store holds what was written? Hashes every table and compares it with the version in its name.

A file of the right size with wrong bytes, from a dying disk or a careless copy, shows in nothing but this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from contimg_assets.catalogs.store import TILES, catalog_file, content_version, stored_schema
from contimg_assets.files import writing_to
from contimg_assets.identity.versions import version_of_table
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import EPOCH_STAGES, RAW_DETECTIONS
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.pipeline.store_home import Home, InFolder
from contimg_assets.pipeline.survey_files import CONTENT, read_whole, stated
from contimg_assets.pipeline.survey_tables import epoch_scales_file
from contimg_assets.pipeline.table_files import read_table
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.corrections import EPOCH_SCALES
from contimg_assets.schemas.described import METADATA_PREFIX

OnFile = Callable[[Path], None]


@dataclass(frozen=True)
class Fault:
    """A damaged file of the store.

    Parameters
    ----------
    file : which; of a store at a URL the URL of an object
    what : is wrong with it
    stage, epoch : that it belongs to; empty for tables of no epoch
    lasting : why it cannot be made again, with the cure; empty where it can
    """

    file: str
    what: str
    stage: str = ""
    epoch: str = ""
    lasting: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" + (f"; {self.lasting}" if self.lasting else "")


def check_store(project: Project, on_file: OnFile = lambda file: None) -> list[Fault]:
    """Every damaged file among those that records name, and among the tables of no epoch.

    Parameters
    ----------
    on_file : called with each file before it is read
    """
    delivered = {delivery.epoch for delivery in project.deliveries()}
    faults = []
    for fault in (*_of_epochs(project.store, on_file), *_of_survey(project, on_file)):
        lasting = ""
        if fault.stage == RAW_DETECTIONS.name and fault.epoch not in delivered:
            lasting = "its delivery is gone: deliver the epoch again, or put the file back from a backup"
        faults.append(Fault(fault.file, fault.what, fault.stage, fault.epoch, lasting))
    return faults


def mend_store(project: Project, faults: Sequence[Fault]) -> list[Fault]:
    """Let what is damaged count as never made, so that the next run makes it; return what cannot be made again."""
    for fault in faults:
        if fault.lasting:
            continue
        if fault.epoch:
            project.store.discard(fault.stage, fault.epoch)
        else:
            file = Path(fault.file)
            with writing_to(file):
                file.unlink(missing_ok=True)
            project.store.home.forget([file])
    return [fault for fault in faults if fault.lasting]


def _of_epochs(store: EpochStore, on_file: OnFile) -> Iterator[Fault]:
    for stage in EPOCH_STAGES:
        for epoch in store.epochs(stage.name) if stage.tables else ():
            yield from _of_epoch(store, stage.name, epoch, on_file)
        yield from _of_parts(store, stage.name, on_file)


def _of_parts(store: EpochStore, stage: str, on_file: OnFile) -> Iterator[Fault]:
    """Damaged parts of what is carried from epoch to epoch, once for each epoch that names them."""
    for file, epochs in sorted(store.named_parts(stage).items()) if stage in store.stages else ():
        on_file(file)
        what = _difference(file, file.stem.rsplit("-", 1)[-1], version_of_table, store.home)
        if what is not None:
            yield from (Fault(store.home.shown(file), what, stage, epoch) for epoch in epochs)


def _of_epoch(store: EpochStore, stage: str, epoch: str, on_file: OnFile) -> list[Fault]:
    while True:
        record = store.record(stage, epoch)
        faults = _of_record(store, stage, epoch, record, on_file)
        # One that was replaced while it was read is looked at again.
        if not faults or record == store.record(stage, epoch) or store.damage(stage, epoch) is not None:
            return faults


def _of_record(store: EpochStore, stage: str, epoch: str, record: EpochRecord | None, on_file: OnFile) -> list[Fault]:
    folder = store.root / stage / epoch
    if record is None:
        damage = store.damage(stage, epoch)
        return [Fault(str(folder), damage.fault, stage, epoch)] if damage else []
    faults = []
    for table in record.tables.values():
        file = folder / table.file
        on_file(file)
        what = _difference(file, table.version, version_of_table, store.home)
        if what is not None:
            faults.append(Fault(store.home.shown(file), what, stage, epoch))
    return faults


def _of_survey(project: Project, on_file: OnFile) -> Iterator[Fault]:
    files = [(catalog_file(project.config, name), "version", REFERENCE) for name in project.config.catalogs]
    for file, key, schema in (*files, (epoch_scales_file(project.config.store), CONTENT, EPOCH_SCALES)):
        if not file.exists():
            continue
        on_file(file)
        version = stated(file, key)
        if stored_schema(file) is None or read_whole(file, schema) is None:
            yield Fault(str(file), "it cannot be read, or is not such a table")
        elif version is not None:
            of_content = _catalog_version if schema is REFERENCE else version_of_table
            what = _difference(file, version, of_content, InFolder())
            if what is not None:
                yield Fault(str(file), what)


def _catalog_version(table: pa.Table) -> str:
    """Version of a catalog's content, with the frequency and the beam that it states of itself."""
    metadata = table.schema.metadata
    if METADATA_PREFIX + TILES.encode() in metadata:
        # Its rows are where it was delivered, and not of the store.
        return str(metadata[METADATA_PREFIX + b"version"].decode())
    freq_mhz, beam_arcsec = (float(metadata[METADATA_PREFIX + key]) for key in (b"freq_mhz", b"beam_arcsec"))
    return content_version(table, freq_mhz, beam_arcsec)


def _difference(file: Path, version: str, version_of: Callable[[pa.Table], str], home: Home) -> str | None:
    """What differs between a file, as it is at home, and the version that its content should have; None if nothing."""
    try:
        home.renew(file)
        found = version_of(home.read(file, read_table))
    except FileNotFoundError:
        return "it is gone"
    except (OSError, pa.ArrowException) as error:
        said = str(error).split("\n", maxsplit=1)[0][:200]
        return f"it cannot be read ({said})"
    return None if found == version else "its content is not what was written"
