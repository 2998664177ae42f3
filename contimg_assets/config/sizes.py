"""Sizes as people write them in the configuration: of memory, of a disk."""

import re

_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)")


def bytes_of(size: str) -> int:
    """A size such as ``2 GB`` or ``1.5GiB`` [bytes].

    Raises
    ------
    ValueError
        If it is none.
    """
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        raise ValueError(f"{size!r} is no size; write a number and {', '.join(_UNITS)}, such as '2 GB'")
    return int(float(found[1]) * _UNITS[found[2]])
