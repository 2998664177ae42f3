"""Jobs to launch by hand, by schedule or by the reconciler."""

from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from contimg_assets.orchestration.runs.in_process import bring_up_to_date, delete_epoch
from contimg_assets.pipeline import store_check, upkeep
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import MEASUREMENTS_STAGE, RAW_DETECTIONS

OpenProject = Callable[[], Project]
MAINTENANCE, REMOVE_VANISHED = "maintenance", "remove_vanished_epochs"

EVERYTHING = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.groups("epochs", "products"),
    description="All stages of the chosen epochs, from the delivered files to the products database.",
)
INGEST_EPOCH = dg.define_asset_job(
    "ingest_epoch",
    selection=dg.AssetSelection.assets(RAW_DETECTIONS.name, MEASUREMENTS_STAGE.name),
    description="Read and check the chosen epochs' catalogs, as far as measurements.",
)
RECONCILE = dg.define_asset_job(
    "reconcile",
    selection=dg.AssetSelection.groups("reference", "epochs", "products"),
    description="What the sensor `reconciler` and the schedule `nightly` launch, with the stages and epochs that are "
    "missing or stale.",
)


class VanishedEpochs(dg.Config):
    """Epochs whose delivery is gone."""

    epochs: list[str] = Field(description="Epochs to remove from store and products; their folders must be gone")


def build_jobs(open_project: OpenProject) -> list[Any]:
    """All jobs, for the project that ``open_project`` gives."""
    of_project = (_rebuild_products, _remove_vanished_epochs, _maintenance)
    return [EVERYTHING, INGEST_EPOCH, RECONCILE, *(build(open_project) for build in of_project)]


def _rebuild_products(open_project: OpenProject) -> dg.JobDefinition:
    @dg.op(description="Bring everything up to date, then replace all products by what the Parquet store holds.")
    def write_products_again(context: dg.OpExecutionContext) -> None:
        project = open_project()
        # Connections that are open still see the file that was there before somebody took it away.
        project.products.close()
        project.products.upgrade()
        report = bring_up_to_date(project, context.instance)
        written = upkeep.rebuild_products(project)
        context.add_output_metadata(written.metadata | {"runs": report.run_ids})
        _raise_errors(report.errors)

    @dg.job(
        name="rebuild_products",
        description="Make the products database anew from the Parquet store. People's decisions on matches stay.",
    )
    def rebuild_products() -> None:
        write_products_again()

    return rebuild_products


def _remove_vanished_epochs(open_project: OpenProject) -> dg.JobDefinition:
    @dg.op(description="Remove epochs from store and products, and fold the later ones again without them.")
    def remove_epochs(context: dg.OpExecutionContext, config: VanishedEpochs) -> None:
        project = open_project()
        present = {delivery.epoch for delivery in project.deliveries()}
        for epoch in config.epochs:
            if epoch in present:
                context.log.info(f"epoch {epoch} was delivered again meanwhile: it stays")
                continue
            _raise_errors(delete_epoch(project, context.instance, epoch).errors)

    @dg.job(name=REMOVE_VANISHED, description="Remove epochs whose delivery is gone.")
    def remove_vanished_epochs() -> None:
        remove_epochs()

    return remove_vanished_epochs


def _maintenance(open_project: OpenProject) -> dg.JobDefinition:
    @dg.op(description="Remove files of the store that nothing refers to and no running process can still need.")
    def tidy_store(context: dg.OpExecutionContext) -> None:
        project = open_project()
        removed = upkeep.tidy_store(project, project.config.automation.keep_unreferenced_hours)
        context.add_output_metadata(
            {"files removed": len(removed), "bytes": sum(size for _, size in removed)}
            | ({"first": removed[0][0]} if removed else {})
        )

    @dg.op(
        description="Hash every table of the store. What is not as it was written counts as never made from then on, "
        "and is made again; fails where something cannot be.",
        ins={"tidied": dg.In(dg.Nothing)},
    )
    def check_store(context: dg.OpExecutionContext) -> None:
        project = open_project()
        faults = store_check.check_store(project)
        for fault in faults:
            context.log.error(str(fault))
        lasting = store_check.mend_store(project, faults)
        context.add_output_metadata({"damaged": len(faults), "made again": len(faults) - len(lasting)})
        _raise_errors([str(fault) for fault in lasting])

    @dg.op(
        description="Give the products database's unused space back, and measure its tables anew for its planner.",
        pool="products_database",
        ins={"tidied": dg.In(dg.Nothing)},
    )
    def compact_database(context: dg.OpExecutionContext) -> None:
        before, after = open_project().products.compact()
        context.add_output_metadata({"bytes before": before, "bytes after": after})

    @dg.job(
        name=MAINTENANCE,
        description="Weekly: remove what nothing refers to, hash what the store holds, compact the products database.",
    )
    def maintenance() -> None:
        tidied = tidy_store()
        compact_database(tidied)
        check_store(tidied)

    return maintenance


def _raise_errors(errors: list[str]) -> None:
    if errors:
        raise dg.Failure("; ".join(errors))
