"""An S3 server on loopback, as an object store of users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from contimg_assets.pipeline import delivery_copies


@dataclass(frozen=True)
class Bucket:
    """A bucket; ``url`` is its name as configurations have it."""

    url: str
    system: Any

    def put(self, folder: Path, name: str = "") -> None:
        """Send the files of a folder, the manifests last."""
        files = [file for file in folder.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: (file.name == "images.csv", file)):
            self.write(f"{name}/{file.relative_to(folder)}".lstrip("/"), file.read_bytes())

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whatever its name is."""
        self.system.call_s3("put_object", Bucket=self.url.removeprefix("s3://"), Key=name, Body=content)

    def remove(self, name: str) -> None:
        """Remove an object."""
        self.system.call_s3("delete_object", Bucket=self.url.removeprefix("s3://"), Key=name)


@contextmanager
def serving(name: str) -> Iterator[tuple[Bucket, Any]]:
    """A bucket and its server, which the environment names."""
    pytest.importorskip("s3fs", reason="pip install 'contimg-assets[remote]'")
    moto = pytest.importorskip("moto.server", reason="moto is in the extra `test`")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        # All servers of a process have the same buckets.
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        # However busy this machine is, what a test did at the server is looked at.
        patched.setattr(delivery_copies, "_LONG_S", float("inf"))
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(variable, "testing")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        system.mkdir(name)
        yield Bucket(f"s3://{name}", system), running
        s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


@contextmanager
def silence() -> Iterator[None]:
    """As if the server were not there."""
    import s3fs

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()
