"""Who wants to know how far a run is: assets report each epoch they finish, the command line listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, str], None]
_listeners: list[Listener] = []


def report(stage: str, epoch: str) -> None:
    """A stage is done with an epoch, made or failed."""
    for listener in _listeners:
        listener(stage, epoch)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(stage, epoch)`` for everything that runs in this process meanwhile."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
