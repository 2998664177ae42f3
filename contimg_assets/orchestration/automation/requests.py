"""The reconciler's findings as Dagster runs: shared by the sensor that catches leftovers and the nightly schedule."""

import hashlib
import json
from collections.abc import Iterable

import dagster as dg
import pandas as pd

from contimg_assets.catalogs.store import catalog_file
from contimg_assets.orchestration.assets import EPOCH_SCALES_KEYS, stage_keys
from contimg_assets.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, register_epochs
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.staleness import State, stretches_to_make
from contimg_assets.pipeline.survey_files import damage_mark
from contimg_assets.pipeline.survey_tables import catalog_input_version, epoch_scales_file, scales_input_version
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.corrections import EPOCH_SCALES


def work_to_do(assessment: pd.DataFrame) -> pd.DataFrame:
    """Rows of an assessment that a run can put right: missing or stale, and not failed or waiting."""
    return assessment[assessment["state"].isin([State.STALE, State.MISSING])]


def runs_to_launch(
    instance: dg.DagsterInstance, assessment: pd.DataFrame, in_order: list[str], label: str
) -> list[dg.RunRequest]:
    """One run per stretch of epochs that need the same stages, with run keys that begin with ``label``."""
    register_epochs(instance, in_order)
    return [
        dg.RunRequest(
            run_key=f"{label} {stretch.stages[0]} {stretch.epochs[0]}..{stretch.epochs[-1]}",
            asset_selection=stage_keys(stretch.stages),
            tags={RANGE_START_TAG: stretch.epochs[0], RANGE_END_TAG: stretch.epochs[-1]},
        )
        for stretch in stretches_to_make(assessment, in_order)
    ]


def tables_to_launch(project: Project) -> tuple[list[dg.RunRequest], str]:
    """A run for each table of no epoch that is stale, once per version, and a sentence about files that are missing.

    These are reference catalogues and the scales between epochs.
    """
    requests = [
        dg.RunRequest(
            run_key=f"reference/{name} {catalog_input_version(project.config, name)}"
            + damage_mark(catalog_file(project.config, name), REFERENCE),
            asset_selection=[dg.AssetKey(["reference", name])],
        )
        for name in project.stale_catalogs()
    ]
    if project.stale_epoch_scales():
        version = scales_input_version(project.config, project.store)
        version += damage_mark(epoch_scales_file(project.config.store), EPOCH_SCALES)
        requests.append(dg.RunRequest(run_key=f"epoch_scales {version}", asset_selection=EPOCH_SCALES_KEYS))
    return requests, "; ".join(project.missing_catalogs().values())


def digest(lines: Iterable[object]) -> str:
    """Short name of some lines, the same for the same lines."""
    return hashlib.blake2b(json.dumps(list(lines), default=str).encode(), digest_size=6).hexdigest()
