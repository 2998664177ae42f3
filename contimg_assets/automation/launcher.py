"""The launcher's old address: it stands in the `dagster.yaml` of every project made before the modules moved."""

from contimg_assets.orchestration.runs.launcher import LocalRunLauncher

__all__ = ["LocalRunLauncher"]
