"""Copies of deliveries at URLs: fetched when they changed, whole or as before, and untouched by a silent server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.manifest import read_manifest
from contimg_assets.pipeline import delivery_copies, delivery_servers
from contimg_assets.pipeline.deliveries import (
    delivery_version,
    find_deliveries,
    find_image,
    image_files,
    images_version,
    unusable_folders,
)
from contimg_assets.pipeline.delivery_copies import bring_deliveries, refused_deliveries
from contimg_assets.pipeline.project import Project
from contimg_assets.reading.fits_images import open_delivered
from contimg_assets_tests.object_store import Bucket, serving, silence


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Bucket, Any]]:
    with serving("telescope") as running:
        yield running


@pytest.fixture
def bucket(store: tuple[Bucket, Any]) -> Bucket:
    bucket, _ = store
    for name in bucket.system.find(bucket.url):
        bucket.remove(name.partition("/")[2])
    return bucket


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Three small epochs in a folder."""
    for epoch, mjd in (("e1", 60000.0), ("e2", 60001.0), ("e3", 60002.0)):
        write(tmp_path / "here" / epoch, mjd)
    return tmp_path / "here"


def write(folder: Path, mjd: float, **others: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text(f"ra,dec\n{mjd},{name}\n", encoding="utf-8")
    lines = [f"a,a.csv,{mjd}", f"b,b.csv,{mjd}"]
    (folder / "images.csv").write_text("\n".join(["image,catalogue,mjd_mid", *lines, ""]), encoding="utf-8")


def config_of(tmp_path: Path, url: str, **paths: Any) -> Config:
    return Config.model_validate({"paths": {"incoming": url, **paths}, "root": tmp_path / "project"})


@pytest.fixture
def config(bucket: Bucket, here: Path, tmp_path: Path) -> Config:
    bucket.put(here, "incoming")
    return config_of(tmp_path, f"{bucket.url}/incoming/")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is fetched."""
    names: list[str] = []
    fetch = delivery_servers._ObjectStore.fetch

    def noted(self: Any, epoch: str, name: str, *rest: Any) -> None:
        names.append(f"{epoch}/{name}")
        fetch(self, epoch, name, *rest)

    monkeypatch.setattr(delivery_servers._ObjectStore, "fetch", noted)
    return names


def versions(config: Config) -> dict[str, str]:
    bring_deliveries(config)
    return {one.epoch: delivery_version(one.folder) for one in find_deliveries(config.incoming)}


def of_folder(folder: Path) -> dict[str, str]:
    return {one.epoch: delivery_version(one.folder) for one in find_deliveries(folder)}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_epochs_have_the_versions_that_they_have_in_a_folder(config: Config, here: Path, fetched: list[str]) -> None:
    assert versions(config) == of_folder(here)
    assert list(versions(config)) == ["e1", "e2", "e3"]
    # Whether they changed is listed, and not read.
    assert len(fetched) == len(set(fetched)) == 9


def test_a_replaced_object_is_fetched_alone_and_noticed_whatever_its_size_and_time(
    config: Config, bucket: Bucket, here: Path, fetched: list[str]
) -> None:
    before = versions(config)
    project = Project(config)
    kept = project.delivery_versions()
    assert {epoch: kept.version(config.incoming / epoch) for epoch in before} == before
    fetched.clear()
    (here / "e2" / "a.csv").write_text("ra,dec\n60001.0,c\n", encoding="utf-8")
    bucket.write("incoming/e2/a.csv", (here / "e2" / "a.csv").read_bytes())
    project.deliveries()
    assert fetched == ["e2/a.csv"]
    after = {epoch: kept.version(config.incoming / epoch) for epoch in before}
    assert after == of_folder(here)
    assert [epoch for epoch in before if after[epoch] != before[epoch]] == ["e2"]


def test_the_same_content_sent_again_changes_nothing(config: Config, bucket: Bucket, here: Path) -> None:
    before = versions(config)
    bucket.put(here, "incoming")
    assert versions(config) == before


def test_what_is_removed_at_the_server_is_gone_here(config: Config, bucket: Bucket, here: Path) -> None:
    versions(config)
    bucket.remove("incoming/e2/a.csv")
    for name in ("images.csv", "a.csv", "b.csv"):
        bucket.remove(f"incoming/e3/{name}")
    (here / "e2" / "a.csv").unlink()
    for file in (here / "e3").iterdir():
        file.unlink()
    (here / "e3").rmdir()
    assert versions(config) == of_folder(here)
    assert not (config.incoming / "e3").exists()


def test_an_epoch_without_its_manifest_is_there_and_not_taken(config: Config, bucket: Bucket) -> None:
    before = versions(config)
    bucket.remove("incoming/e2/images.csv")
    assert list(versions(config)) == ["e1", "e3"]
    assert "no images.csv yet" in unusable_folders(config.incoming)["e2"]
    write(config.root / "again", 60001.0)
    bucket.put(config.root / "again", "incoming/e2")
    assert versions(config) == before


def test_nothing_at_all_is_a_wrong_url_and_removes_nothing(config: Config, bucket: Bucket) -> None:
    versions(config)
    before = tree(config.incoming)
    for name in bucket.system.find(bucket.url):
        bucket.remove(name.partition("/")[2])
    with pytest.raises(InputError, match=r"there is nothing at this URL; .*paths\.incoming"):
        bring_deliveries(config)
    assert tree(config.incoming) == before


def test_a_bucket_that_is_not_there_is_said(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^s3://nowhere/incoming: the server has no such file; see that it answers"):
        bring_deliveries(config_of(tmp_path, "s3://nowhere/incoming"))


def test_a_silent_server_changes_nothing_and_is_one_sentence(config: Config) -> None:
    versions(config)
    before = tree(config.incoming)
    with silence(), pytest.raises(InputError, match=r"^s3://telescope/incoming: not reachable \(.*\); see ") as caught:
        Project(config).deliveries()
    assert "testing" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(config.incoming) == before


def test_one_that_falls_silent_leaves_the_epoch_as_it_was(
    config: Config, bucket: Bucket, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = versions(config)
    for epoch, mjd in (("e1", 60010.0), ("e2", 60011.0)):
        write(here / epoch, mjd)
    bucket.put(here, "incoming")
    with monkeypatch.context() as patched:
        patched.setattr(delivery_servers, "fetch", failing("e1/b.csv", delivery_servers.fetch))
        after = versions(config)
    assert after["e1"] == before["e1"]
    assert after["e2"] == of_folder(here)["e2"]
    (reason,) = Project(config).unusable_folders().values()
    assert reason == (
        "s3://telescope/incoming/e1/b.csv: not reachable (the line is cut); try again, or put the file here and give "
        "its path; the epoch stays as it was"
    )
    assert versions(config) == of_folder(here)
    assert Project(config).unusable_folders() == {}
    assert not (config.incoming / ".fetched").exists()


def failing(name: str, fetch: Any) -> Any:
    def cut(url: str, *rest: Any) -> None:
        if url.endswith(name):
            raise delivery_servers.trouble(url, OSError("the line is cut"))
        fetch(url, *rest)

    return cut


def test_an_object_that_is_refused_keeps_no_other_epoch_waiting(
    config: Config, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = delivery_servers.fetch

    def refuse(url: str, *rest: Any) -> None:
        if url.endswith("e1/a.csv"):
            raise delivery_servers.trouble(url, PermissionError("AccessDenied"))
        fetch(url, *rest)

    monkeypatch.setattr(delivery_servers, "fetch", refuse)
    assert list(versions(config)) == ["e2", "e3"]
    assert "e1/a.csv: the server refuses it" in refused_deliveries(config)["e1"]


class Killed(BaseException):
    """As if the process ended here."""


def test_a_process_that_is_killed_leaves_what_the_next_one_finishes(
    config: Config, bucket: Bucket, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = versions(config)
    old = tree(config.incoming / "e2")
    write(here / "e2", 60001.5)
    bucket.put(here / "e2", "incoming/e2")
    (here / "e2" / "images.csv").read_bytes()
    replace = Path.replace
    for step in itertools.count():
        calls = itertools.count()

        def dying(self: Path, target: Path, calls: Iterator[int] = calls, step: int = step) -> Path:
            if next(calls) == step:
                raise Killed
            return replace(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", dying)
            try:
                bring_deliveries(config)
                break
            except Killed:
                pass
        now = tree(config.incoming / "e2")
        # A new manifest never stands beside old catalogs.
        assert now["images.csv"] == old["images.csv"] or {now["a.csv"], now["b.csv"]}.isdisjoint(old.values())
    assert step > 5
    assert versions(config) == of_folder(here) != before
    assert not list(config.incoming.rglob("*.tmp"))


def test_copies_that_somebody_changed_or_removed_are_made_again(config: Config, here: Path) -> None:
    before = versions(config)
    (config.incoming / "e1" / "a.csv").write_text("mine", encoding="utf-8")
    (config.incoming / "e2" / "b.csv").unlink()
    (config.incoming / "e3" / ".known.json").write_text("{half", encoding="utf-8")
    assert versions(config) == before


def test_names_that_anybody_may_have_chosen_lead_nowhere_else(
    config: Config, bucket: Bucket, here: Path, tmp_path: Path
) -> None:
    hostile = ("../evil.csv", "e1/../../evil.csv", "e1//evil.csv", "/etc/evil.csv", "..", "e1/a\\b.csv")
    for name in (*hostile, "bad name/images.csv", "e1/a.csv/inside.csv", "e1/.known.json", ".lock/x", "beside.txt"):
        bucket.write(f"incoming/{name}", b"evil")
    bucket.write("incoming/e1/" + "x" * 300, b"evil")
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "project")}
    assert versions(config) == of_folder(here)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "project")} == outside
    assert b"evil" not in tree(config.incoming).values()
    names = {str(path.relative_to(config.root)) for path in config.root.rglob("*") if path.is_file()}
    assert not [name for name in names if "evil" in name]
    refused = refused_deliveries(config)
    assert "rename" in refused["bad name"]
    assert "the name of its folder" in refused["e1/a.csv/inside.csv"]
    assert "backslash or a control character" in refused["e1/a\\b.csv"]
    # Other epochs' and nobody's files are no affair of an epoch's.
    assert not Path("/etc/evil.csv").exists()


def test_names_with_blanks_and_letters_of_any_script_are_names(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "here" / "e1"
    folder.mkdir(parents=True)
    (folder / "images.csv").write_text("image,catalogue\na,./sub/ñ κατ 100%.csv\n", encoding="utf-8")
    (folder / "sub").mkdir()
    (folder / "sub" / "ñ κατ 100%.csv").write_text("ra,dec\n1,2\n", encoding="utf-8")
    bucket.put(folder.parent, "in coming")
    config = config_of(tmp_path, f"{bucket.url}/in coming")
    assert versions(config) == of_folder(folder.parent)


def image(folder: Path, name: str, level: float = 0.0) -> None:
    about = {"BUNIT": "Jy/beam", "BMAJ": 15 / 3600, "BMIN": 10 / 3600, "BPA": 20.0, "MJD-AVG": 60000.5}
    about |= {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 10.0, "CRVAL2": -30.0, "RESTFRQ": 887.5e6}
    about |= {"CRPIX1": 200, "CRPIX2": 200, "CDELT1": -1e-3, "CDELT2": 1e-3}
    fits.writeto(folder / name, np.full((400, 400), level, "float32"), fits.Header(about), overwrite=True)


def test_images_stay_at_their_server_and_are_read_there(bucket: Bucket, tmp_path: Path, fetched: list[str]) -> None:
    folder = tmp_path / "here" / "e1"
    folder.mkdir(parents=True)
    image(folder, "a b.fits")
    (folder / "a.csv").write_text("ra,dec\n1,2\n", encoding="utf-8")
    (folder / "forgotten.csv").write_text("ra,dec\n1,2\n", encoding="utf-8")
    (folder / "images.csv").write_text("image,catalogue,path\na,a.csv,a b.fits\n", encoding="utf-8")
    bucket.put(folder.parent, "incoming")
    config, local = config_of(tmp_path, f"{bucket.url}/incoming"), Config(root=tmp_path)
    bring_deliveries(config)
    assert sorted(fetched) == ["e1/a.csv", "e1/images.csv"]
    # Beam, field, time and frequency are of its header, and what nobody asked for is told of.
    there, with_header = (read_manifest(at, of) for at, of in ((config.incoming / "e1", config), (folder, local)))
    assert there.images.equals(with_header.images)
    assert there.unlisted == with_header.unlisted == ("forgotten.csv",)
    files = (image_files(config.incoming / "e1") or {})["a"]
    assert find_image(config.incoming / "e1", files, config)[0] == f"{bucket.url}/incoming/e1/a b.fits"
    before = images_version(config.incoming / "e1", ()), delivery_version(config.incoming / "e1")
    bring_deliveries(config)
    assert (images_version(config.incoming / "e1", ()), delivery_version(config.incoming / "e1")) == before
    image(folder, "a b.fits", 1.0)
    bucket.write("incoming/e1/a b.fits", (folder / "a b.fits").read_bytes())
    bring_deliveries(config)
    with open_delivered(find_image(config.incoming / "e1", files, config)[0]) as opened:
        assert opened.part(slice(10, 13), slice(20, 24)).pixels.tolist() == [[1.0] * 4] * 3
    assert images_version(config.incoming / "e1", ()) != before[0]
    assert delivery_version(config.incoming / "e1") != before[1]
    copied = config_of(tmp_path, f"{bucket.url}/incoming", copy_images=True)
    assert versions(copied) == of_folder(folder.parent)
    assert find_image(copied.incoming / "e1", files, copied)[0] == (copied.incoming / "e1" / "a b.fits").resolve()


def test_a_name_by_which_another_file_would_be_opened_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "here" / "e1"
    folder.mkdir(parents=True)
    name = "x.zip::file/etc/passwd"
    (folder / "images.csv").write_text(f"image,catalogue,path\na,a.csv,{name}\n", encoding="utf-8")
    (folder / "a.csv").write_text("ra,dec\n1,2\n", encoding="utf-8")
    bucket.put(folder.parent, "incoming")
    bucket.write(f"incoming/e1/{name}", b"SIMPLE  =")
    config = config_of(tmp_path, f"{bucket.url}/incoming")
    bring_deliveries(config)
    with pytest.raises(InputError, match=r"a name with '\.\.' or '::' is not read at a server"):
        find_image(config.incoming / "e1", (image_files(config.incoming / "e1") or {})["a"], config)
    with pytest.raises(InputError, match=r"a name with '\.\.' or '::' is not read at a server"):
        read_manifest(config.incoming / "e1", config)


def test_a_look_that_may_take_no_longer_goes_on_the_next_time(
    config: Config, here: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(delivery_copies, "time", SimpleNamespace(monotonic=lambda: now[0]))
    fetch = delivery_servers.fetch

    def slow(*given: Any) -> None:
        fetch(*given)
        now[0] += 1.0

    monkeypatch.setattr(delivery_servers, "fetch", slow)
    seen = []
    for _ in range(9):
        bring_deliveries(config, 1.5)
        seen.append(len(find_deliveries(config.incoming)))
    assert seen[0] < seen[-1] == 3
    assert seen == sorted(seen)
    assert len(fetched) == len(set(fetched)) == 9
    assert versions(config) == of_folder(here)


def test_two_who_look_at_once_wait_for_each_other(config: Config, here: Path, fetched: list[str]) -> None:
    threads = [threading.Thread(target=bring_deliveries, args=(config,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 9
    assert versions(config) == of_folder(here)


def test_a_process_does_not_look_all_the_time_where_a_look_takes_long(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    listing = delivery_servers._ObjectStore.listing

    def counted(self: Any) -> Any:
        looks.append(1)
        return listing(self)

    monkeypatch.setattr(delivery_servers._ObjectStore, "listing", counted)
    monkeypatch.setattr(delivery_copies, "_LONG_S", 0.0)
    bring_deliveries(config)
    bring_deliveries(config)
    assert len(looks) == 1
    # One that failed is no look.
    monkeypatch.setattr(delivery_copies, "_rests_until", {})
    with silence(), pytest.raises(InputError):
        bring_deliveries(config)
    bring_deliveries(config)
    assert len(looks) == 3


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing."""


def test_a_web_server_names_its_epochs_in_a_file(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="pip install 'contimg-assets[remote]'")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(here))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            config = config_of(tmp_path, f"http://127.0.0.1:{server.server_port}/")
            with pytest.raises(InputError, match=r"epochs\.txt: .*; name the epochs there in a file epochs\.txt"):
                bring_deliveries(config)
            (here / "epochs.txt").write_text("# all of them\ne1\ne2/\n\n../e3\ne9\n", encoding="utf-8")
            of_two = {epoch: version for epoch, version in of_folder(here).items() if epoch != "e3"}
            assert versions(config) == of_two
            assert list(refused_deliveries(config)) == ["../e3"]
            assert "no images.csv yet" in unusable_folders(config.incoming)["e9"]
            (here / "e2" / "b.csv").write_text("ra,dec\nanother,line\n", encoding="utf-8")
            (here / "e1" / "a.csv").unlink()
            assert versions(config) == {epoch: of_folder(here)[epoch] for epoch in ("e1", "e2")} != of_two
            (here / "epochs.txt").write_text("e2\n", encoding="utf-8")
            assert list(versions(config)) == ["e2"]
        finally:
            server.shutdown()
            thread.join()
    before = tree(config.incoming)
    with pytest.raises(InputError, match="not reachable"):
        bring_deliveries(config)
    assert tree(config.incoming) == before


