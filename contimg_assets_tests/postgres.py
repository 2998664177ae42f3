"""A PostgreSQL server for tests, where Debian's is installed: on a folder of its own and a free loopback port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from contimg_assets_tests.memory import in_memory


def server_programs() -> Path | None:
    """Folder of initdb and postgres; Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def running() -> Iterator[str]:
    """URL (without database) of a server that runs within the block."""
    # Not in pytest's own folder: its next call takes the rights away that the server's user needs there.
    with TemporaryDirectory(prefix="contimg-postgres-", ignore_cleanup_errors=True, dir=in_memory()) as folder:
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[str]:
    programs = server_programs()
    assert programs is not None
    data = folder / "data"
    # The server refuses to run as root; Debian's package brings a user for it.
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    make = [str(programs / "initdb"), "-D", str(data), "-U", "contimg", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*as_user, *make, "--locale=C"], check=True, capture_output=True, cwd=folder)
    serve = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*as_user, *serve], stdout=log, stderr=log, cwd=folder)
        url = f"postgresql+psycopg://contimg@127.0.0.1:{port}"
        try:
            _wait_for(f"{url}/postgres", server)
            yield url
            if server.poll() is not None:
                said = (folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"the PostgreSQL server stopped under the tests; the end of its log:\n{said}")
        finally:
            # Fast: without waiting for connections that somebody has left open.
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)


def fresh_database(server: str, like: str = "template1") -> str:
    """URL of a new database of a server; not dropped: the server goes, and its folder with it.

    Parameters
    ----------
    like : name of a database, which nobody is connected to, that it is a copy of; PostgreSQL's own is empty
    """
    name = f"products_{os.urandom(4).hex()}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {like}")
    return f"{server}/{name}"


def _execute(server: str, *statements: str) -> None:
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(200):
        if server.poll() is not None:
            raise RuntimeError("the PostgreSQL server stopped while starting")
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            time.sleep(0.1)
    raise RuntimeError("the PostgreSQL server did not start within 20 s")
