"""Section `compute`: where the work on epochs is done. Results do not depend on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from contimg_assets.config.section import Section
from contimg_assets.config.sizes import bytes_of

# Less than this does not hold what is loaded to work at all.
_LEAST_MEMORY = 500 * 10**6
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://.+:\d+/?")


def _size(value: str) -> str:
    if bytes_of(value) < _LEAST_MEMORY:
        raise ValueError(f"{value!r} is too little: what a worker loads fills 500 MB; give it 2 GB")
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is no address of a Dask scheduler; write it like 'tcp://10.0.0.5:8786'")
    return value


class Slurm(Section):
    """The jobs that hold Dask's workers where `compute.cluster` is `slurm`."""

    partition: str | None = Field(None, description="Slurm's partition; its default one if not given")
    account: str | None = Field(None, description="Whom Slurm charges")
    walltime: str = Field("12:00:00", description="How long a job may last, as Slurm writes it")
    workers_per_job: int = Field(1, ge=1, description="Workers in one job, each with a core and `compute.memory`")
    interface: str | None = Field(
        None, description="Network interface that scheduler and workers reach each other by, such as `ib0`"
    )
    scratch: str | None = Field(None, description="Folder on the worker's own disk for what Dask sets aside")
    directives: tuple[str, ...] = Field((), description="More lines for `#SBATCH`, such as `--constraint=haswell`")
    before: tuple[str, ...] = Field(
        (), description="Lines of shell that a job begins with, such as `module load python` or an `activate`"
    )


class Compute(Section):
    """Where the work on epochs is done. No result depends on it."""

    engine: Literal["auto", "serial", "threads", "processes", "dask"] = Field(
        "auto",
        description="`auto` works alone, and takes other processes to help once the epochs that are left would take "
        "longer than these take to start; `serial` works alone; `threads` and `processes` always have help; `dask` "
        "has workers of Dask, here or on other machines",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="How many threads, processes or workers of Dask help; the number of cores if not given, and all "
        "that the scheduler has where `address` is given",
    )
    epochs_ahead: int = Field(
        2,
        ge=1,
        description="Epochs for each helper that may be worked on, or be done and wait for their turn: what memory "
        "holds of a run at once",
    )
    address: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="Of a Dask scheduler that runs already, such as `tcp://10.0.0.5:8786`"
    )
    cluster: Literal["local", "slurm"] | None = Field(
        None,
        description="What is started for Dask where no `address` is given: `local` workers on this machine (the "
        "default), or jobs of `slurm`; both end with the run",
    )
    memory: Annotated[str, AfterValidator(_size)] = Field(
        "2 GB",
        description="What a worker of Dask may hold; one that needs more is stopped, and its epoch is tried on others. "
        "A scheduler that has an `address` has workers with limits of their own",
    )
    wait_minutes: float = Field(
        10.0,
        gt=0.0,
        description="How long a run waits for a worker of Dask, at its beginning and when all were lost; then an error "
        "says so at the beginning, and later the run goes on alone [min]",
    )
    slurm: Slurm = Field(default_factory=Slurm)
    tile_order: int = Field(
        4,
        ge=0,
        le=10,
        description="A large epoch is associated by tiles of the sky, nested HEALPix cells of this order (4: 3.7 deg), "
        "where `threads`, `processes`, `dask`, or with `auto` more than two processes help",
    )
    tile_rows: int = Field(
        50_000,
        ge=1,
        description="Tiles that follow each other are one task until they hold so many measurements, which are "
        "about 20 MB to send. An epoch with less than twice as many is associated as a whole, which takes less work",
    )

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, values: Any) -> Any:
        """`engine` was `executor`."""
        if isinstance(values, Mapping) and "executor" in values and "engine" not in values:
            return {"engine" if name == "executor" else name: value for name, value in values.items()}
        return values

    @model_validator(mode="after")
    def _of_one_engine(self) -> Compute:
        fields = type(self).model_fields
        said = {name for name in fields if getattr(self, name) != fields[name].get_default(call_default_factory=True)}
        for name in ("address", "cluster", "memory", "slurm"):
            if name in said and self.engine != "dask":
                raise ValueError(f"{name} is for Dask alone, and engine is {self.engine!r}; write engine: dask")
        if {"address", "cluster"} <= said:
            raise ValueError("address names a scheduler that runs, cluster starts one; give one of them")
        if "address" in said and {"workers", "memory"} & said:
            raise ValueError("workers and memory are given to the workers when they are started; leave them out here")
        if "slurm" in said and self.cluster != "slurm":
            raise ValueError("the keys of slurm need cluster: slurm")
        if self.cluster == "slurm" and self.workers is None:
            raise ValueError("workers must say how many Slurm is asked for")
        return self

    @property
    def n_workers(self) -> int:
        """How many threads or processes help."""
        if self.workers is not None:
            return self.workers
        # Those that this process may use, where the system tells: a batch job has a few of many.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def by_tile(self) -> bool:
        """Whether large epochs are associated by tile; `auto` does so where that saves time."""
        return self.n_workers > 2 if self.engine == "auto" else self.engine != "serial"

    @property
    def memory_bytes(self) -> int:
        """What a worker of Dask may hold [bytes]."""
        return bytes_of(self.memory)
