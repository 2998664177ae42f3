"""The storeys of the package: who may use whom, proved from the import statements and in fresh interpreters.

Each rule is followed by what breaks it today. These lists may only shrink: what is mended must leave them, and nothing
may join. `python -m contimg_assets_tests.structure` prints what stands where.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contimg_assets_tests.structure import (
    KEPT_APART,
    ROOT,
    STOREYS,
    Structure,
    circles,
    floors,
    read_structure,
    room_of,
    storey_of,
)

STRUCTURE = read_structure()
HEAVY = ("dagster", "sqlalchemy", "matplotlib")
PLAIN_ROOMS = [room for room in STRUCTURE.rooms if storey_of(room) <= list(STOREYS).index("science")]

# --- rules --------------------------------------------------------------------------------------------------------

# The only rooms that may name these packages. The other loose module that does is `definitions`, which Dagster loads.
ALLOWED = {
    "dagster": {"orchestration", "definitions"},
    "sqlalchemy": {"database"},
    "alembic": {"database"},
    "matplotlib": {"figures"},
    "bokeh": {"web"},
    "starlette": {"web"},
}


@pytest.mark.parametrize("name", KEPT_APART)
def test_only_its_own_storey_names_a_package(name: str) -> None:
    """Nobody else even inside a function or for type checkers."""
    rooms = {room_of(module) for module in STRUCTURE.users(name)}
    assert rooms - ALLOWED[name] == set()


def test_no_import_runs_up() -> None:
    """None inside a function or for type checkers either."""
    assert {(one.importer, one.imported) for one in STRUCTURE.upward()} == set()


def test_no_circle_of_modules() -> None:
    """No module needs itself through others, not even later, inside a function."""
    assert {tuple(one) for one in STRUCTURE.circles()} == set()


def test_no_circle_of_rooms() -> None:
    assert {tuple(one) for one in STRUCTURE.circles_of_rooms()} == set()


def test_few_modules_lie_loose_at_the_top() -> None:
    """The face, what Dagster loads, what everybody may raise, and the command for `python -m`."""
    assert set(STRUCTURE.loose) <= {"__init__", "__main__", "definitions", "errors"}


def test_science_and_ground_load_neither_dagster_nor_sql_nor_figures() -> None:
    """All in one interpreter: what none of them loads, each of them does not."""
    modules = [module for module in STRUCTURE.modules if room_of(module) in PLAIN_ROOMS]
    assert {room_of(module) for module in modules} == set(PLAIN_ROOMS)
    assert loaded_by(modules, HEAVY) == {}


def test_the_package_itself_loads_next_to_nothing() -> None:
    assert loaded_by([""], ("astropy", "dagster", "numpy", "pandas")) == {}


# --- that the rules can be broken ---------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path: Path) -> Callable[[dict[str, str]], Structure]:
    """Reads a package of these modules."""

    def build(modules: dict[str, str]) -> Structure:
        for name, text in {"__init__.py": "", **modules}.items():
            file = tmp_path / "contimg_assets" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return read_structure(tmp_path)

    return build


def test_every_way_of_importing_is_seen(built: Callable[[dict[str, str]], Structure]) -> None:
    late = "def f():\n    from contimg_assets.sky.sphere import separation\n"
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import contimg_assets.sky.sphere\n"
    structure = built(
        {
            "sky/__init__.py": "",
            "sky/sphere.py": "try:\n    import numpy.linalg as la\nexcept ImportError:\n    la = None\n",
            "sky/cells.py": "from . import sphere\nfrom .sphere import separation\n",
            "sky/pairs.py": "from contimg_assets.sky import sphere, nothing\nfrom contimg_assets import __version__\n",
            "sky/late.py": late,
            "sky/typing.py": typing,
        }
    )
    assert [(one.importer, one.imported, one.kind) for one in structure.inside] == [
        ("sky.cells", "sky.sphere", "top"),
        ("sky.cells", "sky.sphere", "top"),
        ("sky.late", "sky.sphere", "late"),
        ("sky.pairs", "", "top"),
        ("sky.pairs", "sky", "top"),
        ("sky.pairs", "sky.sphere", "top"),
        ("sky.typing", "sky.sphere", "typing"),
    ]
    assert list(structure.users("numpy")) == ["sky.sphere"]


def test_an_import_that_runs_up_is_found(built: Callable[[dict[str, str]], Structure]) -> None:
    structure = built(
        {
            "crossmatch.py": "def f():\n    import contimg_assets.database\n",
            "database.py": "from contimg_assets import crossmatch\n",
            "definitions.py": "import dagster\n",
        }
    )
    assert [(one.importer, one.imported) for one in structure.upward()] == [("crossmatch", "database")]
    assert structure.circles() == [["crossmatch", "database"]]
    assert structure.circles(["top"]) == []
    assert structure.loose == ["__init__", "crossmatch", "database", "definitions"]
    assert list(structure.users("dagster")) == ["definitions"]


def test_a_room_without_a_storey_is_named() -> None:
    with pytest.raises(KeyError, match="attic"):
        storey_of("attic.trunk")


def test_circles_and_floors() -> None:
    arrows = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "e")]
    assert circles(arrows) == [["b", "c"]]
    assert floors("abcdef", arrows) == [["d", "e", "f"], ["b", "c"], ["a"]]


def test_what_a_module_loads_is_seen() -> None:
    assert set(loaded_by(["config"], ("pydantic", "yaml", "contimg_assets.database"))) == {"pydantic", "yaml"}
    assert loaded_by(["errors", "database"], ("sqlalchemy",)) == {"sqlalchemy": "database"}


def test_asking_for_help_loads_nothing_that_computes() -> None:
    """People type `contimg --help` often, and the shell asks for completions at every key."""
    heavy = ("numpy", "pandas", "pyarrow", "astropy", "scipy", "pydantic", "sqlalchemy", "dagster", "matplotlib")
    assert loaded_by(["cli"], heavy) == {}


def test_no_process_of_dagster_loads_what_few_need() -> None:
    """Each run and each server of a daemon begins with these modules; no image need be read, no picture be drawn."""
    modules = [module for module in STRUCTURE.modules if room_of(module) == "orchestration"]
    assert "orchestration.assets.raw_detections" in modules
    assert loaded_by(["definitions", *modules], ("astropy", "matplotlib", "PIL")) == {}


def loaded_by(modules: list[str], names: tuple[str, ...]) -> dict[str, str]:
    """Which of some packages a fresh interpreter loads while it imports modules of ours, and at which of these."""
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(f'contimg_assets.{module}'.rstrip('.'))\n"
        f"    found = {{name: module for name in {names!r} if name in sys.modules}} | found\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found
