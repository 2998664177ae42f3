"""How the package is built, read from its import statements alone: rooms, storeys, arrows between them, circles.

    python -m contimg_assets_tests.structure [--root FOLDER]

Nothing is imported, so that a package that cannot be imported can still be looked at. `test_architecture.py` makes
rules of what is found here. A *room* is a folder or a loose module at the top of the package; the *storey* says which
rooms it may use: those of its own storey and below.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

PACKAGE = "contimg_assets"
ROOT = Path(__file__).resolve().parents[1]

# From the ground up. Every room has its storey here; a new one needs an entry.
STOREYS: Mapping[str, tuple[str, ...]] = {
    "ground": ("config", "errors", "files", "identity", "schemas", "sky"),
    "science": (
        "association",
        "calibration",
        "catalogs",
        "crossmatch",
        "ingest",
        "photometry",
        "planning",
        "polarization",
        "reading",
        "simulate",
        "variability",
    ),
    "figures": ("figures",),
    "database": ("database",),
    "pipeline": ("pipeline",),
    "orchestration": ("orchestration", "automation", "definitions"),
    "web": ("web",),
    "cli": ("cli", "__main__"),
}
# What only some storeys may name.
KEPT_APART = ("dagster", "sqlalchemy", "alembic", "matplotlib", "bokeh", "starlette")

# "late": inside a function; "typing": under TYPE_CHECKING, never executed.
Kind = Literal["top", "late", "typing"]
KINDS: tuple[Kind, ...] = ("top", "late", "typing")


@dataclass(frozen=True, order=True)
class Import:
    """One imported module: ours by its name inside the package, another's by its full name."""

    importer: str
    imported: str
    kind: Kind
    line: int


@dataclass(frozen=True)
class Structure:
    """All modules of a package and what each imports.

    Modules are named without the package's own name: ``crossmatch.sphere``. The package's own ``__init__`` is the empty
    name; it offers names of all rooms and is run before any of them, so it takes no part in arrows and circles.

    Attributes
    ----------
    modules : path of each module
    inside : imports of modules of the package
    outside : imports of everything else
    """

    modules: Mapping[str, Path]
    inside: tuple[Import, ...]
    outside: tuple[Import, ...]

    @cached_property
    def rooms(self) -> list[str]:
        """Folders and loose modules at the top, sorted."""
        return sorted({room_of(module) for module in self.modules if module})

    @cached_property
    def loose(self) -> list[str]:
        """Modules that lie at the top of the package, `__init__` among them, sorted."""
        at_top = [path for module, path in self.modules.items() if "." not in module and not _is_room(module, path)]
        return sorted(path.stem for path in at_top)

    def arrows(self, kinds: Iterable[Kind] = KINDS) -> dict[tuple[str, str], list[Import]]:
        """Imports from one room to another."""
        found: dict[tuple[str, str], list[Import]] = {}
        for one in self._inside(kinds):
            ends = (room_of(one.importer), room_of(one.imported))
            if ends[0] != ends[1]:
                found.setdefault(ends, []).append(one)
        return dict(sorted(found.items()))

    def upward(self, kinds: Iterable[Kind] = KINDS) -> list[Import]:
        """Imports of modules of a higher storey."""
        return [one for one in self._inside(kinds) if storey_of(one.importer) < storey_of(one.imported)]

    def circles(self, kinds: Iterable[Kind] = ("top", "late")) -> list[list[str]]:
        """Modules that import each other, directly or through others; those of one circle together, sorted."""
        return circles((one.importer, one.imported) for one in self._inside(kinds))

    def circles_of_rooms(self, kinds: Iterable[Kind] = ("top", "late")) -> list[list[str]]:
        """Rooms that import each other, directly or through others."""
        return circles(self.arrows(kinds))

    def floors(self, kinds: Iterable[Kind] = ("top", "late")) -> list[list[str]]:
        """Rooms by the longest chain of rooms below them; rooms of one circle are on one floor."""
        return floors(self.rooms, self.arrows(kinds))

    def users(self, name: str) -> dict[str, list[Import]]:
        """Modules that name another's package anywhere, with the imports in which they do."""
        found: dict[str, list[Import]] = {}
        for one in self.outside:
            if one.imported.split(".")[0] == name:
                found.setdefault(one.importer, []).append(one)
        return found

    def _inside(self, kinds: Iterable[Kind]) -> Iterator[Import]:
        wanted = set(kinds)
        return (one for one in self.inside if one.importer and one.imported and one.kind in wanted)


def _is_room(module: str, path: Path) -> bool:
    return bool(module) and path.name == "__init__.py"


def room_of(module: str) -> str:
    """The folder or loose module at the top that a module belongs to."""
    return module.partition(".")[0]


def storey_of(module: str) -> int:
    """Number of a module's storey, from the ground up.

    Raises
    ------
    KeyError
        If the room has none yet.
    """
    for number, rooms in enumerate(STOREYS.values()):
        if room_of(module) in rooms:
            return number
    raise KeyError(f"room {room_of(module)!r} has no storey: give it one in {Path(__file__).name}")


