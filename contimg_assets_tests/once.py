"""What several workers of one test run need and none of them changes: one makes it, the others find it made."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contimg_assets.files.locks import one_at_a_time


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all workers see; who comes while another one makes it waits.

    Parameters
    ----------
    factory : of the worker; its folder lies in that of the whole run
    name : of the folder, the same in all workers
    make : fills the folder, which is not there before
    """
    own = factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"
    root.mkdir(exist_ok=True)
    folder, lock, done = (root / name, *(root / f"{name}.{kind}" for kind in ("lock", "done")))
    lock.touch()
    with one_at_a_time(lock):
        if not done.exists():
            # Half made by one whose attempt failed.
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder
