"""What a copy of a store knows of the objects that it is a copy of: the ETag of each, in a file of lines.

Whoever brings or writes an object adds a line, and the last line of a name counts, so that one epoch more costs a line
and not a list of all. A line that was cut off by a killed process is none; without the file, all is brought anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from contimg_assets.files import replace_text, writing_to

GONE = "gone "
"""How the mark begins of an object that is not there, or not what was written, though a record names it; the ETag that
it had then follows."""
_END = "."
# The file is written anew when it has so many lines, and twice as many as names.
_MOST_LINES = 2_000


class Marks:
    """The marks of objects by their names, as all processes of this machine know them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, str] = {}
        self._gone: dict[str, str] = {}
        self._lock = threading.Lock()
        self._read = (0, 0)
        self._n_lines = 0

    def known(self) -> Mapping[str, str]:
        """The mark of every object that is known."""
        with self._lock:
            self._take_new_lines()
            return dict(self._known)

    def gone(self) -> Mapping[str, str]:
        """The marks of what is `GONE`."""
        with self._lock:
            self._take_new_lines()
            return self._gone

    def note(self, marks: Mapping[str, str]) -> None:
        """Keep marks; an empty one forgets the object."""
        if not marks:
            return
        with writing_to(self._file), self._file.open("ab") as stream:
            stream.write(_lines(marks).encode())

    def shorten(self) -> None:
        """Write the file anew where most of its lines say nothing any more; for who is alone at it."""
        known = self.known()
        if self._n_lines > max(_MOST_LINES, 2 * len(known)):
            with writing_to(self._file):
                replace_text(self._file, _lines(known))

    def _take_new_lines(self) -> None:
        try:
            status = os.stat(self._file)  # noqa: PTH116 - thousands of times
        except FileNotFoundError:
            self._begin(0)
            return
        number, n_read = self._read
        if number != status.st_ino or status.st_size < n_read:
            self._begin(status.st_ino)
            n_read = 0
        if status.st_size == n_read:
            return
        with self._file.open("rb") as stream:
            stream.seek(n_read)
            content = stream.read(status.st_size - n_read)
        for line in content.decode("utf-8", "replace").split("\n"):
            self._take(line)
        self._gone = {name: mark for name, mark in self._known.items() if mark.startswith(GONE)}
        self._read = (status.st_ino, n_read + len(content))

    def _begin(self, number: int) -> None:
        self._known, self._gone, self._read, self._n_lines = {}, {}, (number, 0), 0

    def _take(self, line: str) -> None:
        mark, _, rest = line.partition("\t")
        name, _, end = rest.partition("\t")
        if end != _END:
            return
        self._n_lines += 1
        self._known.pop(name, None)
        if mark:
            self._known[name] = mark


def _lines(marks: Mapping[str, str]) -> str:
    # A line begins with its own break: what stands before it may have been cut off.
    return "".join(f"\n{mark}\t{name}\t{_END}" for name, mark in marks.items())
