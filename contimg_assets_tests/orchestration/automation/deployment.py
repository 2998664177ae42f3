"""A project folder with a real Dagster daemon and webserver, driven as telescopes and people do: files and GraphQL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from contimg_assets.cli.templates import write_templates
from contimg_assets.config import load_config
from contimg_assets.database import ProductsDatabase
from contimg_assets.orchestration.assets import stage_keys
from contimg_assets.orchestration.epoch_assets import DATA_VERSION_TAG
from contimg_assets.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.pipeline.staleness import of_epochs, work_to_do
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.instances import instance_in_memory

REPOSITORY = Path(__file__).resolve().parents[3]
_QUICK_LOOPS = Path(__file__).parent / "quick"
# As fast as they go, so that the tests wait for work and not for the clock; and nothing by the clock in between.
_LEAP_DAY = "0 0 29 2 *"
QUICK = {
    "sensor_interval_seconds": 1,
    "conditions_interval_seconds": 1,
    # Dagster may lose the retry of a killed run: its retrying daemon can read the failure before the run's status shows
    # it, and looks once. What is then left is the reconciler's, at its second look.
    "reconcile_interval_seconds": 30,
    "settle_seconds": 0.3,
    "nightly_cron": _LEAP_DAY,
    "weekly_cron": _LEAP_DAY,
}
# A run that died as it began is noticed only when its time to begin is over.
_QUICK_MONITORING = {
    "poll_interval_seconds: 10": "poll_interval_seconds: 2",
    "start_timeout_seconds: 180": "start_timeout_seconds: 45",
}
# After the last work, evaluations of the conditions that must ask for nothing before all is taken to be done. What was
# just requested or in progress is held back for two (`conditions.nothing_in_the_way`), so a third shows needless work.
_STILL_EVALUATIONS = 3
_EVALUATES = "observable source assets for automation"
_EVALUATED = "Finished auto-materialization tick for automation"
_LOOKED = "Checking for new runs for sensor: "
_RANGE_TAGS = (RANGE_START_TAG, RANGE_END_TAG)
_FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
_RUNS = """query Runs { runsOrError(limit: 1000) { ... on Runs { results {
    runId status assetSelection { path } tags { key value } startTime endTime creationTime } } } }"""
_MADE = """query Made($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 1000) { runId partition tags { key value } } } } }"""
_SENSORS = """query Sensors($s: RepositorySelector!) { sensorsOrError(repositorySelector: $s) { ... on Sensors {
    results { name sensorState { id } } } } }"""
_STOP = "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }"
_START = "mutation Start($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
_BACKFILL = """mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATUS = """query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } } }"""
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "contimg_assets.definitions"}


def catalogue(project: Project, epoch: str) -> Path:
    """The first delivered table of an epoch."""
    return next(file for file in sorted((project.config.incoming / epoch).glob("*.csv")) if file.name != "images.csv")


def small_survey(folder: Path, n_epochs: int, **changes: Any) -> list[Path]:
    """A simulated survey to deliver from, epoch folders in time order."""
    parameters = SurveyParameters(
        n_epochs=n_epochs, **({"images_per_epoch": 3, "n_sources": 60, "faint_per_deg2": 5.0} | changes)
    )
    simulate_survey(folder, parameters)
    return sorted((folder / "incoming").iterdir())


