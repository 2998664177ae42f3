"""Deliveries at a glance: which epochs there are, in which order, and which version of each."""

import os
import time
from pathlib import Path

import pytest

from contimg_assets.errors import InputError
from contimg_assets.ingest import delivery
from contimg_assets.ingest.delivery import (
    DeliveryVersions,
    delivered_files,
    delivery_version,
    find_deliveries,
    unusable_folders,
)


def deliver(incoming: Path, epoch: str, mjd: float = 60000.0, content: str = "a\n1\n") -> Path:
    folder = incoming / epoch
    folder.mkdir(parents=True)
    (folder / "one.csv").write_text(content, encoding="utf-8")
    (folder / "images.csv").write_text(f"image,catalogue,mjd_mid\none,one.csv,{mjd}\n", encoding="utf-8")
    return folder


def test_epochs_come_in_the_order_of_their_observation(tmp_path: Path) -> None:
    deliver(tmp_path, "b", 60001.0)
    deliver(tmp_path, "a", 60002.0)
    deliver(tmp_path, "c", 60001.0)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "a file").touch()
    assert [found.epoch for found in find_deliveries(tmp_path)] == ["b", "c", "a"]


def test_a_name_that_cannot_be_an_epochs_is_told_and_left_out(tmp_path: Path) -> None:
    deliver(tmp_path, "a,b")
    deliver(tmp_path, "good")
    assert [found.epoch for found in find_deliveries(tmp_path)] == ["good"]
    assert list(unusable_folders(tmp_path)) == ["a,b"]
    assert "rename" in unusable_folders(tmp_path)["a,b"]


def test_what_is_no_delivery_is_told_with_the_reason(tmp_path: Path) -> None:
    deliver(tmp_path, "good")
    (tmp_path / "empty").mkdir()
    (tmp_path / "misspelt").mkdir()
    (tmp_path / "misspelt" / "Images.csv").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "README").touch()
    assert [found.epoch for found in find_deliveries(tmp_path)] == ["good"]
    reasons = unusable_folders(tmp_path)
    assert sorted(reasons) == ["empty", "loop", "misspelt"]
    assert "Images.csv" in reasons["misspelt"]
    assert "no images.csv yet" in reasons["empty"]


def test_no_incoming_folder_is_an_error_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"paths\.incoming"):
        find_deliveries(tmp_path / "nowhere")


def test_an_unreadable_manifest_keeps_its_epoch_last(tmp_path: Path) -> None:
    deliver(tmp_path, "z", 60000.0)
    (deliver(tmp_path, "a") / "images.csv").write_bytes(b"\xff\xfe\x00")
    found = find_deliveries(tmp_path)
    assert [one.epoch for one in found] == ["z", "a"]
    assert delivery_version(found[1].folder)


def test_only_what_the_manifest_names_counts(tmp_path: Path) -> None:
    folder = deliver(tmp_path, "a")
    version = delivery_version(folder)
    (folder / "notes.txt").write_text("weather was fine", encoding="utf-8")
    assert delivery_version(folder) == version
    assert [file.name for file in delivered_files(folder)] == ["images.csv", "one.csv"]
    (folder / "one.csv").write_text("a\n2\n", encoding="utf-8")
    changed = delivery_version(folder)
    assert changed != version
    (folder / "one.csv").unlink()
    assert delivery_version(folder) not in (changed, version)


def test_touching_changes_nothing(tmp_path: Path) -> None:
    folder = deliver(tmp_path, "a")
    version = delivery_version(folder)
    os.utime(folder / "one.csv", (1, 1))
    assert delivery_version(folder) == version


def test_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    old = time.time() - 3600
    for file in folder.iterdir():
        os.utime(file, (old, old))
    memory = tmp_path / "versions.json"
    first = DeliveryVersions(memory)
    version = first.version(folder)
    first.save()
    hashed: list[Path] = []
    monkeypatch.setattr(delivery, "file_version", lambda file, wholly: hashed.append(file) or "x")
    again = DeliveryVersions(memory)
    assert again.version(folder) == version
    assert hashed == []
    memory.write_text("{", encoding="utf-8")
    assert DeliveryVersions(memory).version(folder) != version
    assert {file.name for file in hashed} == {"images.csv", "one.csv"}


def test_a_file_just_written_is_hashed_again(tmp_path: Path) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    versions = DeliveryVersions(tmp_path / "versions.json")
    before = versions.version(folder)
    stamp = (folder / "one.csv").stat().st_mtime_ns
    (folder / "one.csv").write_text("a\n9\n", encoding="utf-8")
    os.utime(folder / "one.csv", ns=(stamp, stamp))  # same size, same time: only the bytes differ
    assert versions.version(folder) != before
    assert versions.quiet_for(folder) < 60


def test_a_file_elsewhere_is_hashed_once_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "archive" / "one.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("a\n1\n", encoding="utf-8")
    folder = deliver(tmp_path / "incoming", "a")
    manifest = folder / "images.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("one.csv", str(elsewhere)), encoding="utf-8")
    old = time.time() - 3600
    for file in (manifest, elsewhere):
        os.utime(file, (old, old))
    memory = tmp_path / "versions.json"
    first = DeliveryVersions(memory)
    version = first.version(folder)
    first.forget_except([folder])
    first.save()
    monkeypatch.setattr(delivery, "file_version", lambda file, wholly: pytest.fail(f"{file} is hashed again"))
    assert DeliveryVersions(memory).version(folder) == version


def test_version_when_quiet(tmp_path: Path) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    versions = DeliveryVersions(tmp_path / "versions.json")
    assert versions.version_when_quiet(folder, 60.0) is None
    assert versions.version_when_quiet(folder, 0.0) == versions.version(folder) == delivery_version(folder)
