"""What the commands `contimg catalog add|list|fetch` do."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pandas as pd
import pyarrow.parquet as pq
import yaml

from contimg_assets.catalogs import fetch as remote
from contimg_assets.catalogs.copies import local_file
from contimg_assets.catalogs.hats import is_hats
from contimg_assets.catalogs.read import open_catalog, table_of
from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog, catalog_file, stored_schema
from contimg_assets.config import CatalogConfig, Config, check_section, load_config
from contimg_assets.config.catalogs import ANY_FREQ_MHZ
from contimg_assets.config.presets import PRESETS, no_preset
from contimg_assets.errors import ConfigError, InputError
from contimg_assets.files import replacing, writing_to
from contimg_assets.files.urls import is_url
from contimg_assets.schemas.described import described_values

_EMPTY = re.compile(r"\A((?:[ \t]*(?:#.*|---[ \t]*)?\n)*)[ \t]*\{\s*\}[ \t]*(?:\n|\Z)(?=\s*(?:#.*\s*)*\Z)")
_END = re.compile(r"\n\.\.\.\s*\Z")
_SECTION = re.compile(r"^catalogs:[ \t]*(\{\s*\}|~|null)?[ \t]*(#.*)?$", re.MULTILINE)

# Of the settings in the configuration file.
_ORDER = (
    *("preset", "path", "table", "frame", "freq_mhz", "beam_arcsec", "position_err_arcsec", "positions_at_mjd"),
    "columns",
)


class CatalogSettings(TypedDict, total=False):
    """What may be said of a catalog when it is added; None is as good as absent. See `CatalogConfig`."""

    preset: str | None
    freq_mhz: float | None
    beam_arcsec: float | None
    position_err_arcsec: float | None
    positions_at_mjd: float | None
    table: str | None
    frame: str | None
    columns: Mapping[str, Mapping[str, str]] | None


def add_catalog(config_file: Path, name: str, file: Path | str, **settings: Unpack[CatalogSettings]) -> int:
    """Write a catalog into the configuration file, after reading it whole to see that it is usable.

    The rest of the file, comments included, stays as it is.

    Parameters
    ----------
    config_file : written if it does not exist
    name : of the catalog, in any case; that of a preset implies the preset
    file : the catalog's file, stored relative to the configuration's folder where it lies inside it; or a URL
    settings : preset, freq_mhz, beam_arcsec, position_err_arcsec, columns: see `CatalogConfig`

    Returns
    -------
    n_rows of the catalog

    Raises
    ------
    ConfigError
        If the name is taken or not allowed, or the settings are incomplete; the file is left as it was.
    InputError
        If the catalog's file is unusable; the configuration is left as it was.
    """
    config_file = config_file.absolute()
    name = name.lower()
    text = config_file.read_text(encoding="utf-8") if config_file.exists() else ""
    config = load_config(config_file) if config_file.exists() else Config(root=config_file.parent)
    if name in config.catalogs:
        raise ConfigError(
            f"{config_file}: catalog {name!r} is there already; edit catalogs.{name} or take another name"
        )
    given: dict[str, object] = {"path": _as_configured(file, config_file.parent), **settings}
    given["preset"] = settings.get("preset") or (name if name in PRESETS else None)
    given["columns"] = dict(settings.get("columns") or {}) or None
    entry = {key: given[key] for key in (*_ORDER, *given) if given.get(key) is not None}
    if "freq_mhz" not in entry and "preset" not in entry:
        _look_at(config_file, name, entry)
        raise ConfigError(
            f"catalog {name!r}: say the frequency of its fluxes with --freq-mhz, or the survey with --preset; there "
            f"are {', '.join(sorted(PRESETS))}"
        )
    changed = _with_entry(text, name, entry)
    checked = _checked(config_file, changed, name, others=set(config.catalogs))
    catalog = ReferenceCatalog(name, build_catalog(name, checked, config_file.parent))
    _replace(config_file, changed)
    return len(catalog)


def _as_configured(file: Path | str, folder: Path) -> str:
    """A catalog's file as the configuration names it."""
    if is_url(file):
        return str(file)
    path = Path(file).absolute()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _look_at(config_file: Path, name: str, entry: Mapping[str, object]) -> None:
    """Say first what is wrong with a catalog's file, or which survey's it is: no frequency would help.

    Raises
    ------
    InputError
        If the file is unusable.
    ConfigError
        If its columns are those of a survey.
    """
    file = config_file.parent / local_file(str(entry["path"]), config_file.parent)
    settings = check_section(CatalogConfig, {**entry, "path": file, "freq_mhz": ANY_FREQ_MHZ}, ("catalogs", name))
    with ExitStack() as held:
        opened = open_catalog(name, settings, file, held)
        table_of(name, opened, file)
    if opened.kind in PRESETS:
        raise ConfigError(
            f"catalog {name!r}: its columns are those of {opened.kind}; say so with --preset {opened.kind}, or the "
            "frequency of its fluxes with --freq-mhz"
        )


def remove_catalog(config_file: Path, name: str) -> None:
    """Take a catalog out of the configuration file; its own file stays, and so does the rest of the text.

    Parameters
    ----------
    name : of the catalog, in any case

    Raises
    ------
    ConfigError
        If there is no such catalog, something else in the configuration names it, or the text cannot be edited.
    """
    config_file = config_file.absolute()
    config = load_config(config_file)
    name = name.lower()
    if name not in config.catalogs:
        there = ", ".join(sorted(config.catalogs)) or "none"
        raise ConfigError(f"{config_file}: no catalog {name!r}; there are {there}")
    changed = _without_entry(config_file, config_file.read_text(encoding="utf-8"), name)
    left = _loaded(config_file, changed)
    if set(left.catalogs) != set(config.catalogs) - {name}:
        raise ConfigError(
            f"{config_file}: write the catalogs in block style, one key a line, or take {name!r} out by hand"
        )
    _replace(config_file, changed)


def _without_entry(config_file: Path, text: str, name: str) -> str:
    """The text without the lines of one catalog; its comments go with it."""
    root: Any = yaml.compose(text)
    section = next((value for key, value in root.value if key.value == "catalogs"), None) if root is not None else None
    entries = [] if section is None or section.flow_style else section.value
    found = next(((key, value) for key, value in entries if str(key.value).lower() == name), None)
    if found is None:
        raise ConfigError(
            f"{config_file}: write the catalogs in block style, one key a line, or take {name!r} out by hand"
        )
    lines = text.splitlines(keepends=True)
    first, last = found[0].start_mark.line, _last_line(found[1])
    kept = lines[:first] + lines[last + 1 :]
    if len(entries) == 1:
        at = next(key.start_mark.line for key, _ in root.value if key.value == "catalogs")
        kept[at] = kept[at].replace("catalogs:", "catalogs: {}", 1)
    return "".join(kept)


