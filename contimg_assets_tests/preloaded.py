"""All that a run imports. Fork servers of tests import it once, where each of the processes they fork would again.

Assets are looked up by name when definitions are built, so that importing `contimg_assets.definitions` leaves most of
it to the run: two fifths of the time of a small one.
"""

import importlib
import pkgutil

import pyarrow.dataset
import upath

from contimg_assets import database, orchestration, pipeline

__all__ = ["database", "orchestration", "pipeline", "pyarrow", "upath"]

for room in (orchestration, pipeline, database):
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        if ".migrations." not in module.name:
            importlib.import_module(module.name)
