"""What a new stage takes: one entry in the table of stages, one module of assets, one folder of science."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import contimg_assets
from contimg_assets_tests.projects import make_project

_ENTRY = '    Stage("looked_at", "1", ("corrections",), ("corrections",), (CORRECTIONS,)),\n'

_MODULE = '''"""`looked_at`: the corrections once more; made to see what a stage takes."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.looked_at import unchanged
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline.chain import make_each
from contimg_assets.pipeline.outcomes import Content
from contimg_assets.pipeline.stages import STAGE as STAGES
from contimg_assets.pipeline.store import StoredEpochs

STAGE = STAGES["looked_at"]


def make(epoch: str, corrections: StoredEpochs) -> Content:
    return Content({"corrections": unchanged(corrections.read(epoch, "corrections"))})


def build(config: Config) -> list[dg.AssetsDefinition]:
    @epoch_asset(STAGE, config, automation_condition=on_upstream_change(), description="Corrections, looked at.")
    def looked_at(
        context: dg.AssetExecutionContext, corrections: StoredEpochs, store: dg.ResourceParam[EpochParquetIOManager]
    ) -> Iterator[Any]:
        work = work_of(context, STAGE, config, store.epochs)
        yield from publish(context, work, make_each(work, lambda epoch, inputs: make(epoch, corrections)))

    return [looked_at]
'''

_SCIENCE = '''"""Nothing: what a stage between the corrections and the products would do."""

import pandas as pd


def unchanged(table: pd.DataFrame) -> pd.DataFrame:
    return table
'''

_RUN = """
import json, sys
from pathlib import Path
import dagster as dg
from contimg_assets.config import load_config
from contimg_assets.definitions import build_definitions
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline import chain
from contimg_assets.pipeline.project import Project

chain.EPOCHS_DRAWN = 0
project = Project(load_config("contimg.yaml"))
graph = build_definitions(project.config).resolve_asset_graph()
report = bring_up_to_date(project, dg.DagsterInstance.ephemeral())
again = bring_up_to_date(project, dg.DagsterInstance.ephemeral())
print(json.dumps({
    "complete": report.complete,
    "errors": report.errors,
    "stages": list(dict.fromkeys(report.assessment["stage"])),
    "runs again": len(again.run_ids),
    "reads": sorted(key.to_user_string() for key in graph.get(dg.AssetKey("looked_at")).parent_keys),
    "read by": sorted(key.to_user_string() for key in graph.get(dg.AssetKey("looked_at")).child_keys),
    "rows": len(project.store.read("looked_at", project.epochs()[0], "corrections")),
    "products read": sorted(project.world().products[project.epochs()[0]].inputs),
}))
"""


@pytest.mark.slow
def test_a_stage_between_corrections_and_products(tmp_path: Path, survey: Path) -> None:
    package = Path(contimg_assets.__file__).parent
    copy = tmp_path / "code" / "contimg_assets"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    table = copy / "pipeline" / "stages.py"
    text = table.read_text(encoding="utf-8")
    before = "    ERROR_MODEL_STAGE,\n    EPOCH_SCALES_STAGE,\n"
    assert text.count(before) == 1
    table.write_text(text.replace(before, "    ERROR_MODEL_STAGE,\n" + _ENTRY + "    EPOCH_SCALES_STAGE,\n"))
    (copy / "orchestration" / "assets" / "looked_at.py").write_text(_MODULE)
    (copy / "looked_at").mkdir()
    (copy / "looked_at" / "__init__.py").write_text(_SCIENCE)

    project = make_project(tmp_path / "project", survey)
    project.deliver(*project.epochs[:2])
    environment = os.environ | {"PYTHONPATH": str(copy.parent)}
    done = subprocess.run(
        [sys.executable, "-c", _RUN], cwd=project.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["complete"], said
    assert said["stages"][:8] == [
        "raw_detections",
        "measurements",
        "associated_sources",
        "catalog_matches",
        "corrections",
        "error_model",
        "looked_at",
        "products",
    ]
    assert said["runs again"] == 0
    assert said["reads"] == ["corrections"]
    # All tables of the products are written together, once their last stage is done.
    assert "products/sources" in said["read by"]
    assert said["rows"] == 3
    assert "looked_at" in said["products read"]
