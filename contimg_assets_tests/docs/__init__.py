"""The documentation: the site, its notebook, and what its pages say of the program."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@cache
def hooks() -> ModuleType:
    """`docs/hooks.py`, which is no part of any package: MkDocs loads it by its path."""
    spec = importlib.util.spec_from_file_location("contimg_docs_hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
