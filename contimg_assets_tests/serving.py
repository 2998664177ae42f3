"""`contimg web` on a free port, for tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette


@contextmanager
def free_port() -> Iterator[socket.socket]:
    """A port of loopback that nobody else gets within the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free


def address_of(port: socket.socket) -> str:
    """URL of what is served on a port."""
    return f"http://127.0.0.1:{port.getsockname()[1]}"


@contextmanager
def served_on(port: socket.socket, app: Starlette) -> Iterator[None]:
    """Serve an application within the block."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [port]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
