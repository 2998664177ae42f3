"""The Dagster instance of a project: the one that `dagster dev` in its folder uses, with no variable set by hand."""

import os
from pathlib import Path

import dagster as dg

from contimg_assets.errors import ConfigError


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of the project in ``folder``: $DAGSTER_HOME's where that is set, else as its `dagster.yaml` says.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    if not (folder / "dagster.yaml").exists():
        raise ConfigError(f"{folder}: no dagster.yaml here; `contimg init` makes this folder a project")
    return dg.DagsterInstance.from_config(str(folder))