def test_whatever_fsspec_can_list_is_a_store(here: Path, tmp_path: Path) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.put(str(here), "/deliveries/now", recursive=True)
    config = config_of(tmp_path, "memory://deliveries/now")
    assert versions(config) == of_folder(here)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://me:secret@bucket/incoming", "a URL must not hold a name or password"),
        ("s3://bucket/../incoming", "this is no URL of a folder"),
        ("zip://incoming::s3://bucket/all.zip", "this is no URL of a folder"),
        ("https://example.org/incoming?X-Amz-Signature=secret", "nothing behind"),
        ("file:///data/incoming", "give its path"),
    ],
)
def test_urls_with_secrets_or_ways_around_are_refused(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Config.model_validate({"paths": {"incoming": url}})


def test_copies_never_take_the_place_of_a_folder_of_deliveries(here: Path) -> None:
    with pytest.raises(ValidationError, match="give the URL as incoming"):
        Config.model_validate({"paths": {"incoming": str(here), "incoming_url": "s3://telescope/incoming"}})


def test_who_may_only_read_sees_what_others_have_brought(
    config: Config, bucket: Bucket, here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = versions(config)
    write(here / "e2", 60007.0)
    bucket.put(here, "incoming")
    with monkeypatch.context() as patched:
        # Tests may be run by root, who may write everywhere.
        patched.setattr(delivery_copies.os, "access", lambda path, mode: False)
        bring_deliveries(config)
    assert "may not be written" in caplog.text
    assert of_folder(config.incoming) == before
    assert versions(config) == of_folder(here)


def test_a_reason_shows_no_secret() -> None:
    url = "https://me:secret@example.org/a.fits?X-Amz-Signature=secret"
    for error in (OSError(f"0, message='gone', url='{url}'"), FileNotFoundError(url), PermissionError(url)):
        assert "secret" not in str(delivery_servers.trouble(url, error))


def test_copies_lie_in_the_project_and_urls_apart(tmp_path: Path) -> None:
    configs = [config_of(tmp_path, url) for url in ("s3://a/incoming", "s3://b/incoming/", "gs://a/.hidden", "s3://a")]
    assert len({config.incoming for config in configs}) == 4
    assert {config.incoming.parent for config in configs} == {tmp_path / "project" / "incoming_from_urls"}
    assert configs[1].incoming_shown == "s3://b/incoming"
    inside = configs[1].incoming / "e1" / "a.csv"
    assert configs[1].told(f"{inside}: line 3") == "s3://b/incoming/e1/a.csv: line 3"
