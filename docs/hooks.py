"""What the site holds beside the pages of this folder, made while it is built so that it cannot differ from the code.

Columns with their units, one page of the Python API for each group of functions, the executed notebook, CONTRIBUTING
and CHANGELOG as pages; formulas as MathML. `mkdocs.yml` names this file, and MkDocs calls the functions that begin with
`on_`.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import contimg_assets
from contimg_assets.database.models import TABLES, Base
from contimg_assets.pipeline.stages import STAGES
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.variability import (
    LIGHT_CURVE,
    PAIRS,
    PHOTOMETRY,
    SOURCE_MEASUREMENTS,
    UPPER_LIMITS,
    VARIABILITY_STATS,
)

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NOTEBOOK = DOCS / "first_light_curve.ipynb"

# Pages that are files of the checkout's top: name on the site -> name there.
FROM_ROOT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
# What the writer of the database keeps for itself.
INTERNAL_TABLES = (
    "epoch_versions",
    "epoch_blocks",
    "epoch_cells",
    "image_coverage",
    "image_depths",
    "image_limits",
    "recomputed_with",
)

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_ELSEWHERE = re.compile(rb'"https://unpkg\.com/[^"]*"')


# --- called by MkDocs -------------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the Python API into the navigation."""
    for section in config.nav or []:
        for entry in section.get("Reference", []) if isinstance(section, dict) else []:
            if isinstance(entry, dict) and "Python API" in entry:
                entry["Python API"] = ["api/index.md", *(f"api/{group['page']}.md" for group in api_groups())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made here."""
    for name, content in {**generated_pages(), **_pictures()}.items():
        present = files.get_file_from_path(name)
        if present is not None:
            files.remove(present)
        files.append(File.generated(config, name, content=content))
    return files


def _pictures() -> Mapping[str, bytes]:
    """Pictures, from the module beside this one: MkDocs knows its folder by no name."""
    specification = spec_from_file_location("contimg_docs_pictures", DOCS / "pictures.py")
    assert specification is not None and specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    found: Mapping[str, bytes] = module.pictures()
    return found


def on_page_content(content: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers show without any script."""
    return _FORMULA.sub(_as_mathml, content)


def on_post_build(config: MkDocsConfig) -> None:
    """Take out of the theme's scripts where they would load a drawing program from; no page of ours needs it."""
    for script in Path(config.site_dir).rglob("*.js"):
        content = script.read_bytes()
        if _ELSEWHERE.search(content):
            script.write_bytes(_ELSEWHERE.sub(b'""', content))


def generated_pages() -> dict[str, str | bytes]:
    """Name on the site -> content."""
    pages: dict[str, str | bytes] = {"columns.md": columns_page(), **api_pages(), **notebook_pages(NOTEBOOK)}
    return pages | {name: _from_root(file) for name, file in FROM_ROOT.items()}


def _from_root(file: str) -> str:
    """A page of the top folder, its links into this folder turned into links of the site."""
    return (ROOT / file).read_text(encoding="utf-8").replace("](docs/", "](")


def _as_mathml(found: re.Match[str]) -> str:
    kind, formula = found.groups()
    display = "block" if kind == "div" else "inline"
    return f'<{kind} class="arithmatex">{convert(html.unescape(formula).strip(), display=display)}</{kind}>'


# --- columns with units -----------------------------------------------------------------------------------------------

_COLUMNS_INTRODUCTION = """\
# Columns and units

This page is made from the descriptions that the program itself checks its tables against.

The end of a name is the unit: `_deg`, `_arcsec`, `_mjy`, `_mjy_beam`, `_mhz`, `_mjd`. Positions are ICRS degrees, with
right ascension from 0 up to, but not including, 360. Position errors are 1 sigma per axis on the sky, so that an error
of right ascension already has the factor cos(dec). Times are MJD (UTC) of the middle of the observation. Offsets point
from the measurement to the catalog source, east and north on the sky. A value that is not known is missing (NULL in
SQL, a null in Parquet); it is never 0, −1 or −99. Columns marked *may be missing* can be NULL.
"""


def columns_page() -> str:
    """Every table with its columns, units and meanings."""
    parts = [_COLUMNS_INTRODUCTION, "## Tables of the products database\n"]
    models = {mapper.local_table.name: mapper.class_ for mapper in Base.registry.mappers}  # type: ignore[union-attr]
    for name, table in TABLES.items():
        if name not in INTERNAL_TABLES:
            rows = [_sql_row(column) for column in table.columns]
            parts.append(_section(f"Table `{name}`", (models[name].__doc__ or "").strip(), rows))
    internal = "".join(f"- `{name}`: {(models[name].__doc__ or '').strip()}\n" for name in INTERNAL_TABLES)
    parts.append(f"### Tables for the program itself\n\nNo reader needs these tables.\n\n{internal}")
    parts.append("## Views of the products database\n")
    view = {"light_curve": "light_curves"}
    for schema in (SOURCE_MEASUREMENTS, LIGHT_CURVE, UPPER_LIMITS, PHOTOMETRY, VARIABILITY_STATS):
        name = view.get(schema.name, schema.name)
        parts.append(_section(f"View `{name}`", f"{schema.description}.", _schema_rows(schema)))
    parts.append("## Tables of the store\n")
    parts.append("The stages keep these tables as Parquet files, one folder for each stage and epoch.\n")
    for stage in STAGES:
        if stage.kept_in == "store":
            for schema in stage.tables:
                title = f"Stage `{stage.name}`, table `{schema.name}`"
                parts.append(_section(title, f"{schema.description}.", _schema_rows(schema)))
    parts.append("## Exported only\n")
    parts.append(_section("`contimg export pairs`", f"{PAIRS.description}.", _schema_rows(PAIRS)))
    return "\n".join(parts)


def _section(title: str, meaning: str, rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"### {title}", "", meaning, "", "| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _schema_rows(schema: TableSchema) -> list[tuple[str, ...]]:
    key = schema.key
    return [
        (
            f"`{column.name}`",
            _TYPES.get(str(column.type), str(column.type)),
            column.unit,
            _meaning(column.description, column.name in key, column.nullable),
        )
        for column in schema
    ]


def _sql_row(column: Any) -> tuple[str, ...]:
    comment = column.comment or ""
    unit = re.search(r"\s*\[([^\]]+)\]$", comment)
    text = comment[: unit.start()] if unit else comment
    kind = _TYPES.get(type(column.type).__name__.lower(), str(column.type).lower())
    meaning = _meaning(text, column.primary_key, column.nullable)
    return f"`{column.name}`", kind, unit.group(1) if unit else "", meaning


_TYPES = {
    "double": "number",
    "float": "number",
    "integer": "whole number",
    "biginteger": "whole number",
    "int64": "whole number",
    "boolean": "true or false",
    "bool": "true or false",
    "text": "text",
    "string": "text",
    "largebinary": "bytes",
}


def _meaning(text: str, key: bool, nullable: bool) -> str:
    marks = (["key"] if key else []) + (["may be missing"] if nullable else [])
    return html.escape(text, quote=False) + (f" (*{', '.join(marks)}*)" if marks else "")


# --- Python API -------------------------------------------------------------------------------------------------------


def api_groups() -> list[dict[str, Any]]:
    """The groups of public names: title, page, and names with the full path of each."""
    return [
        {
            "page": re.sub(r"[^a-z]+", "_", title.lower()),
            "title": title,
            "names": {name: _path_of(name) for name in names},
        }
        for title, names in contimg_assets.GROUPS.items()
    ]


def _path_of(name: str) -> str:
    """Where a public name is written down, for a reader of source code that does not execute it."""
    thing = getattr(contimg_assets, name)
    return f"{thing.__module__}.{thing.__qualname__}"


def api_pages() -> dict[str, str]:
    """One page a group, and one that lists them."""
    groups = api_groups()
    pages = {f"api/{group['page']}.md": _api_page(group) for group in groups}
    return pages | {"api/index.md": _api_index(groups)}


def _api_page(group: Mapping[str, Any]) -> str:
    parts = [f"# {group['title']}\n"]
    for name, path in group["names"].items():
        parts.append(f"::: {path}\n    options:\n      heading: {name}\n      toc_label: {name}\n")
    return "\n".join(parts)


def _api_index(groups: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "# Python API",
        "",
        "Most of these functions work on tables in memory and need neither Dagster nor a database, so that scripts and",
        "notebooks can call them on catalogs of any origin. Each column that they take or give carries its unit in its",
        "name; see [columns](../columns.md).",
        "",
        "After `import contimg_assets as ca`, each of them is a name of `ca`.",
        "",
        "| what for | names |",
        "|---|---|",
    ]
    for group in groups:
        page = f"{group['page']}.md"
        names = ", ".join(f"[`{name}`]({page}#{path})" for name, path in group["names"].items())
        lines.append(f"| [{group['title']}]({page}) | {names} |")
    return "\n".join(lines) + "\n"


# --- notebook ---------------------------------------------------------------------------------------------------------


def notebook_pages(path: Path) -> dict[str, str | bytes]:
    """A notebook as it was executed: one page, and its figures."""
    notebook = nbformat.read(path, as_version=4)
    parts: list[str] = []
    figures: dict[str, str | bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            for output in cell.outputs:
                parts += _shown(output, figures, path.stem)
    parts.append(f"[This page as a notebook]({path.name})")
    return {f"{path.stem}.md": "\n\n".join(parts) + "\n", **figures}


def _shown(output: Mapping[str, Any], figures: dict[str, str | bytes], stem: str) -> Iterator[str]:
    """An output of a cell in Markdown; a figure is added to the figures."""
    if output["output_type"] == "stream":
        yield f"```text\n{output['text'].rstrip()}\n```"
        return
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}_{len(figures) + 1}.png"
        figures[name] = base64.b64decode(data["image/png"])
        yield f"![Figure {len(figures)}]({name})"
    elif "text/html" in data:
        table = re.sub(r"<style.*?</style>| border=\"1\"", "", data["text/html"], flags=re.DOTALL)
        yield f'<div class="output">{" ".join(table.split())}</div>'
    elif "text/plain" in data:
        yield f"```text\n{data['text/plain'].rstrip()}\n```"
