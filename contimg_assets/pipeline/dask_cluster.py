"""A process that starts Dask's scheduler and workers, and ends them when whoever started it ends.

It is asked in a line of JSON what to start, see `wish`. It says the scheduler's address in another, or why there is
none, and stays until its input ends: a run that is killed leaves neither workers nor jobs. Apart from the run, so that
the scheduler has a processor of its own, and that no worker executes the script that the run was started with.
"""

from __future__ import annotations

import json
import select
import sys
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contimg_assets.config import Compute

# Where the job script that is shown names the scheduler, which has no address before it runs.
SCHEDULER = "tcp://SCHEDULER:PORT"
# How often it is looked whether a worker of this machine is gone for good.
_LOOK_S = 2.0


def wish(compute: Compute, modules: list[str]) -> dict[str, Any]:
    """What the process is asked to start, as it is written to its input.

    Parameters
    ----------
    modules : that workers on this machine will need, to be loaded once for all of them
    """
    if compute.cluster == "slurm":
        return {"cluster": "slurm", "options": _of_jobs(compute), "workers": compute.n_workers}
    options = {
        "n_workers": compute.n_workers,
        "threads_per_worker": 1,
        "memory_limit": compute.memory_bytes,
        "processes": True,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "local_directory": tempfile.gettempdir(),
        "silence_logs": "CRITICAL",
    }
    return {"cluster": "local", "options": options, "modules": modules}


def job_script(compute: Compute) -> str:
    """The script that each job of Slurm runs.

    Parameters
    ----------
    compute : with ``cluster: slurm``
    """
    job: Any = import_module("dask_jobqueue.slurm").SLURMJob
    return str(job(SCHEDULER, name="contimg", **_of_jobs(compute)).job_script())


def _of_jobs(compute: Compute) -> dict[str, Any]:
    """What dask-jobqueue is told of a job; what is not given may come from its own configuration files."""
    slurm = compute.slurm
    return {
        "cores": slurm.workers_per_job,
        "processes": slurm.workers_per_job,
        "memory": f"{compute.memory_bytes * slurm.workers_per_job} B",
        "queue": slurm.partition,
        "account": slurm.account,
        "walltime": slurm.walltime,
        "interface": slurm.interface,
        "local_directory": slurm.scratch,
        "job_extra_directives": list(slurm.directives),
        "job_script_prologue": list(slurm.before),
        "death_timeout": f"{compute.wait_minutes * 60:.0f}",
        "job_name": "contimg",
        "python": sys.executable,
    }


def _started(asked: dict[str, Any]) -> Any:
    """The cluster that is asked for."""
    if asked["cluster"] != "slurm":
        return _started_here(asked)
    jobs = import_module("dask_jobqueue").SLURMCluster
    cluster = jobs(**asked["options"], scheduler_options={"dashboard_address": ":0"})
    cluster.scale(n=asked["workers"])
    return cluster


def _started_here(asked: dict[str, Any]) -> Any:
    """A scheduler and workers of this machine, which are copies of one process that has loaded what they need.

    As many interpreters that each load it take longer to begin than small epochs take to be worked on.
    """
    import_module("dask").config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    cluster, utils = import_module("distributed").LocalCluster, import_module("distributed.utils")
    # Dask names modules of its own when it is first asked; the last list that is given is the one that counts.
    utils.get_mp_context().set_forkserver_preload(["distributed", *asked["modules"]])
    return cluster(**asked["options"])


def main() -> None:
    """Start, say where, and wait."""
    asked = json.loads(sys.stdin.readline())
    try:
        cluster = _started(asked)
    except (RuntimeError, OSError, ValueError) as error:
        # Whoever asked tells it in a sentence; Dask's own cause says most.
        print(json.dumps({"failed": str(error.__cause__ or error)}), flush=True)
        sys.exit(1)
    look_s = None if asked["cluster"] == "slurm" else _LOOK_S
    with cluster:
        print(json.dumps({"address": cluster.scheduler_address}), flush=True)
        # Ready to be read when it ends: nothing more is written to it.
        while not select.select([sys.stdin], [], [], look_s)[0]:
            # Dask lets go of what looks after a worker if the worker is not there 15 s after it was killed, also where
            # it is just beginning again after another death, and where it was retired; then there are too few.
            cluster.scale(asked["options"]["n_workers"])
