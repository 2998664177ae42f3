"""The reconciler's findings as Dagster runs: shared by the sensor that catches leftovers and the nightly schedule."""

import hashlib
import json
from collections.abc import Iterable

import dagster as dg
import pandas as pd

from contimg_assets.catalogs.store import catalog_file
from contimg_assets.orchestration.assets import SCALES_STAGES, stage_keys
from contimg_assets.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, register_epochs, registered_epochs
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.staleness import of_survey, ranges_to_make, work_to_do
from contimg_assets.pipeline.survey_files import damage_mark
from contimg_assets.pipeline.survey_tables import catalog_input_version, epoch_scales_file, scales_input_version
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.corrections import EPOCH_SCALES


def runs_to_launch(
    instance: dg.DagsterInstance, assessment: pd.DataFrame, in_order: list[str], label: str
) -> list[dg.RunRequest]:
    """One run per range of epochs that need the same stages, with run keys that begin with ``label``."""
    register_epochs(instance, in_order)
    return [
        dg.RunRequest(
            run_key=f"{label} {part.stages[0]} {part.epochs[0]}..{part.epochs[-1]}",
            asset_selection=stage_keys(part.stages),
            tags={RANGE_START_TAG: part.epochs[0], RANGE_END_TAG: part.epochs[-1]},
        )
        for part in ranges_to_make(assessment, registered_epochs(instance))
    ]


def tables_to_launch(project: Project, assessment: pd.DataFrame) -> list[dg.RunRequest]:
    """A run for each table of the whole survey that is stale, once for what it would be made from.

    Scales between epochs are solved and written into the database by one run.
    """
    stale = set(work_to_do(of_survey(assessment))["stage"])
    scales = stale & set(SCALES_STAGES)
    requests = [
        dg.RunRequest(
            run_key=f"{name} {catalog_input_version(project.config, name.partition('/')[2])}"
            + damage_mark(catalog_file(project.config, name.partition("/")[2]), REFERENCE),
            asset_selection=stage_keys([name]),
        )
        for name in sorted(stale - scales)
    ]
    if scales:
        version = scales_input_version(project.config, project.store)
        version += damage_mark(epoch_scales_file(project.config.store), EPOCH_SCALES)
        requests.append(dg.RunRequest(run_key=f"epoch_scales {version}", asset_selection=stage_keys(SCALES_STAGES)))
    return requests


def digest(lines: Iterable[object]) -> str:
    """Short name of some lines, the same for the same lines."""
    return hashlib.blake2b(json.dumps(list(lines), default=str).encode(), digest_size=6).hexdigest()
