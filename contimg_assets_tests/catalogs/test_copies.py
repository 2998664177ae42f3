"""Catalogs at URLs: fetched once, again when the server says that they changed, and kept while it does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from contimg_assets.catalogs.copies import bring_here
from contimg_assets.catalogs.manage import add_catalog, list_catalogs
from contimg_assets.catalogs.store import catalog_file, write_catalog
from contimg_assets.config import FILE_NAME, CatalogConfig, Config, load_config
from contimg_assets.errors import InputError
from contimg_assets.files.servers import stamp_of
from contimg_assets.pipeline.survey_tables import (
    catalog_versions,
    made_catalogs,
    make_catalog,
    missing_catalog,
    reference_tables,
)
from contimg_assets_tests.object_store import serving


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.fetched.append(self.path)
        super().do_GET()

    def end_headers(self) -> None:
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Files of a folder; knows what was fetched."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.fetched: list[str] = []
        self.etag = '"one"'

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


def rows(flux: float = 100.0) -> pd.DataFrame:
    return pd.DataFrame({"name": ["A", "B"], "ra": [359.99, 10.0], "dec": [16.0, -89.9], "flux_mjy": [flux, 50.0]})


@contextmanager
def serving_files(folder: Path) -> Iterator[Server]:
    """A server of the files of a new folder."""
    pytest.importorskip("aiohttp", reason="pip install 'contimg-assets[remote]'")
    folder.mkdir()
    with Server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving_files(tmp_path / "server") as running:
        rows().to_parquet(tmp_path / "server" / "sky.parquet", index=False)
        yield running


@pytest.fixture
def config(server: Server, tmp_path: Path) -> Config:
    folder = tmp_path / "project"
    folder.mkdir()
    assert add_catalog(folder / FILE_NAME, "sky", server.url("sky.parquet"), freq_mhz=1400.0) == 2
    return load_config(folder / FILE_NAME)


def make(config: Config) -> str | None:
    write_catalog(make_catalog(config, "sky"), catalog_file(config, "sky"))
    return catalog_versions(config)["sky"]


def is_stale(config: Config) -> bool:
    (table,) = reference_tables(config)
    return table.needs_making


def test_a_file_is_fetched_once_and_again_when_its_etag_changed(config: Config, server: Server, tmp_path: Path) -> None:
    version = make(config)
    assert made_catalogs(config)["sky"].cone(0.0, 16.0, 0.1)["catalog_source_id"].tolist() == ["A"]
    assert not is_stale(config)
    # Looking at it asks for what the server says of it, and not for its content.
    assert server.fetched == ["/sky.parquet"]
    rows(200.0).to_parquet(tmp_path / "server" / "sky.parquet", index=False)
    server.etag = '"two"'
    assert is_stale(config)
    assert make(config) != version
    assert server.fetched == ["/sky.parquet"] * 2
    assert made_catalogs(config)["sky"].table.column("flux_mjy").to_pylist().count(200.0) == 1
    assert not is_stale(config)
    listed = list_catalogs(config).iloc[0]
    assert (listed["path"], bool(listed["exists"])) == (server.url("sky.parquet"), True)


def test_a_server_without_etags_tells_by_time_or_size(server: Server, tmp_path: Path) -> None:
    server.etag = ""
    file = tmp_path / "server" / "sky.parquet"
    before = stamp_of(server.url("sky.parquet"))
    assert stamp_of(server.url("sky.parquet")) == before
    file.write_bytes(file.read_bytes() + b"\0")
    assert stamp_of(server.url("sky.parquet")) != before
    assert server.fetched == []


def test_while_the_server_does_not_answer_the_copy_is_used(
    config: Config, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    version = make(config)
    server.shutdown()
    server.server_close()
    assert not is_stale(config)
    assert missing_catalog(config, "sky") is None
    assert make(config) == version
    assert "not reachable" in caplog.text
    assert "its copy of before is used" in caplog.text


def test_a_catalog_that_was_never_fetched_is_missed_in_a_sentence(config: Config, server: Server) -> None:
    config.catalog_path("sky").unlink()
    assert missing_catalog(config, "sky") is None
    server.shutdown()
    server.server_close()
    assert "not reachable" in str(missing_catalog(config, "sky"))
    (table,) = reference_tables(config)
    assert "not reachable" in table.problem


def test_a_transfer_that_breaks_off_leaves_the_copy_of_before(
    config: Config, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = config.catalog_path("sky").read_bytes()
    server.etag = '"two"'
    # The server says that there is more than it sends.
    monkeypatch.setattr(Handler, "copyfile", lambda self, source, target: target.write(source.read()[:100]))
    with pytest.raises(InputError, match=r"not reachable|bytes arrived"):
        make(config)
    assert config.catalog_path("sky").read_bytes() == before
    server.shutdown()
    server.server_close()
    # It still counts while nobody answers.
    assert missing_catalog(config, "sky") is None
    assert make(config) is not None


def test_a_copy_that_was_not_finished_is_made_again(config: Config, server: Server) -> None:
    copy = config.catalog_path("sky")
    copy.write_bytes(b"half")
    copy.with_name(copy.name + ".stamp").unlink()
    make(config)
    assert server.fetched == ["/sky.parquet"] * 2
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name, copy.name + ".stamp"]


def test_a_file_that_is_not_there_leaves_the_configuration_as_it_was(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.fits: the server has no such file; correct the URL"):
        add_catalog(tmp_path / FILE_NAME, "sky", server.url("nothing.fits"), freq_mhz=1400.0)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://me:secret@example.org/sky.fits", "a URL must not hold a name or password"),
        ("https://example.org/../sky.fits", "this is no URL of a file"),
        ("zip://sky.fits::https://example.org/all.zip", "this is no URL of a file"),
    ],
)
def test_urls_with_secrets_or_ways_around_are_refused(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        CatalogConfig.model_validate({"path": url, "freq_mhz": 1400.0})


def test_copies_of_one_name_lie_apart_and_within_the_project() -> None:
    paths = {
        CatalogConfig.model_validate({"path": url, "freq_mhz": 1400.0}).path
        for url in ("https://a.org/sky.fits?x=/etc/passwd", "https://b.org/sky.fits", "s3://bucket/.hidden", "s3://b/")
    }
    assert len(paths) == 4
    assert {path.parent for path in paths} == {Path("catalogs/from_urls")}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server on loopback."""
    with serving("sky") as (bucket, _):
        yield bucket.url


