"""Sending a list of sources to TOPCAT, Aladin and other programs of this computer by SAMP."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from contimg_assets.errors import InputError

_MESSAGE = "table.load.votable"
# For a large table to be loaded, as text.
_SECONDS = "60"


def samp() -> Any:
    """The library of SAMP: pyvo has it from 1.7 on, astropy until 8."""
    in_pyvo = find_spec("pyvo") is not None and find_spec("pyvo.samp") is not None
    return import_module("pyvo.samp" if in_pyvo else "astropy.samp")


def send_table(url: str, name: str) -> int:
    """Ask every program that listens to load a VOTable. Returns how many do.

    Parameters
    ----------
    url : where the table is
    name : what it is called there

    Raises
    ------
    InputError
        If no program of SAMP runs here, or none takes tables.
    """
    library = samp()
    troubles = (library.SAMPHubError, library.SAMPProxyError, OSError)
    client = library.SAMPIntegratedClient(name="contimg", description="Radio sources with light curves")
    try:
        # Not to look for the name of this computer on the network.
        with library.conf.set_temp("use_internet", False):
            client.connect()
        listening = list(client.get_subscribed_clients(_MESSAGE))
        for program in listening:
            # Not a notification: who leaves at once takes it along.
            client.ecall_and_wait(program, _MESSAGE, _SECONDS, url=url, name=name, **{"table-id": url})
    except troubles as error:
        raise InputError("no program of SAMP runs on this computer; start TOPCAT or Aladin, then send again") from error
    finally:
        if client.is_connected:
            with suppress(*troubles):
                client.disconnect()
    if not listening:
        raise InputError("no program on this computer takes tables by SAMP; start TOPCAT or Aladin, then send again")
    return len(listening)
