"""Deliveries at a glance: which epochs there are, in which order, and which version of each."""

import math
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.manifest import read_manifest
from contimg_assets.pipeline import deliveries as delivery
from contimg_assets.pipeline.deliveries import (
    DeliveryVersions,
    ImageFiles,
    delivered_files,
    delivery_version,
    find_deliveries,
    find_image,
    image_state,
    unusable_folders,
)

NUMBERS = {
    "mjd_mid": 60000.5,
    "ra_deg": 10.0,
    "dec_deg": -30.0,
    "radius_deg": 2.0,
    "bmaj_arcsec": 15.0,
    "bmin_arcsec": 10.0,
    "bpa_deg": 20.0,
    "freq_mhz": 887.5,
    "rms_mjy_beam": 0.25,
}


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


def test_a_changed_content_shows_whatever_its_times_say(tmp_path: Path) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    versions = DeliveryVersions(tmp_path / "versions.json")
    before = versions.version(folder)
    (folder / "one.csv").write_text("a\n9\n", encoding="utf-8")
    os.utime(folder / "one.csv", (1, 1))
    changed = versions.version(folder)
    assert changed != before
    manifest = (folder / "images.csv").read_text(encoding="utf-8")
    (folder / "images.csv").write_text(manifest.replace("60000.0", "59999.5"), encoding="utf-8")
    os.utime(folder / "images.csv", (1, 1))
    assert find_deliveries(tmp_path / "incoming")[0].mjd == 59999.5


@pytest.mark.parametrize("ahead_seconds", [7200.0, 3e9])
def test_times_ahead_keep_no_epoch_waiting_and_are_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float
) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    then = time.time() + ahead_seconds
    for file in folder.iterdir():
        os.utime(file, (then, then))
    memory = tmp_path / "versions.json"
    versions = DeliveryVersions(memory)
    assert versions.version_when_quiet(folder, 60.0) is None  # for this minute: the times were set just now
    version = versions.version_when_quiet(folder, 0.0)
    assert version == delivery_version(folder)
    versions.save()
    monkeypatch.setattr(delivery, "file_version", lambda file, wholly: pytest.fail(f"{file} is hashed again"))
    assert DeliveryVersions(memory).version(folder) == version
    monkeypatch.setattr(delivery.time, "time", lambda: then - ahead_seconds - 3600.0)  # the clock is set back
    assert DeliveryVersions(memory).version_when_quiet(folder, 60.0) == version


