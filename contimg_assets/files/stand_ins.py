"""Small files that stand for what is not copied: an image that stays where it is, with the version that it has there.

They have the name, and change when it does, so that whoever looks at names, sizes, times or content sees what he would
see of the file itself.
"""

from __future__ import annotations

from pathlib import Path

_BEGIN = b"contimg: stands for a file that is read where it is\n"


def stand_in(mark: str, size: int | None) -> bytes:
    """The content of a file that stands for one of this version and size [bytes]."""
    return _BEGIN + f"{mark} {size}\n".encode()


def is_stand_in(file: Path) -> bool:
    """Whether a file that is there stands for another one."""
    with file.open("rb") as stream:
        return stream.read(len(_BEGIN)) == _BEGIN
