"""The notebook runs, and what is kept of its results is what today's code gives."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from contimg_assets_tests.docs import DOCS, ROOT

NOTEBOOK = DOCS / "first_light_curve.ipynb"
AGAIN = "run `python docs/execute_notebook.py` and commit what it writes"


@pytest.mark.slow
def test_the_notebook_runs_and_gives_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # The notebook calls `contimg` as people do; it must be that of this environment, with this checkout's code.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    kept, now = _read(NOTEBOOK), _executed()
    assert _texts(now) == _texts(kept), AGAIN
    assert _figures(now) == _figures(kept) == 2, AGAIN


def test_the_notebook_is_kept_as_it_was_executed() -> None:
    notebook = _read(NOTEBOOK)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), AGAIN
    assert all(cell.outputs for cell in code), AGAIN
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    texts = "\n".join(_texts(notebook))
    assert "/tmp" not in texts and "/home" not in texts, "results must not tell where they were made"
    assert NOTEBOOK.stat().st_size < 300_000


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def _executed() -> Any:
    spec = importlib.util.spec_from_file_location("execute_notebook", DOCS / "execute_notebook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed(NOTEBOOK)


def _texts(notebook: Any) -> list[str]:
    """What the cells print and show, without the widths of columns, which differ between versions of pandas."""
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    texts = [out["text"] if out.output_type == "stream" else out["data"]["text/plain"] for out in outputs]
    return [re.sub(r"\s+", " ", text).strip() for text in texts]


def _figures(notebook: Any) -> int:
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    return sum("image/png" in out.get("data", {}) for out in outputs)