def test_the_incoming_folder_may_be_a_link(tmp_path: Path) -> None:
    folder = deliver(tmp_path / "disk", "a")
    (tmp_path / "incoming").symlink_to(tmp_path / "disk")
    (found,) = find_deliveries(tmp_path / "incoming")
    assert delivery_version(found.folder) == delivery_version(folder)
    assert [file.name for file in delivered_files(found.folder)] == ["images.csv", "one.csv"]


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


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'{"a": 1}', bytes(range(255, 0, -1)), b"[" * 100_000])
def test_a_damaged_memory_costs_nothing_but_time(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    memory = tmp_path / "versions.json"
    memory.write_bytes(content)
    os.utime(memory, (1, 1))
    for _ in range(2):
        versions = DeliveryVersions(memory)
    assert versions.version(folder) == delivery_version(folder)
    assert [str(memory) in message for message in caplog.messages] == [True]
    versions.save()
    assert "images.csv" in memory.read_text(encoding="utf-8")


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


def test_nothing_outside_the_folder_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret" / "one.csv"
    secret.parent.mkdir()
    secret.write_text("a\n1\n", encoding="utf-8")
    named = deliver(tmp_path / "incoming", "named")
    (named / "images.csv").write_text("image,catalogue,mjd_mid\none,../../secret/one.csv,1\n", encoding="utf-8")
    linked = deliver(tmp_path / "incoming", "linked")
    (linked / "one.csv").unlink()
    (linked / "one.csv").symlink_to(secret)
    hashed: list[Path] = []
    hash_file = delivery.file_version
    monkeypatch.setattr(delivery, "file_version", lambda file, wholly: hashed.append(file) or hash_file(file, wholly))
    for folder in (named, linked):
        hashed.clear()
        outside = delivery_version(folder)
        assert DeliveryVersions(tmp_path / "versions.json").version(folder) == outside
        assert {file.name for file in hashed} == {"images.csv"}
        hashed.clear()
        inside = delivery_version(folder, [tmp_path / "secret"])
        assert DeliveryVersions(tmp_path / "versions.json", [tmp_path / "secret"]).version(folder) == inside != outside
        assert {file.name for file in hashed} == {"images.csv", "one.csv"}


def test_a_file_that_cannot_be_read_has_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it can be, though neither its time nor its size changes then."""
    folder = deliver(tmp_path / "incoming", "a")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    versions = DeliveryVersions(tmp_path / "versions.json")
    opened, refused = Path.open, set[str]()

    def refuse(path: Path, *arguments: object, **keywords: object) -> object:
        if path.name in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", refuse)
    readable = versions.version(folder)
    for name in ("one.csv", "images.csv"):
        versions = DeliveryVersions(tmp_path / "others.json")
        refused |= {name}
        assert [found.epoch for found in find_deliveries(tmp_path / "incoming")] == ["a"]
        assert versions.version(folder) == delivery_version(folder) != readable
    refused.clear()
    assert versions.version(folder) == readable


def test_a_folder_that_may_not_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(tmp_path, "good")
    (tmp_path / "closed").mkdir()
    may, scan = os.access, os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and may(path, mode))
    monkeypatch.setattr(os, "scandir", scandir)
    assert [found.epoch for found in find_deliveries(tmp_path)] == ["good"]
    assert "may not be opened" in unusable_folders(tmp_path)["closed"]
    assert delivered_files(tmp_path / "closed") == [tmp_path / "closed" / "images.csv"]
    with pytest.raises(InputError, match="may not be listed"):
        find_deliveries(tmp_path / "closed")


def test_version_when_quiet(tmp_path: Path) -> None:
    folder = deliver(tmp_path / "incoming", "a")
    versions = DeliveryVersions(tmp_path / "versions.json")
    assert versions.version_when_quiet(folder, 60.0) is None
    assert versions.version_when_quiet(folder, 0.0) == versions.version(folder) == delivery_version(folder)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "  "])
@pytest.mark.parametrize("comment", ["", "# written by the scheduler\n"])
@pytest.mark.parametrize("name", ["a.csv", "cats/a.csv", "./cats//a.csv", "{root}/a.csv"])
def test_a_replaced_catalogue_is_noticed_however_the_manifest_is_written(
    tmp_path: Path, delimiter: str, comment: str, name: str
) -> None:
    """What counts for the version is what `read_manifest` reads: both take the manifest apart in one way."""
    folder, root = tmp_path / "incoming" / "e1", tmp_path / "archive"
    for place in (folder, folder / "cats", root):
        place.mkdir(parents=True)
        (place / "a.csv").write_text("a\n1\n", encoding="utf-8")
    name = name.format(root=root)
    row = {"image": "a", "catalogue": name, **NUMBERS}
    lines = (delimiter.join(map(str, cells)) for cells in (row.keys(), row.values()))
    (folder / "images.csv").write_text(comment + "\n".join(lines) + "\n", encoding="utf-8")
    config = Config(root=tmp_path, paths={"image_roots": [str(root)]})  # type: ignore[arg-type]
    (catalogue,) = read_manifest(folder, config).catalogs
    assert {file.resolve() for file in delivered_files(folder)} == {folder / "images.csv", catalogue}
    (found,) = find_deliveries(tmp_path / "incoming")
    assert found.mjd == NUMBERS["mjd_mid"]
    before = delivery_version(folder, [root])
    catalogue.write_text("a\n2\n", encoding="utf-8")
    assert delivery_version(folder, [root]) != before


def test_a_manifest_of_gigabytes_costs_nothing(tmp_path: Path) -> None:
    """Its epoch fails with the cure; nothing reads it to find that out."""
    folder = deliver(tmp_path, "a")
    os.truncate(folder / "images.csv", 3_000_000_000)
    with pytest.raises(InputError, match=r"images\.csv: larger than 20 MB"):
        read_manifest(folder, Config(root=tmp_path))
    began = time.process_time()
    tracemalloc.start()
    try:
        (found,) = find_deliveries(tmp_path)
        versions = DeliveryVersions(tmp_path / "versions.json")
        version = versions.version_when_quiet(folder, 0.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.mjd == math.inf
    assert version == delivery_version(folder)
    assert peak < 5_000_000
    assert time.process_time() - began < 1.0


def test_the_background_of_an_image_without_a_catalog_is_part_of_the_delivery(tmp_path: Path) -> None:
    """Fluxes are measured in such an image when its epoch is read; the others' background is for forced fluxes."""
    folder = tmp_path / "n1"
    folder.mkdir()
    (folder / "images.csv").write_text(
        "image,catalogue,path,stokes,background_map\ni,i.csv,i.fits,I,i_level.fits\nv,,v.fits,V,v_level.fits\n"
    )
    for name in ("i.csv", "i.fits", "v.fits", "i_level.fits", "v_level.fits"):
        (folder / name).write_bytes(b"1")
    versions = [delivery_version(folder)]
    for name in ("i_level.fits", "v_level.fits"):
        (folder / name).write_bytes(b"2")
        versions.append(delivery_version(folder))
    assert versions[0] == versions[1] != versions[2]


def test_maps_of_an_image_at_a_url_are_found_and_part_of_its_version(tmp_path: Path) -> None:
    here, allowed = "https://example.org/images/", ["https://example.org/images"]
    folder = tmp_path / "incoming" / "n1"
    folder.mkdir(parents=True)
    (folder / "rms.fits").write_bytes(b"1")
    alone = ImageFiles(f"{here}a.fits")
    both = ImageFiles(f"{here}a.fits", "rms.fits", f"{here}b.fits")
    # What was measured without maps stays.
    assert image_state(folder, alone, [], allowed) == f"{here}a.fits"
    states = [image_state(folder, both, [], allowed), image_state(folder, both, [], [])]
    (folder / "rms.fits").write_bytes(b"22")
    states.append(image_state(folder, both, [], allowed))
    assert len(set(states)) == 3
    config = Config(root=tmp_path, paths={"image_urls": allowed})
    assert find_image(folder, both, config) == (f"{here}a.fits", (folder / "rms.fits", f"{here}b.fits"))
    assert find_image(folder, alone, config)[1] == (None, None)
    with pytest.raises(InputError, match=r"images\.csv: column 'background_map' names .*paths\.image_urls"):
        find_image(folder, ImageFiles("rms.fits", None, "https://example.com/b.fits"), config)
    with pytest.raises(InputError, match=r"column 'rms_map' names 'no\.fits', which is not in"):
        find_image(folder, ImageFiles(f"{here}a.fits", "no.fits"), config)
