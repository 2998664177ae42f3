"""Deliveries that come twice: said and refused, unless both are meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from contimg_assets.config import Config, Ingest
from contimg_assets.errors import InputError
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets_tests.ingest.build import csv, epoch_folder, sky, write_manifest
from contimg_assets_tests.instances import instance_in_memory

MEANT = Ingest(allow_same_content=True)


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """One epoch."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    epoch_folder(folder, csv(sky(20)))
    return folder


def run(config: Config) -> dict[str, str]:
    """Brings all up to date, and gives why epochs failed to be read."""
    project = Project(config)
    with instance_in_memory() as instance:
        bring_up_to_date(project, instance)
    failures = project.store.failures("raw_detections")
    return {failure.epoch: failure.message for failure in failures}


@pytest.mark.slow
def test_the_same_files_under_a_second_name_are_refused_unless_meant(tmp_path: Path, incoming: Path) -> None:
    shutil.copytree(incoming / "e1", incoming / "e2")
    config = Config(root=tmp_path)
    failed = run(config)
    assert set(failed) == {"e2"}
    assert "the same files as epoch 'e1'" in failed["e2"]
    with Project(config).products as database:
        assert set(database.read_table("epochs")["epoch"]) == {"e1"}
    assert run(config) == failed
    assert run(Config(root=tmp_path, ingest=MEANT)) == {}
    with Project(config).products as database:
        assert set(database.read_table("epochs")["epoch"]) == {"e1", "e2"}


@pytest.mark.slow
def test_a_folder_that_was_renamed_is_no_second_delivery(tmp_path: Path, incoming: Path) -> None:
    config = Config(root=tmp_path)
    assert run(config) == {}
    (incoming / "e1").rename(incoming / "e9")
    assert run(config) == {}
    assert (tmp_path / "store" / "raw_detections" / "e9").is_dir()


def test_an_image_twice_in_an_epoch_is_refused_unless_meant(tmp_path: Path, incoming: Path) -> None:
    folder = incoming / "e1"
    shuffled = sky(20).iloc[::-1].assign(component_id=[f"other{k}" for k in range(20)])
    (folder / "again.csv").write_bytes(csv(shuffled))
    write_manifest(folder, [{}, {"image": "again", "catalogue": "again.csv", "mjd_mid": 60000.6}])
    with pytest.raises(InputError, match=r"line 3: image 'again' has the same 20 rows as image 'field_a' of line 2"):
        read_epoch(folder, "e1", Config(root=tmp_path))
    assert len(read_epoch(folder, "e1", Config(root=tmp_path, ingest=MEANT)).images) == 2


def test_images_that_share_most_rows_are_two(tmp_path: Path, incoming: Path) -> None:
    folder = incoming / "e1"
    table = sky(20)
    table.loc[0, "flux_int_mjy"] += 1.0
    (folder / "other.csv").write_bytes(csv(table))
    write_manifest(folder, [{}, {"image": "other", "catalogue": "other.csv"}])
    assert len(read_epoch(folder, "e1", Config(root=tmp_path)).images) == 2
