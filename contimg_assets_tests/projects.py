"""Small projects for tests: a simulated survey in a temporary folder, and what its products hold."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import yaml

from contimg_assets.cli.demo import demo_configuration
from contimg_assets.cli.templates import write_templates
from contimg_assets.config import FILE_NAME, load_config
from contimg_assets.database.models import TABLES
from contimg_assets.orchestration.runs.in_process import Report, bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.staleness import of_survey, work_to_do
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.instances import instance_in_memory

_COMPUTE_LOGS = r"(?m)^compute_logs:\n(  .*\n)+"
_NO_COMPUTE_LOGS = """compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
SMALL = SurveyParameters(n_epochs=4, images_per_epoch=3, n_sources=250, n_transients=3, seed=5)


@dataclass
class TestProject:
    """A project folder with a survey to deliver from."""

    __test__ = False

    folder: Path
    survey: Path

    @property
    def project(self) -> Project:
        return Project(load_config(self.folder / FILE_NAME))

    @property
    def epochs(self) -> list[str]:
        """Epochs of the survey, in time order (their names are their times)."""
        return sorted(path.name for path in (self.survey / "incoming").iterdir())

    def deliver(self, *epochs: str) -> None:
        for epoch in epochs or self.epochs:
            shutil.copytree(self.survey / "incoming" / epoch, self.folder / "incoming" / epoch, dirs_exist_ok=True)

    def configure(self, **sections: Any) -> None:
        """Write the configuration: the survey's catalogs and these sections."""
        content = demo_configuration(SMALL) | sections
        (self.folder / FILE_NAME).write_text(yaml.safe_dump(content), encoding="utf-8")

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """In memory, for speed; tests of `dagster.yaml` open the instance on disk."""
        return instance_in_memory()

    def run(self, epochs: Iterable[str] | None = None, *, force: bool = False) -> Report:
        return bring_up_to_date(self.project, self.instance, None if epochs is None else set(epochs), force=force)

    def rows(self) -> dict[str, pd.DataFrame]:
        """All rows of all tables of the products database."""
        with self.project.products as database:
            return {name: database.read_table(name) for name in sorted(TABLES)}

    def materialized(self, asset: str) -> list[str]:
        """Epochs of an asset's materialization events, oldest first."""
        filter_ = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset.split("/")))
        records = self.instance.fetch_materializations(filter_, limit=1000, ascending=True).records
        return [record.partition_key for record in records if record.partition_key]


def make_project(folder: Path, survey: Path) -> TestProject:
    """A project without deliveries that knows the survey's catalogs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_templates(folder)
    without_compute_logs(folder)
    (folder / "incoming").mkdir(exist_ok=True)
    if not (folder / "catalogs").exists():
        shutil.copytree(survey / "catalogs", folder / "catalogs")
    project = TestProject(folder, survey)
    project.configure()
    return project


def without_compute_logs(folder: Path) -> None:
    """Let Dagster keep nothing of what steps print: for each of them it starts four processes that copy it."""
    settings = folder / "dagster.yaml"
    shown = settings.read_text(encoding="utf-8")
    assert re.search(_COMPUTE_LOGS, shown)
    settings.write_text(re.sub(_COMPUTE_LOGS, _NO_COMPUTE_LOGS, shown), encoding="utf-8")


def make_survey(folder: Path) -> Path:
    """The small survey that most tests of the flow use."""
    simulate_survey(folder, SMALL)
    return folder


def stale_tables(project: Project) -> list[str]:
    """Keys of the survey's tables that are missing or stale: reference catalogs, scales between epochs."""
    return list(work_to_do(of_survey(project.assess()))["stage"])


def assert_same_rows(
    got: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame], without: Iterable[str] = ()
) -> None:
    """Every table has the same rows, bit for bit."""
    assert set(got) == set(expected)
    for name in set(expected) - set(without):
        pd.testing.assert_frame_equal(got[name], expected[name], check_exact=True, obj=f"table {name}")
