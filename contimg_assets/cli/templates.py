"""The files that make a folder a project: `dagster.yaml` and `workspace.yaml`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

TEMPLATES = ("dagster.yaml", "workspace.yaml")


def write_templates(folder: Path) -> list[Path]:
    """Put `dagster.yaml` and `workspace.yaml` into a project's folder, leaving what is there; return what is new."""
    written = []
    for name in TEMPLATES:
        target = folder / name
        if not target.exists():
            target.write_text(
                resources.files("contimg_assets.cli").joinpath("project_files", name).read_text(encoding="utf-8"),
                encoding="utf-8",
            )
            written.append(target)
    return written