def _last_line(node: Any) -> int:
    """Number of the last line that something of a value stands in."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(mark.line if mark.column else mark.line - 1)


def list_catalogs(config: Config) -> pd.DataFrame:
    """The configured catalogs: what is configured, whether the file is there, and what was made of it."""
    rows = []
    for name, settings in sorted(config.catalogs.items()):
        stored = catalog_file(config, name)
        schema = stored_schema(stored)
        described = described_values(schema) if schema is not None else {}
        # Rows of a catalog in HATS are not in the store.
        n_rows = described.get("n_rows", pq.read_metadata(stored).num_rows) if schema is not None else None
        rows.append(
            {
                "name": name,
                "preset": settings.preset,
                "path": settings.url or str(config.catalog_path(name)),
                "exists": config.catalog_path(name).is_file() or is_hats(config.catalog_path(name)),
                "freq_mhz": settings.freq_mhz,
                "beam_arcsec": settings.beam_arcsec,
                "epoch_mjd": settings.epoch_mjd,
                "materialized": schema is not None,
                "n_rows": None if n_rows is None else int(n_rows),
                "version": described.get("version"),
            }
        )
    columns = [
        "name",
        "preset",
        "path",
        "exists",
        "freq_mhz",
        "beam_arcsec",
        "epoch_mjd",
        "materialized",
        "n_rows",
        "version",
    ]
    return pd.DataFrame(rows, columns=columns).astype({"preset": "str", "n_rows": "Int64", "version": "str"})


def list_presets() -> pd.DataFrame:
    """The surveys that need no column map: preset, title, freq_mhz, beam_arcsec, vizier, reference."""
    return pd.DataFrame(
        {
            "preset": name,
            "title": preset.title,
            "freq_mhz": preset.freq_mhz,
            "beam_arcsec": preset.beam_arcsec,
            "vizier": preset.vizier,
            "reference": preset.reference,
        }
        for name, preset in sorted(PRESETS.items())
    )


def fetch_catalog(
    config_file: Path,
    name: str,
    *,
    preset: str | None = None,
    region: tuple[float, float, float] | None = None,
    url: str = remote.VIZIER_TAP,
    folder: Path | None = None,
) -> int:
    """Download a survey's published table and write it into the configuration file.

    Parameters
    ----------
    config_file : the configuration, written if it does not exist
    name : of the catalog here
    preset : the survey; ``name`` if None
    region : ra_deg, dec_deg, radius_deg of a circle; the whole survey if None
    url : TAP service
    folder : where the file goes; ``catalogs`` beside the configuration if None

    Returns
    -------
    n_rows

    Raises
    ------
    ConfigError, InputError
        As `add_catalog` and `contimg_assets.catalogs.fetch.fetch`.
    """
    survey, name = (preset or name).lower(), name.lower()
    if survey not in PRESETS:
        raise InputError(no_preset(survey))
    config_file = config_file.absolute()
    if config_file.exists() and name in load_config(config_file).catalogs:
        raise ConfigError(f"{config_file}: catalog {name!r} is there already; take another name")
    # A name becomes a file name: let the configuration's rule for names speak before anything is written.
    _checked(config_file, _with_entry("", name, {"preset": survey, "path": "catalog.vot"}), name, others=set())
    file = (folder or config_file.parent / "catalogs") / f"{name}.vot"
    remote.fetch(survey, file, url=url, region=region)
    return add_catalog(config_file, name, file, preset=survey)


def _with_entry(text: str, name: str, entry: Mapping[str, object]) -> str:
    """The configuration's text with one more catalog at the top of its section, or a new section at the end."""
    block = yaml.safe_dump({name: entry}, sort_keys=False, allow_unicode=True)
    # An empty mapping, and the mark of a document's end, would stand before what is added.
    text = _EMPTY.sub(r"\1", _END.sub("\n", text))
    section = _SECTION.search(text)
    if section is None:
        before = text if not text or text.endswith("\n") else text + "\n"
        return before + "catalogs:\n" + _indented(block, "  ")
    following = re.match(r"\n(?:[ \t]*(?:#.*)?\n)*([ \t]+)[^#\s]", text[section.end() :])
    indent = following.group(1) if following else "  "
    return text[: section.start()] + "catalogs:\n" + _indented(block, indent) + text[section.end() :].removeprefix("\n")


def _indented(block: str, indent: str) -> str:
    return "".join(indent + line + "\n" for line in block.splitlines())


def _checked(config_file: Path, text: str, name: str, others: set[str]) -> CatalogConfig:
    """The new catalog's settings as the changed configuration has them.

    Raises
    ------
    ConfigError
        If the changed text is no configuration, or lost one of the other catalogs: it was written in a style that is
        not edited here.
    """
    config = _loaded(config_file, text)
    if set(config.catalogs) != others | {name}:
        raise ConfigError(f"{config_file}: write the catalogs in block style, one key a line, or add {name!r} by hand")
    return config.catalogs[name]


def _loaded(config_file: Path, text: str) -> Config:
    """The configuration that a text would be."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / config_file.name
        trial.write_text(text, encoding="utf-8")
        try:
            return load_config(trial)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(trial), str(config_file))) from error


def _replace(file: Path, text: str) -> None:
    with writing_to(file, None), replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
        if file.exists():
            shutil.copymode(file, temporary)