def test_an_object_of_s3_is_read_as_the_same_file_here(bucket: str, tmp_path: Path) -> None:
    import s3fs

    here, url = tmp_path / "sky.parquet", f"{bucket}/deep/sky.parquet"
    rows().to_parquet(here, index=False)
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    store.put_file(str(here), url)
    for name, file in (("remote", url), ("local", here)):
        (tmp_path / name).mkdir()
        add_catalog(tmp_path / name / FILE_NAME, "sky", file, freq_mhz=1400.0)
    remote, local = (load_config(tmp_path / name / FILE_NAME) for name in ("remote", "local"))
    assert make(remote) == make(local)
    assert made_catalogs(remote)["sky"].table.equals(made_catalogs(local)["sky"].table)
    assert not is_stale(remote)
    # As long, at the same second: its ETag tells.
    rows(101.0).to_parquet(here, index=False)
    store.put_file(str(here), url)
    assert is_stale(remote)
    make(remote)
    assert 101.0 in made_catalogs(remote)["sky"].table.column("flux_mjy").to_pylist()


def test_what_is_not_in_s3_is_said(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the server has no such file; correct the URL"):
        bring_here(f"{bucket}/nothing.fits", tmp_path / "copy")
    with pytest.raises(InputError, match="this is a folder; give the URL of a file"):
        stamp_of(bucket)
    assert list(tmp_path.iterdir()) == []
