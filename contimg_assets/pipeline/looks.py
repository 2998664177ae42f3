"""What there is of every epoch of a stage at one moment, without opening what was seen before.

A first look opens the record of every epoch and looks at every file that it names. What it found stays in this
process's memory with the signature of the epoch's folder: whoever makes, fails or deletes an epoch renames or removes
a file there, and the signature is another one. So a later look costs one question for each epoch's folder. What changes
inside a file without that, such as one that is cut off by a fault of the disk, is seen by the next *thorough* look.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from contimg_assets.identity.epochs import is_epoch_key
from contimg_assets.pipeline.file_cache import Signature, has_settled, signature_of
from contimg_assets.pipeline.record_index import index_file, read_index, write_index
from contimg_assets.pipeline.records import RECORD, EpochRecord, Look, Memory

# An index is written again when so many records, or such a share, are not in it: it is longer than they are.
_LEAST_NEW, _SHARE_NEW = 32, 0.05


def look_at(
    root: Path, stage: str, memory: Memory, look_into: Callable[[str, Signature], Look], thorough: bool = False
) -> dict[str, Look]:
    """What there is of every epoch of a stage, by epoch.

    Parameters
    ----------
    root : folder of the store
    memory : what this process has seen of it
    look_into : looks at every file of an epoch, given the signature that its folder had just before
    thorough : whether that is done also where nothing came or went since the last look
    """
    folder = f"{root}{os.sep}{stage}"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - thousands of names
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if stage not in memory.looks:
        _take_index(folder, index_file(root, stage), memory)
    before, n_parsed = memory.looks.get(stage, {}), memory.records.n_parsed
    found: dict[str, Look] = {}
    settled: dict[str, Look] = {}
    for name in names:
        try:
            status = os.stat(f"{folder}{os.sep}{name}")  # noqa: PTH116 - thousands of times
        except OSError:  # it is gone meanwhile, or leads nowhere
            continue
        look, signature = before.get(name), signature_of(status)
        if look is None or look.signature != signature or thorough:
            if not is_epoch_key(name):
                continue
            look = look_into(name, signature)
        found[name] = look
        if has_settled(status.st_mtime, time.time()):
            settled[name] = look
    memory.looks[stage] = settled
    n_new = memory.unindexed.get(stage, 0) + memory.records.n_parsed - n_parsed
    memory.unindexed[stage] = n_new
    if n_new >= max(_LEAST_NEW, _SHARE_NEW * len(settled)):
        _keep_index(folder, index_file(root, stage), memory, settled)
        memory.unindexed[stage] = 0
    return found


def _record_file(folder: str, epoch: str) -> str:
    return f"{folder}{os.sep}{epoch}{os.sep}{RECORD}"


def _take_index(folder: str, file: Path, memory: Memory) -> None:
    """Know the records that an index holds, as far as their files are still the same."""
    for epoch, (signature, record) in read_index(file).items():
        path = _record_file(folder, epoch)
        if memory.records.known(path) is None:
            memory.records.remember(path, signature, record)


def _keep_index(folder: str, file: Path, memory: Memory, looks: Mapping[str, Look]) -> None:
    known = {epoch: memory.records.known(_record_file(folder, epoch)) for epoch in looks}
    sound = {
        epoch: (one[0], one[1]) for epoch, one in known.items() if one is not None and isinstance(one[1], EpochRecord)
    }
    write_index(file, sound)
