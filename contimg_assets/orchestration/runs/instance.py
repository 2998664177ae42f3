"""The Dagster instance of a project: the one that `dagster dev` in its folder uses, with no variable set by hand."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg

from contimg_assets.errors import ConfigError

try:
    import fcntl
except ImportError:  # not on every system; there, two first runs at once remain a risk
    fcntl = None  # type: ignore[assignment]

_SETTINGS = "dagster.yaml"


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of the project in ``folder``: $DAGSTER_HOME's where that is set, else as its `dagster.yaml` says.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    if home := os.environ.get("DAGSTER_HOME"):
        with _one_at_a_time(Path(home) / _SETTINGS):
            return dg.DagsterInstance.get()
    if not (folder / _SETTINGS).exists():
        raise ConfigError(f"{folder}: no dagster.yaml here; `contimg init` makes this folder a project")
    with _one_at_a_time(folder / _SETTINGS):
        return dg.DagsterInstance.from_config(str(folder))


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    """Wait for other processes in such a block on this file.

    Dagster makes its storage when it is first opened. Two processes that do so at once write its version twice, and
    then nobody can open it again.
    """
    if fcntl is None or not file.exists():
        yield
        return
    with file.open("rb") as settings:
        # Some file systems have no locks; what is nearly always there already needs none.
        with suppress(OSError):
            fcntl.flock(settings, fcntl.LOCK_EX)
        yield
