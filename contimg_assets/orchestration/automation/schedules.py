"""What happens by the clock: every night whatever the reconciler finds missing or stale, every week some tidying."""

from collections.abc import Sequence

import dagster as dg

from contimg_assets.config import Automation
from contimg_assets.errors import ConfigError, InputError, StoreError
from contimg_assets.orchestration.automation.jobs import MAINTENANCE, RECONCILE, OpenProject
from contimg_assets.orchestration.automation.requests import runs_to_launch, tables_to_launch


def build_nightly_schedule(automation: Automation, open_project: OpenProject) -> dg.ScheduleDefinition:
    """The schedule that catches what events have missed."""

    @dg.schedule(
        name="nightly",
        job=RECONCILE,
        cron_schedule=automation.nightly_cron,
        execution_timezone=automation.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compares what every stage has read with what is there now, and makes what is missing or stale.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Sequence[dg.RunRequest] | dg.SkipReason:
        # The scheduled time in the run keys: however often a night's tick is evaluated, its runs start once.
        night = context.scheduled_execution_time.isoformat()
        try:
            project = open_project()
            if forgotten := project.forget_passing_failures():
                context.log.info(f"tried once more, as their failures may have passed: {', '.join(forgotten)}")
            for sentence in project.missing_catalogs():
                context.log.warning(sentence)
            assessment = project.assess()
            requests = tables_to_launch(project, assessment)
            requests += runs_to_launch(context.instance, assessment, project.epochs(), night)
        except (InputError, ConfigError, StoreError) as error:
            return dg.SkipReason(str(error))
        return requests or dg.SkipReason("every epoch is up to date")

    return nightly


def build_weekly_schedule(automation: Automation) -> dg.ScheduleDefinition:
    """The schedule of the job `maintenance`."""
    return dg.ScheduleDefinition(
        name="weekly",
        job_name=MAINTENANCE,
        cron_schedule=automation.weekly_cron,
        execution_timezone=automation.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes what nothing refers to, and compacts the products database.",
    )
