"""Dask as the engine: epochs are worked on by its workers, on this machine or on others.

A worker reads and writes files itself: it needs this package in the same version, and the project's folder under the
same path, on a file system that all share. Both are looked at before anything is sent. Nothing but the work itself and
what came of it goes over the network.

A worker that is lost costs the time of what it had, which Dask gives to another; if the scheduler is started again,
what was under way is sent again. Where no worker comes back the run goes on alone, and says so.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from contimg_assets.config import Compute
from contimg_assets.errors import ComputeError, ContimgError
from contimg_assets.pipeline.dask_cluster import main, wish
from contimg_assets.pipeline.executors import Future, Helped, Helpers, Tell, loaded_modules, packed

if TYPE_CHECKING:
    from distributed import Client

_LOG = logging.getLogger(__name__)
R = TypeVar("R")

CURE = "pip install 'contimg-assets[dask]'"
# What must be the same for the same bits.
_COMPARED = ("dask", "distributed", "numpy", "pandas", "pyarrow", "scipy", "astropy")
# How often what is sent is sent again after the scheduler was lost; how often we look whether anything is still there.
_TRIES, _LOOK_S = 4, 2.0
# How long a scheduler may take to answer.
_CONNECT_S = 20.0
# How often a cluster is started before it is given up.
_STARTS = 2
# A cluster that nothing is asked of for so long is let go, for a process that lives for weeks.
_IDLE_S = 300.0


def require(compute: Compute) -> None:
    """Refuse where Dask, or what starts its jobs, is not installed.

    Raises
    ------
    ComputeError
    """
    for package in ("distributed", *(("dask_jobqueue",) if compute.cluster == "slurm" else ())):
        if importlib.util.find_spec(package) is None:
            raise ComputeError(f"compute.engine is dask, and {package} is not installed; {CURE}, or write engine: auto")


class Dask(Helped):
    """Workers of Dask, see the module.

    Parameters
    ----------
    compute : section of the configuration
    shared : folder that all workers must see
    tell : told of the workers and the dashboard when the first task is sent

    Raises
    ------
    ComputeError
        If Dask is not installed.
    """

    def __init__(self, compute: Compute, shared: Path | None = None, tell: Tell | None = None) -> None:
        require(compute)
        super().__init__(compute.n_workers * compute.epochs_ahead)
        self._compute, self._shared, self._tell = compute, shared, tell

    @contextmanager
    def _helpers(self) -> Iterator[Helpers]:
        with connected(self._compute) as connection:
            workers = connection.checked(self._shared)
            self._n_at_once = max(2, workers.n_at_once * self._compute.epochs_ahead)
            if self._tell is not None:
                self._tell(workers.told)
            yield _Team(connection)

    def _sendable(self, work: Callable[..., R]) -> Callable[..., R] | None:
        sendable = packed(work)
        return None if sendable is None else _Sendable(_name_of(work), versions_here()["contimg_assets"], sendable)


@dataclass(frozen=True)
class Workers:
    """Those that there are.

    Attributes
    ----------
    n_workers, n_at_once : how many, and what they do at once together
    least_memory : the smallest limit of one [bytes]; 0 if none has a limit
    dashboard : address of the page that shows them
    """

    n_workers: int
    n_at_once: int
    least_memory: int
    dashboard: str

    @property
    def told(self) -> dict[str, str]:
        """What people are told of them."""
        limit = f"{self.least_memory / 1e9:.1f} GB of memory each" if self.least_memory else "no limit of memory"
        plural = "s" if self.n_workers > 1 else ""
        return {
            "dask workers": f"{self.n_workers} worker{plural}, {self.n_at_once} at once, {limit}",
            "dask dashboard": self.dashboard,
        }


@dataclass
class Connection:
    """A client of a scheduler, and the process that started the scheduler where one did.

    Attributes
    ----------
    users, used_at : how many are using it now, and when the last one ended, by the monotonic clock [s]
    """

    compute: Compute
    address: str
    client: Client
    cluster: subprocess.Popen[str] | None = None
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, compute: Compute) -> Connection:
        """Connect to the scheduler that is configured, started where none is.

        Raises
        ------
        ComputeError
            If it does not start, or nothing answers.
        """
        cluster, address = None, compute.address
        if address is None:
            cluster, address = _start(compute)
        try:
            return cls(compute, address, _client(address, min(_CONNECT_S, compute.wait_minutes * 60.0)), cluster)
        except BaseException:
            if cluster is not None:
                _end(cluster)
            raise

    @property
    def wait_s(self) -> float:
        return self.compute.wait_minutes * 60.0

    def checked(self, shared: Path | None) -> Workers:
        """Wait for a worker, and look whether all there are can do the work.

        Raises
        ------
        ComputeError
            If none comes, their versions are others, or they do not see the folder.
        """
        for _ in range(_TRIES):
            client = self._with_workers()
            with suppress(OSError, RuntimeError, CancelledError):
                versions = _told_by(client, _asked_for_versions())
                seen = {} if shared is None else _seen_by(client, shared)
                info = client.scheduler_info()["workers"]
                if any(worker in info for worker in versions):
                    break
        else:
            raise ComputeError(
                f"the Dask scheduler at {self.address}, or all its workers, were lost {_TRIES} times; look at the logs"
            )
        # One that was lost meanwhile is no fault.
        _refuse_others({worker: one for worker, one in versions.items() if worker in info})
        _refuse_blind({worker: one for worker, one in seen.items() if worker in info}, shared)
        limits = [one["memory_limit"] for one in info.values() if one["memory_limit"]]
        dashboard = str(client.dashboard_link)
        return Workers(len(info), sum(one["nthreads"] for one in info.values()), min(limits, default=0), dashboard)

    def _with_workers(self) -> Client:
        """The client, once the scheduler has all workers that were asked for, or any if others start them.

        Raises
        ------
        ComputeError
            If none comes.
        """
        wanted = self.compute.n_workers if self.compute.cluster != "slurm" and self.compute.address is None else 1
        deadline = time.monotonic() + self.wait_s
        while time.monotonic() < deadline:
            # Asked again and again: it may be lost while one waits.
            client = self.back()
            with suppress(OSError, RuntimeError, CancelledError):
                if len(client.scheduler_info()["workers"]) >= wanted:
                    return client
            time.sleep(0.1)
        raise ComputeError(
            f"the Dask scheduler at {self.address} has no worker after {self.compute.wait_minutes:g} min; start some, "
            "or give compute.wait_minutes more"
        )

    def back(self) -> Client:
        """The client, connected again if the scheduler was lost and has come back; one that this run started is
        started again.

        Raises
        ------
        ComputeError
            If it has not.
        """
        with self.lock:
            if self.cluster is not None and self.cluster.poll() is not None:
                self._close_client()
                _end(self.cluster)
                self.cluster, self.address = _start(self.compute)
                self.client = _client(self.address, _CONNECT_S)
            deadline = time.monotonic() + min(self.wait_s, 2 * _CONNECT_S)
            # It connects again by itself, and closes where it cannot.
            while self.client.status == "connecting" and time.monotonic() < deadline:
                time.sleep(0.1)
            if self.client.status != "running":
                self.client = _client(self.address, max(1.0, deadline - time.monotonic()))
            return self.client

    def has_workers(self) -> bool:
        """Whether anybody is there to work."""
        try:
            return self.client.status == "running" and bool(self.client.scheduler_info()["workers"])
        except (OSError, RuntimeError, CancelledError):
            return False

    def close(self) -> None:
        self._close_client()
        if self.cluster is not None:
            _end(self.cluster)

    def _close_client(self) -> None:
        with suppress(OSError, RuntimeError, TimeoutError):
            self.client.close(timeout=2)  # type: ignore[no-untyped-call]


_CONNECTIONS: dict[str, Connection] = {}
_LOCK = threading.Lock()


@contextmanager
def connected(compute: Compute) -> Iterator[Connection]:
    """The connection of this process; it stays for the next stage, and is let go when nothing is asked for long."""
    key = compute.model_dump_json(exclude={"epochs_ahead"})
    with _LOCK:
        connection = _CONNECTIONS.get(key)
        if connection is None:
            connection = Connection.of(compute)
            if not _CONNECTIONS:
                threading.Thread(target=_let_idle_go, name="idle-dask", daemon=True).start()
            _CONNECTIONS[key] = connection
        connection.users += 1
    try:
        yield connection
    finally:
        connection.users -= 1
        connection.used_at = time.monotonic()


def _let_idle_go() -> None:
    """As long as there are connections, close those that nothing was asked of for long."""
    while True:
        time.sleep(_IDLE_S / 10)
        with _LOCK:
            long_ago = time.monotonic() - _IDLE_S
            idle = [key for key, one in _CONNECTIONS.items() if not one.users and one.used_at < long_ago]
            closing = [_CONNECTIONS.pop(key) for key in idle]
            is_last = not _CONNECTIONS
        for connection in closing:
            connection.close()
        if is_last:
            return


@atexit.register
def close_all() -> None:
    """Let all connections of this process go, and end what it started."""
    with _LOCK:
        connections = list(_CONNECTIONS.values())
        _CONNECTIONS.clear()
    for connection in connections:
        connection.close()


def _start(compute: Compute) -> tuple[subprocess.Popen[str], str]:
    """The process that has a scheduler and workers, and the scheduler's address.

    Raises
    ------
    ComputeError
        If it does not start, nor once more: a worker may have been killed as it began.
    """
    for _ in range(_STARTS):
        process, said = _try_to_start(compute)
        if "address" in said:
            return process, said["address"]
        _end(process)
    why = f" ({said['failed']})" if "failed" in said else ""
    cure = "look at dask-jobqueue and sbatch" if compute.cluster == "slurm" else "give workers more (compute.memory)"
    raise ComputeError(f"Dask's {compute.cluster or 'local'} cluster did not start{why}; {cure}, or write engine: auto")


def _try_to_start(compute: Compute) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """The process, and what it says: the scheduler's ``address``, or why it has ``failed``, or nothing."""
    # Not as a script: each worker would execute it once more.
    command = [sys.executable, "-c", f"from {main.__module__} import main; main()"]
    # A session of its own: who interrupts a run means the run, which ends it.
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of this package
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(wish(compute, loaded_modules())) + "\n")
        process.stdin.flush()
    said: dict[str, str] = json.loads(process.stdout.readline() or "{}")
    return process, said


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _client(address: str, timeout_s: float) -> Client:
    from distributed import Client

    try:
        return Client(address, timeout=timeout_s, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise ComputeError(
            f"no Dask scheduler answers at {address}; start it (`dask scheduler`), or correct compute.address"
        ) from error


def _told_by(client: Client, ask: Callable[[], Any]) -> dict[str, Any]:
    """What each worker answers, by its address; an error where one has none.

    Raises
    ------
    TimeoutError
        If the answers do not come: the scheduler may be lost meanwhile, which `Client.run` would wait for.
    """
    asking: Any = client.sync
    answers: dict[str, Any] = asking(client._run, ask, on_error="return", callback_timeout=_CONNECT_S)
    return answers


def versions_here() -> dict[str, str]:
    """Versions of what results depend on, and a hash of this package's code."""
    return _versions_here()


@cache
def _versions_here() -> dict[str, str]:
    versions: dict[str, str] = _asked_for_versions()()
    return versions


def _asked_for_versions() -> Callable[[], dict[str, str]]:
    """What tells a process's versions: a function within one, which is sent whole, for who is asked may lack ours."""
    names = _COMPARED

    def versions() -> dict[str, str]:
        import hashlib
        import importlib.util
        import platform
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        def of(name: str) -> str:
            try:
                return version(name)
            except PackageNotFoundError:
                return "missing"

        found = {"python": platform.python_version()} | {name: of(name) for name in names}
        package = importlib.util.find_spec("contimg_assets")
        if package is None or not package.submodule_search_locations:
            return found | {"contimg_assets": "missing"}
        folder = Path(package.submodule_search_locations[0])
        digest = hashlib.blake2b(digest_size=4)
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
        return found | {"contimg_assets": f"{of('contimg-assets')} (code {digest.hexdigest()})"}

    return versions


def _refuse_others(versions: Mapping[str, Any]) -> None:
    """Refuse workers whose versions are not ours."""
    here = versions_here()
    for worker, found in sorted(versions.items()):
        if not isinstance(found, Mapping):
            raise ComputeError(f"the Dask worker at {worker} could not be asked for its versions ({found!r}); end it")
        other = [
            f"{name} {found.get(name, 'missing')} (here {ours})"
            for name, ours in here.items()
            if found.get(name) != ours
        ]
        if other:
            raise ComputeError(
                f"the Dask worker at {worker} has {', '.join(other)}; results could differ: give it the environment "
                "of this run"
            )


def _seen_by(client: Client, shared: Path) -> dict[str, bool]:
    """Which workers see a file that is written here, and may write beside it."""
    token = uuid.uuid4().hex
    shared.mkdir(parents=True, exist_ok=True)
    file = shared / f".seen-{token}"
    file.write_text(token, encoding="utf-8")
    try:
        found = _told_by(client, _asked_for_file(str(file)))
    finally:
        file.unlink(missing_ok=True)
    return {worker: content == token for worker, content in found.items()}


def _refuse_blind(seen: Mapping[str, bool], shared: Path | None) -> None:
    for worker, sees in sorted(seen.items()):
        if not sees:
            raise ComputeError(
                f"the Dask worker at {worker} does not see {shared}; mount the project's folder there under the same "
                "path, with leave to write for the user who runs the worker"
            )


def _asked_for_file(name: str) -> Callable[[], str]:
    def content() -> str:
        import os
        from pathlib import Path

        file = Path(name)
        # A file system of network may know a folder as it was some seconds ago; to list it brings it up to date.
        readable = file.name in os.listdir(file.parent) and os.access(file.parent, os.W_OK)  # noqa: PTH208
        return file.read_text(encoding="utf-8") if readable else ""

    return content


@dataclass(frozen=True)
class _Sendable:
    """What a worker does.

    Attributes
    ----------
    name : what the dashboard calls it
    code : version of this package that the run has
    work : packed, see `executors.packed`
    """

    name: str
    code: str
    work: Callable[..., Any]

    def __call__(self, *task: Any) -> Any:
        # One that came later has not been asked for its versions.
        found = _begun_there()
        if found != self.code:
            raise RuntimeError(f"this worker has contimg_assets {found}, and the run {self.code}")
        return self.work(*task)


def _name_of(work: Any) -> str:
    name = getattr(work, "name", None) or getattr(work, "__qualname__", None)
    return str(name or getattr(getattr(work, "func", work), "__qualname__", type(work).__name__))


@cache
def _begun_there() -> str:
    # Each epoch has a worker: more threads than cores would only be in each other's way.
    pa.set_cpu_count(1)
    return versions_here()["contimg_assets"]


class _Team:
    """The workers, as something that has ``submit``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._alone = False

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        if self._alone:
            raise self.go_alone()
        return _Sent(self, function, arguments)

    def send(self, function: Callable[..., R], arguments: tuple[Any, ...]) -> tuple[Client, Any]:
        """The client that it was sent by, and Dask's own future.

        Raises
        ------
        RuntimeError
            If the scheduler does not come back.
        """
        key = f"{getattr(function, 'name', 'work')}-{uuid.uuid4().hex}"
        for _ in range(_TRIES):
            try:
                # As one function without arguments, so that Dask looks into none of them.
                client = self._connection.back()
                return client, client.submit(partial(function, *arguments), key=key, pure=False)
            except (OSError, RuntimeError, CancelledError, ComputeError) as error:
                _LOG.info("sent again, for Dask refused it: %r", error)
                time.sleep(0.5)
        raise self.go_alone()

    def is_lost(self, client: Client) -> bool:
        """Whether a client gives no results any more; whoever asked it would wait for ever."""
        return client is not self._connection.client or client.status in ("closing", "closed")

    def wait(self, client: Client, future: Any) -> None:
        """Until there is a result, or whoever should give it is lost.

        Raises
        ------
        CancelledError
            If the client is lost.
        RuntimeError
            If no worker has been there for as long as one is waited for.
        """
        lost_at: float | None = None
        while True:
            if self.is_lost(client):
                raise CancelledError
            with suppress(TimeoutError):
                future.exception(timeout=_LOOK_S)
                return
            if self._connection.has_workers():
                lost_at = None
                continue
            lost_at = time.monotonic() if lost_at is None else lost_at
            if time.monotonic() - lost_at > self._connection.wait_s:
                raise self.go_alone()

    def go_alone(self) -> RuntimeError:
        """What is left is done by this process; the error that says so."""
        if not self._alone:
            self._alone = True
            address = self._connection.address
            _LOG.warning("The Dask scheduler at %s, or all its workers, are gone; the run goes on alone.", address)
        return RuntimeError("the workers of Dask are gone")

    @property
    def memory(self) -> str:
        """What the workers were started with."""
        return self._connection.compute.memory if self._connection.compute.address is None else "their memory"


class _Sent(Generic[R]):
    """What was sent to the workers, and is sent again if the scheduler forgot it."""

    def __init__(self, team: _Team, function: Callable[..., R], arguments: tuple[Any, ...]) -> None:
        self._team, self._function, self._arguments = team, function, arguments
        self._client, self._future = team.send(function, arguments)

    def result(self) -> R:
        from distributed import KilledWorker

        n_deaths = 0
        for _ in range(_TRIES):
            try:
                self._team.wait(self._client, self._future)
                result: R = self._future.result()
                return result
            except KilledWorker as error:
                n_deaths += error.allowed_failures + 1
                if n_deaths > error.allowed_failures + 1:
                    raise ComputeError(
                        f"{n_deaths} Dask workers died of this epoch, each with {self._team.memory}; give them more "
                        "(compute.memory), or look at the workers' logs"
                    ) from error
                # Dask blames all that a lost worker had, also what had only waited there.
                self._client, self._future = self._team.send(self._function, self._arguments)
            except CancelledError:
                # The scheduler was started again, and knows nothing of it.
                self._client, self._future = self._team.send(self._function, self._arguments)
            except ContimgError:
                raise
            except Exception as error:
                _LOG.warning("A Dask worker failed, and the run does its work itself: %r", error)
                raise
        raise self._team.go_alone()

    def cancel(self) -> None:
        if not self._team.is_lost(self._client):
            with suppress(OSError, RuntimeError, CancelledError):
                self._future.cancel()
