"""Files are parsed again exactly when they may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from contimg_assets.pipeline.file_cache import FileCache


def written(file: Path, text: str, age_seconds: float) -> str:
    file.write_text(text, encoding="utf-8")
    then = time.time() - age_seconds
    os.utime(file, (then, then))
    return str(file)


def test_parsed_once_until_changed_and_forgotten_when_gone(tmp_path: Path) -> None:
    parsed: list[str] = []
    remembered = FileCache(lambda path: parsed.append(path) or Path(path).read_text(encoding="utf-8"))
    path = written(tmp_path / "a", "one", 3600)
    assert [remembered.read(path) for _ in range(3)] == ["one"] * 3
    assert len(parsed) == 1
    written(tmp_path / "a", "two", 1800)
    assert [remembered.read(path) for _ in range(3)] == ["two"] * 3
    assert len(parsed) == 2
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        remembered.read(path)


def test_written_twice_within_one_time_stamp(tmp_path: Path) -> None:
    remembered = FileCache(lambda path: Path(path).read_text(encoding="utf-8"))
    file = tmp_path / "a"
    path = written(file, "one", 0)
    stamp = file.stat().st_mtime_ns
    assert remembered.read(path) == "one"
    file.write_text("two", encoding="utf-8")
    os.utime(file, ns=(stamp, stamp))
    assert remembered.read(path) == "two"
