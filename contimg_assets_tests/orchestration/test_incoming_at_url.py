"""A survey whose epochs are delivered at an object store: the rows of one in a folder, whatever happens there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.definitions import build_definitions
from contimg_assets.errors import InputError
from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.pipeline import delivery_copies
from contimg_assets_tests.object_store import Bucket, serving, silence
from contimg_assets_tests.projects import TestProject, assert_same_rows


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving("telescope") as (bucket, _):
        yield bucket


@pytest.fixture
def remote(project: TestProject, bucket: Bucket) -> TestProject:
    """A project whose epochs are delivered at a bucket, where all of them are."""
    bucket.put(project.survey / "incoming", "incoming")
    shutil.rmtree(project.folder / "incoming")
    project.configure(paths={"incoming": f"{bucket.url}/incoming"})
    return project


def tick(project: TestProject) -> dg.SensorExecutionData:
    config = project.project.config
    definitions = build_definitions(config)
    context = dg.build_sensor_context(instance=project.instance, definitions=definitions)
    return definitions.resolve_sensor_def("deliveries").evaluate_tick(context)


@pytest.mark.slow
def test_rows_are_those_of_a_folder_whatever_happens_at_the_server(
    remote: TestProject, made: TestProject, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    take = delivery_copies._Look.take

    def counted(self: delivery_copies._Look) -> None:
        looks.append(self)
        take(self)

    monkeypatch.setattr(delivery_copies._Look, "take", counted)
    assert remote.run().complete
    assert len(looks) <= 10
    assert_same_rows(remote.rows(), made.rows())
    assert not (remote.folder / "incoming").exists()
    assert remote.run().run_ids == []
    # A silent server is a sentence; nothing is stale, deleted or gone because of it.
    with silence():
        done = CliRunner().invoke(app, ["-C", str(remote.folder), "run"])
        assert (done.exit_code, done.stdout) == (2, "")
        assert " ".join(done.stderr.split()).startswith(
            "error: s3://telescope/incoming: not reachable (Could not connect"
        )
        found = tick(remote)
        assert found.skip_message is not None
        assert found.skip_message.startswith("s3://telescope/incoming: not reachable")
        assert remote.project.vanished_epochs() == []
        # A run that Dagster launches reads what was copied before.
        job = build_definitions(remote.project.config).resolve_implicit_global_asset_job_def()
        raw = dg.AssetKey(["raw_detections"])
        launched = job.execute_in_process(
            instance=remote.instance, partition_key=remote.epochs[0], asset_selection=[raw]
        )
        assert launched.success
    assert set(remote.project.assess()["state"]) == {"fresh"}
    assert_same_rows(remote.rows(), made.rows())
    # What cannot be read is told of by its URL; what is taken back is as it was before.
    epoch = remote.epochs[-1]
    (name, *_) = (file.name for file in (made.survey / "incoming" / epoch).iterdir() if file.name != "images.csv")
    bucket.write(f"incoming/{epoch}/{name}", b"")
    (failed,) = remote.run().failed["reason"]
    assert failed.startswith(f"s3://telescope/incoming/{epoch}/{name}: the file is empty; deliver it again")
    bucket.put(made.survey / "incoming" / epoch, f"incoming/{epoch}")
    assert remote.run().complete
    assert_same_rows(remote.rows(), made.rows())


@pytest.mark.slow
def test_an_epoch_that_is_removed_there_is_removed_as_from_a_folder(
    remote: TestProject, made: TestProject, bucket: Bucket, tmp_path: Path
) -> None:
    shutil.copytree(made.folder, tmp_path / "local")
    local = TestProject(tmp_path / "local", made.survey)
    assert remote.run().complete
    epoch = remote.epochs[1]
    with pytest.raises(Exception, match=r"is still in s3://telescope/incoming; move its folder away"):
        delete_epoch(remote.project, remote.instance, epoch)
    for file in (remote.survey / "incoming" / epoch).iterdir():
        bucket.remove(f"incoming/{epoch}/{file.name}")
    remote.project.deliveries()
    assert remote.project.vanished_epochs() == [epoch]
    with silence(), pytest.raises(InputError, match="not reachable"):
        delete_epoch(remote.project, remote.instance, epoch)
    delete_epoch(remote.project, remote.instance, epoch)
    shutil.rmtree(local.folder / "incoming" / epoch)
    delete_epoch(local.project, local.instance, epoch)
    assert_same_rows(remote.rows(), local.rows())
