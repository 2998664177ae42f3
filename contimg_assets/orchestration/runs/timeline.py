"""Runs that a process executes within itself, as Dagster's timeline shows them: beside those of the daemon.

The timeline lists runs by the code location that they are of, which Dagster does not note of such runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG

# As the workspace file of every project names it.
_LOCATION = "contimg_assets.definitions"
NOT_BY_THE_DAEMON = {MAX_RETRIES_TAG: "0"}
"""Tags of a run that the daemon may not start again when its process was killed: the next `contimg run` makes the rest.
"""


@contextmanager
def of_code_location(instance: dg.DagsterInstance, job: dg.JobDefinition) -> Iterator[None]:
    """Within, runs of a job that are executed in this process are noted as of the project's code location."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(_LOCATION), SINGLETON_REPOSITORY_NAME)
    origin = repository.get_job_origin(job.name)
    # `JobDefinition.execute_in_process` creates its run without an origin, and takes none.
    created = partial(instance.create_run_for_job, remote_job_origin=origin)
    instance.create_run_for_job = created  # type: ignore[method-assign]
    try:
        yield
    finally:
        del instance.create_run_for_job
