"""Checks that stand apart from any one run: on the products as a whole, and on what does not come.

They run with their asset and every hour. None of them blocks: what must keep a bad epoch from the products is checked
by the stages themselves, on the epoch in their hands.
"""

import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from contimg_assets.config import Automation
from contimg_assets.errors import InputError
from contimg_assets.figures.summaries import plot_constant_fluxes
from contimg_assets.ingest.manifest_text import MANIFEST
from contimg_assets.orchestration.assets.products import FORCED_KEY
from contimg_assets.orchestration.automation.jobs import OpenProject
from contimg_assets.orchestration.plots import PICTURES, embedded
from contimg_assets.pipeline.findings import look
from contimg_assets.pipeline.forced_errors import constant_fluxes, measured_factor, wrong_errors
from contimg_assets.pipeline.inputs import INCOMING
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import RAW_DETECTIONS
from contimg_assets.pipeline.staleness import SURVEY, State

_SOURCES = dg.AssetKey(["products", "sources"])
_MAX_NAMED = 50
_MAX_TOLD = 5


def build_checks(automation: Automation, open_project: OpenProject) -> list[dg.AssetChecksDefinition]:
    """All of them, for the project that ``open_project`` gives."""
    every_hour: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed("0 * * * *", automation.timezone)
    hourly: Any = every_hour & ~dg.AutomationCondition.in_progress()

    def check(
        asset: dg.AssetKey, name: str, description: str, judge: Callable[[Project], dg.AssetCheckResult]
    ) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=asset, name=name, description=description, automation_condition=hourly)
        def standing_check() -> dg.AssetCheckResult:
            try:
                return judge(open_project())
            except InputError as error:
                # Deliveries that cannot be looked at, such as those of a silent server, are told of and fail no run.
                return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(error))

        return standing_check

    return [
        check(
            _SOURCES,
            "no_orphans",
            "Every row of the products database refers to rows that are there; every source has a measurement and "
            "every measurement that is no duplicate a source.",
            no_orphans,
        ),
        check(
            _SOURCES,
            "nothing_stale",
            "The products show every delivered epoch in its present version, by present code and configuration.",
            nothing_stale,
        ),
        check(
            _SOURCES,
            "nothing_needs_eyes",
            "No image is refused or left uncorrected, no field has few ties, and light curves, variables and new "
            "sources can be given: what `contimg status` begins with.",
            nothing_needs_eyes,
        ),
        check(
            FORCED_KEY,
            "errors_hold",
            "Forced fluxes of constant sources scatter by 0.9 to 1.1 of their errors about what other epochs say.",
            errors_hold,
        ),
        check(
            dg.AssetKey(RAW_DETECTIONS.name),
            "epochs_keep_coming",
            f"A new epoch was delivered within {automation.max_hours_without_epoch:g} hours "
            f"(`automation.max_hours_without_epoch`).",
            epochs_keep_coming,
        ),
        check(
            dg.AssetKey(RAW_DETECTIONS.name),
            "no_delivery_vanished",
            f"The delivery of every epoch in the store is still in `{INCOMING}`.",
            no_delivery_vanished,
        ),
    ]


def no_orphans(project: Project) -> dg.AssetCheckResult:
    """Rows of the products database that refer to rows which are not there."""
    found = project.products.orphans() if project.products.current() is not None else {}
    return dg.AssetCheckResult(
        passed=not found, metadata=found, description="; ".join(f"{n} {what}" for what, n in found.items()) or None
    )


def nothing_stale(project: Project) -> dg.AssetCheckResult:
    """What the reconciler finds: stale, missing, failed or waiting stages, and why."""
    assessment = project.assess()
    found = assessment[assessment["state"] != State.FRESH].replace({"epoch": {SURVEY: "all epochs"}})
    counts = found["state"].value_counts()
    return dg.AssetCheckResult(
        passed=found.empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**{str(k): int(n) for k, n in counts.items()}} | ({"what": _table(found)} if len(found) else {}),
        description="; ".join(f"{n} {state}" for state, n in counts.items()) or None,
    )


def nothing_needs_eyes(project: Project) -> dg.AssetCheckResult:
    """What of the products people should look at, as `contimg run` and `contimg status` say it."""
    found = look(project.config, project.products)
    rows = pd.DataFrame() if found is None else found.findings
    return dg.AssetCheckResult(
        passed=rows.empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={} if found is None else {"products": found.headline} | ({"what": _table(rows)} if len(rows) else {}),
        description="; ".join(f"{row.subject}: {row.what}" for row in rows[:_MAX_TOLD].itertuples()) or None,
    )


def errors_hold(project: Project) -> dg.AssetCheckResult:
    """Whether errors of forced fluxes are right, by sources that do not vary; passed where there are too few."""
    constants = constant_fluxes(project.store, project.products)
    found = measured_factor(constants)
    wrong = wrong_errors(found)
    known: dict[str, Any] = {}
    if np.isfinite(found.factor):
        known = {"scatter over errors": found.factor, "its error": found.factor_err}
        known[PICTURES] = embedded({"constant sources": plot_constant_fluxes(constants, found.factor)})
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"fluxes": found.n, **known},
        description="; ".join(wrong) or None,
    )


def epochs_keep_coming(project: Project) -> dg.AssetCheckResult:
    """Time since the manifest of the epoch observed last was written; what is done to older ones is no new epoch."""
    delivered = project.deliveries()
    limit = project.config.automation.max_hours_without_epoch
    if not delivered:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, description="no epoch was ever delivered"
        )
    newest = delivered[-1].epoch
    hours = (time.time() - (delivered[-1].folder / MANIFEST).stat().st_mtime) / 3600.0
    return dg.AssetCheckResult(
        passed=hours <= limit,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"newest epoch": newest, "hours since": round(hours, 2)},
        description=f"the newest epoch, {newest}, came {hours:.1f} hours ago" if hours > limit else None,
    )


def no_delivery_vanished(project: Project) -> dg.AssetCheckResult:
    """Epochs that were read from a delivery that is gone."""
    gone = project.vanished_epochs()
    return dg.AssetCheckResult(
        passed=not gone,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"epochs": ", ".join(gone[:_MAX_NAMED])},
        description=f"{len(gone)} epoch(s) are in the products though their delivery is gone: "
        f"{', '.join(gone[:_MAX_NAMED])}; `contimg epoch delete` removes one"
        if gone
        else None,
    )


def _table(found: pd.DataFrame) -> dg.TableMetadataValue:
    rows = found.head(_MAX_NAMED).astype(str).to_dict("records")
    return dg.MetadataValue.table([dg.TableRecord({str(k): v for k, v in row.items()}) for row in rows])