def read_structure(root: Path = ROOT, package: str = PACKAGE) -> Structure:
    """Parse every module of a package.

    Parameters
    ----------
    root : folder that the package's folder lies in
    """
    folder = root / package
    if not (folder / "__init__.py").is_file():
        raise FileNotFoundError(f"{folder} is no package")
    paths = {_name(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
    inside, outside = set(), set()
    for module, path in paths.items():
        for name, kind, line in _imports(path, module, package):
            if name.split(".")[0] == package:
                ours = _known(name.removeprefix(package).removeprefix("."), paths)
                if ours != module:
                    inside.add(Import(module, ours, kind, line))
            else:
                outside.add(Import(module, name, kind, line))
    return Structure(paths, tuple(sorted(inside)), tuple(sorted(outside)))


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _known(name: str, modules: Mapping[str, Path]) -> str:
    """The module that a dotted name leads to: names that a module defines are cut off."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def _imports(path: Path, module: str, package: str) -> Iterator[tuple[str, Kind, int]]:
    """Full dotted names that a module imports, those of `from` with what is taken from them."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    full = f"{package}.{module}".rstrip(".")
    own = full if path.name == "__init__.py" else full.rpartition(".")[0]
    for node, kind in _statements(tree, "top"):
        if isinstance(node, ast.Import):
            yield from ((alias.name, kind, node.lineno) for alias in node.names)
            continue
        base = node.module or ""
        if node.level:
            parts = own.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
        yield from ((f"{base}.{alias.name}", kind, node.lineno) for alias in node.names)


def _statements(node: ast.AST, kind: Kind) -> Iterator[tuple[ast.Import | ast.ImportFrom, Kind]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, kind
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _statements(child, "late" if kind == "top" else kind)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), "typing")
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), kind)
        else:
            yield from _statements(child, kind)


def circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Strongly connected components of more than one node, each sorted, the first names first."""
    reached = _closure(arrows)
    found = {
        tuple(sorted({start} | {end for end in ends if start in reached.get(end, set())}))
        for start, ends in reached.items()
        if start in ends
    }
    return [list(one) for one in sorted(found) if len(one) > 1]


def _closure(arrows: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Everything that can be reached from each node along the arrows."""
    direct: dict[str, set[str]] = {}
    for start, end in arrows:
        direct.setdefault(start, set()).add(end)
    reached = {}
    for start in direct:
        seen: set[str] = set()
        ahead = list(direct[start])
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                ahead.extend(direct.get(node, ()))
        reached[start] = seen
    return reached


def floors(nodes: Iterable[str], arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Nodes by the longest chain below them, from the ground up; those of one circle share a floor."""
    arrows = list(arrows)
    circle = {node: one[0] for one in circles(arrows) for node in one}
    nodes = list(nodes)
    below: dict[str, set[str]] = {circle.get(node, node): set() for node in nodes}
    for start, end in arrows:
        first, second = circle.get(start, start), circle.get(end, end)
        if first != second:
            below[first].add(second)
    level: dict[str, int] = {}
    while len(level) < len(below):
        for node, ends in below.items():
            if node not in level and all(end in level for end in ends):
                level[node] = max((level[end] + 1 for end in ends), default=0)
    result: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for node in sorted(nodes):
        result[level[circle.get(node, node)]].append(node)
    return result


def report(structure: Structure) -> str:
    """Everything that `test_architecture.py` makes rules of, in words and numbers."""
    modules = [module for module in structure.modules if module]
    kinds = {kind: sum(one.kind == kind for one in structure.inside) for kind in KINDS}
    levels, arrows = structure.floors(), structure.arrows()
    lines = [
        f"modules          {len(modules)}",
        f"imports inside   {len(structure.inside)}: "
        f"{kinds['top']} at the top, {kinds['late']} inside functions, {kinds['typing']} for type checkers",
        f"rooms            {len(structure.rooms)}: {' '.join(structure.rooms)}",
        f"loose modules    {len(structure.loose)}: {' '.join(structure.loose)}",
        f"arrows           {len(arrows)} between rooms, {len(structure.arrows(['top']))} of them by imports at the top",
        f"floors           {len(levels)}",
        *(f"  {number:2d}  {' '.join(level)}" for number, level in reversed(list(enumerate(levels)))),
        *_listed("circles of modules", [" ".join(one) for one in structure.circles()]),
        *_listed("circles of modules by imports at the top", [" ".join(one) for one in structure.circles(["top"])]),
        *_listed("circles of rooms", [" ".join(one) for one in structure.circles_of_rooms()]),
        *_listed("pairs of rooms", [f"{a} {b}" for a, b in arrows if a < b and (b, a) in arrows]),
        *_listed("imports up", [_sentence(one) for one in structure.upward()]),
    ]
    for name in KEPT_APART:
        lines += _listed(f"{name} named in", list(structure.users(name)))
    return "\n".join(lines)


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"{title:16s} {len(items)}", *(f"      {item}" for item in items)]


def _sentence(one: Import) -> str:
    kinds = {"top": "", "late": " (inside a function)", "typing": " (for type checkers)"}
    names = list(STOREYS)
    storeys = f"{names[storey_of(one.importer)]} to {names[storey_of(one.imported)]}"
    return f"{one.importer}:{one.line} -> {one.imported}{kinds[one.kind]}, {storeys}"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder that contimg_assets lies in")
    print(report(read_structure(parser.parse_args().root)))


if __name__ == "__main__":
    main()
