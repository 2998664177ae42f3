"""The Dagster instance of a project: the one that `dagster dev` in its folder uses, with no variable set by hand."""

import os
from pathlib import Path

import dagster as dg

from contimg_assets.errors import ConfigError
from contimg_assets.files.locks import one_at_a_time

_SETTINGS = "dagster.yaml"


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of the project in ``folder``: $DAGSTER_HOME's where that is set, else as its `dagster.yaml` says.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    # Dagster makes its storage when it is first opened. Two processes that do so at once write its version twice, and
    # then nobody can open it again.
    if home := os.environ.get("DAGSTER_HOME"):
        with one_at_a_time(Path(home) / _SETTINGS):
            return dg.DagsterInstance.get()
    if not (folder / _SETTINGS).exists():
        raise ConfigError(f"{folder}: no dagster.yaml here; `contimg init` makes this folder a project")
    with one_at_a_time(folder / _SETTINGS):
        return dg.DagsterInstance.from_config(str(folder))