def make_project(folder: Path, survey: Path, configuration: dict[str, Any] | None = None) -> Project:
    """A project as `contimg init` makes it, with the survey's catalogs and nothing delivered yet."""
    (folder / "incoming").mkdir(parents=True)
    shutil.copytree(survey / "catalogs", folder / "catalogs")
    write_templates(folder)
    settings = folder / "dagster.yaml"
    text = settings.read_text()
    for production, here in _QUICK_MONITORING.items():
        assert production in text
        text = text.replace(production, here)
    settings.write_text(text)
    content = {
        "automation": QUICK,
        "catalogs": {
            "nvss_like": {"path": "catalogs/nvss_like.parquet", "freq_mhz": 1400.0, "beam_arcsec": 45.0},
        },
    } | (configuration or {})
    (folder / "contimg.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return Project(load_config(folder / "contimg.yaml"))


def deliver(epoch: Path, incoming: Path) -> None:
    """Copy an epoch's folder as a telescope does: catalogs first, the manifest last."""
    target = incoming / epoch.name
    target.mkdir(exist_ok=True)
    for file in sorted(epoch.iterdir(), key=lambda file: file.name == "images.csv"):
        overwrite(target / file.name, file.read_bytes())


def overwrite(file: Path, content: bytes) -> None:
    """Put a file into place in one step: however slow the machine, nobody reads half of it."""
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    new.replace(file)


def from_scratch(project: Project, folder: Path) -> dict[str, pd.DataFrame]:
    """Products of a run from scratch on what a project's incoming folder holds now, in another folder."""
    folder.mkdir()
    for name in ("incoming", "catalogs"):
        shutil.copytree(project.config.root / name, folder / name)
    shutil.copy(project.config.root / "contimg.yaml", folder)
    other = Project(load_config(folder / "contimg.yaml"))
    with instance_in_memory() as instance:
        bring_up_to_date(other, instance)
    return products(other)


def products(project: Project) -> dict[str, pd.DataFrame]:
    """All rows that the stages wrote, without the times at which they did and the names that sources once had."""
    with ProductsDatabase(project.config.products_url) as database:
        names = ("images", "measurements", "sources", "associations", "source_relations", "cross_matches",
                 "corrections", "variability", "epochs")  # fmt: skip
        tables = {name: database.read_table(name) for name in names}
    changing = {"id", "created_at", "written_at", "updated_at"}
    return {name: table.drop(columns=[*(changing & set(table.columns))]) for name, table in tables.items()}


def assert_same_products(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for name, table in expected.items():
        order = [column for column in table.columns if table[column].dtype.kind not in "fc"]
        pd.testing.assert_frame_equal(
            found[name].sort_values(order, ignore_index=True),
            table.sort_values(order, ignore_index=True),
            obj=name,
            check_dtype=False,
            rtol=1e-9,
        )


def written(project: Project) -> dict[tuple[str, str], str]:
    """What each stage holds for each epoch, and what that was made from."""
    files = project.config.store.glob("*/*/record.json")
    return {(file.parts[-3], file.parts[-2]): file.read_text() for file in files}


class Deployment:
    """`dagster dev` on a project's folder: webserver, daemon and code server, in one process group."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.config.root
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "dagster.log"
        self._cut_short = 0

    def start(self) -> None:
        """Start, and wait until the definitions are loaded."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "CONTIMG"))}
        path = os.pathsep.join([str(_QUICK_LOOPS), str(REPOSITORY)])
        environment |= {
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
        }
        with self._log.open("ab") as log:
            self._cut_short = self._count(_EVALUATES) - self._count(_EVALUATED)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(self.port)],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_for(self._loaded, "webserver and definitions", 180)

    def _loaded(self) -> bool:
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
        try:
            return bool(self.graphql(query)["repositoriesOrError"].get("nodes"))
        except OSError:
            return False

    def kill(self) -> None:
        """Pull the plug: every process at once, runs included, none of them asked."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ask to stop, and pull the plug if that takes too long."""
        if self._process is None:
            return
        group = self._process.pid
        self._process.send_signal(signal.SIGINT)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables or {}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self) -> list[dict[str, Any]]:
        """Runs of epochs, oldest first; without those of the scales between epochs, which follow every change."""
        return [run for run in self.all_runs() if "epoch_scales" not in run["assets"]]

    def all_runs(self) -> list[dict[str, Any]]:
        """All runs that make assets, oldest first, with their tags as a mapping and the assets they took.

        Without those of the hourly checks, which may fall into any test.
        """
        found = self.graphql(_RUNS)["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
            run["epochs"] = [run["tags"].get(tag, run["tags"].get("dagster/partition")) for tag in _RANGE_TAGS]
            run["assets"] = {"/".join(key["path"]) for key in run["assetSelection"] or []}
        return sorted((run for run in found if run["assets"]), key=lambda run: run["creationTime"])

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """The condition's value as soon as it is true; fails with the daemon's last words."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                break
            if value := condition():
                return value
            # Every look costs the web server a tenth of a core.
            time.sleep(0.5)
        raise AssertionError(f"{what}: not within {seconds} s\n" + self.last_words())

    def last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-25:])

    def settle(self, seconds: float = 300) -> None:
        """Wait until everything is fresh or failed, no run is under way, and the daemon finds nothing more to do.

        The daemon's own looks are counted and not the time, so that a slow machine is waited for and a fast one is not.
        """
        since: tuple[int, int] | None = None
        n_runs = 0

        def settled() -> bool:
            nonlocal since, n_runs
            # The log is asked first: a look at the runs costs the web server a tenth of a core.
            if since and not self._looked_since(since):
                return False
            runs = self.all_runs()
            if any(run["status"] not in _FINISHED for run in runs) or self.pending():
                since = None
                return False
            if since and len(runs) == n_runs:
                return True
            since, n_runs = self._looks(), len(runs)
            return False

        self.wait_for(settled, "everything made", seconds)

    def _looks(self) -> tuple[int, int]:
        """How often the conditions were evaluated so far, and the deliveries looked at."""
        return self._count(_EVALUATED), self._count(_LOOKED + "deliveries")

    def _looked_since(self, before: tuple[int, int]) -> bool:
        """Whether both were done so often that nothing more is to come; one look at each may have begun before."""
        evaluated, looked = self._looks()
        return evaluated > before[0] + _STILL_EVALUATIONS and looked > before[1] + 1

    def _evaluates_nothing(self) -> bool:
        """Whether no evaluation of the conditions is under way."""
        return self._count(_EVALUATES) - self._count(_EVALUATED) == self._cut_short

    def wait_for_ticks(self, sensor: str, n: int, seconds: float = 120) -> None:
        """Wait until a sensor has been evaluated so many times from now on."""
        before = self._count(_LOOKED + sensor)
        # The last one counted has only begun.
        self.wait_for(lambda: self._count(_LOOKED + sensor) > before + n, f"{n} ticks", seconds)

    def _count(self, text: str) -> int:
        """How often the daemon's log says so."""
        return self._log.read_text(errors="replace").count(text)

    def stop_automation(self) -> None:
        """Stop evaluating conditions, as an operator does in the UI."""
        sensors = self.graphql(_SENSORS, {"s": _REPOSITORY})["sensorsOrError"]["results"]
        (state,) = [sensor["sensorState"]["id"] for sensor in sensors if sensor["name"] == "automation"]
        assert self.graphql(_STOP, {"id": state})["stopSensor"]["__typename"] == "StopSensorMutationResult"

    @contextmanager
    def automation_stopped(self) -> Iterator[None]:
        """What is delivered meanwhile is seen by one and the same evaluation afterwards."""
        self.stop_automation()
        yield
        self.wait_for_ticks("deliveries", 2)
        # One that had begun writes at its end that the sensor is stopped, as it was when it looked.
        self.wait_for(self._evaluates_nothing, "the last evaluation", 120)
        answer = self.graphql(_START, {"s": _REPOSITORY | {"sensorName": "automation"}})["startSensor"]
        assert answer["__typename"] == "Sensor", answer

    def deliver_without_automation(self, epochs: Sequence[Path]) -> list[str]:
        """Deliver epochs that nothing is made of by itself; their names, once all are registered."""
        self.settle()
        self.stop_automation()
        for epoch in epochs:
            deliver(epoch, self.project.config.incoming)
        names = [epoch.name for epoch in epochs]
        self.wait_for(lambda: [one for one in self.partitions() if one in names] == names, "all registered", 120)
        return names

    def launch_backfill(self, epochs: Sequence[str]) -> str:
        """Launch a backfill of every stage of some epochs, as people do from the UI; return its id."""
        selection = [{"path": key.path} for key in stage_keys([stage.name for stage in EPOCH_STAGES])]
        parameters = {"assetSelection": selection, "partitionNames": list(epochs), "fromFailure": False}
        answer = self.graphql(_BACKFILL, {"params": parameters})["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def backfill_finished(self, backfill: str) -> bool:
        """Whether Dagster calls a backfill complete."""
        status = self.graphql(_BACKFILL_STATUS, {"id": backfill})["partitionBackfillOrError"]["status"]
        assert status in ("REQUESTED", "COMPLETED_SUCCESS", "COMPLETED"), status
        return str(status).startswith("COMPLETED")

    def wait_for_epochs(self, seconds: float) -> None:
        """Wait until every stage of every epoch is fresh.

        Scales between epochs have no epochs to backfill: `automation` makes them, if it is not stopped.
        """
        self.wait_for(lambda: (of_epochs(self.project.assess())["state"] == "fresh").all(), "all epochs", seconds)

    def made_twice(self, runs: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
        """Assets and epochs that more than one of these runs made in the same version: needless work."""
        own = {run["runId"] for run in runs}
        twice = set()
        for asset in sorted({asset for run in runs for asset in run["assets"]}):
            events = self.graphql(_MADE, {"key": {"path": asset.split("/")}})["assetOrError"]["assetMaterializations"]
            told: dict[tuple[str, str], set[str]] = {}
            for event in events:
                versions = [tag["value"] for tag in event["tags"] if tag["key"] == DATA_VERSION_TAG]
                if event["runId"] in own and event["partition"] and versions:
                    told.setdefault((event["partition"], versions[0]), set()).add(event["runId"])
            twice |= {(asset, epoch) for (epoch, _), by in told.items() if len(by) > 1}
        return twice

    def partitions(self) -> list[str]:
        """The registered epochs, in Dagster's order."""
        query = """{ assetNodes(assetKeys: [{path: ["raw_detections"]}]) { partitionKeys } }"""
        return list(self.graphql(query)["assetNodes"][0]["partitionKeys"])

    def check(self, asset: str, name: str, query: str) -> dict[str, Any]:
        """The latest evaluation of a check."""
        node = self.graphql(query, {"key": {"path": asset.split("/")}})["node"]
        (found,) = [one for one in node["assetChecksOrError"]["checks"] if one["name"] == name]
        return found["executionForLatestMaterialization"]["evaluation"]

    def pending(self) -> bool:
        """Whether anything is left to make that can be made, as the reconciler sees it."""
        return not work_to_do(self.project.assess()).empty


@contextmanager
def deployed(project: Project) -> Iterator[Deployment]:
    """A running deployment, stopped whatever happens."""
    deployment = Deployment(project)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
