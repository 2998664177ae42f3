"""Reading `contimg.yaml`: every fault is one sentence with file, key, value and what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from contimg_assets.config.association import Association
from contimg_assets.config.config import Config
from contimg_assets.config.secrets import without_passwords, without_quotes
from contimg_assets.config.section import Section
from contimg_assets.errors import ConfigError, meant

FILE_NAME = "contimg.yaml"


ENVIRONMENT_VARIABLE = "CONTIMG_CONFIG"

Kind = TypeVar("Kind", bound=Section)


def find_config_file() -> Path:
    """The configuration file of this folder: $CONTIMG_CONFIG, else ./contimg.yaml (which need not exist)."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or FILE_NAME).absolute()


def load_config(path: Path | str | None = None) -> Config:
    """Read and check a configuration file; all defaults where the default file does not exist.

    Parameters
    ----------
    path : Path or str, optional
        The file; $CONTIMG_CONFIG if not given, else ``contimg.yaml`` in the working folder.

    Returns
    -------
    Config
        Its sections as attributes (``config.matching.radius_arcsec``); paths relative to the folder of the file.

    Raises
    ------
    ConfigError
        In one sentence per fault: file, key, value, what is allowed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import contimg_assets as ca
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "contimg.yaml"
    ...     _ = file.write_text("matching: {radius_arcsec: 15}")
    ...     config = ca.load_config(file)
    >>> config.matching.radius_arcsec, config.association.method
    (15.0, 'optimal')
    """
    explicit = path is not None or ENVIRONMENT_VARIABLE in os.environ
    file = Path(path).absolute() if path is not None else find_config_file()
    if not file.exists():
        if explicit:
            raise ConfigError(f"{file}: no such configuration file; `contimg init` writes one")
        return Config(root=file.parent)
    content = _content(file)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must hold keys and values, not a {type(content).__name__}")
    if "root" in content:
        raise ConfigError(f"{file}: 'root' is not a key; relative paths start at the folder of this file")
    # A section without any key, as in the example file, is one without any change.
    content = {key: value for key, value in content.items() if value is not None or key not in Config.model_fields}
    try:
        return Config(**content, root=file.parent)
    except ValidationError as error:
        faults = error.errors()
    # Outside of the block: the error itself quotes what was written, and would come along as the cause.
    raise ConfigError("\n".join(f"{file}: {_sentence(fault)}" for fault in faults))


class _Loader(yaml.SafeLoader):
    """YAML whose keys are words: `on`, as a format of one's own has it, is true otherwise."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _content(file: Path) -> Any:
    """What the YAML file holds. Its faults are told by their place: an excerpt might show a password."""
    try:
        text = file.read_text(encoding="utf-8")
        # A subclass of yaml.SafeLoader: it makes plain values alone.
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except OSError as error:
        fault = f"cannot be read ({error.strerror}); allow the user who runs contimg to read it"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        fault = f"line {line}: not UTF-8 text; save the file as UTF-8"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        fault = f"line {line}: not readable as YAML: the character #x{int(error.character):04x} is not allowed there"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        fault = (
            f"{place}not readable as YAML: {without_quotes(error.problem or error.context or 'it is not understood')}"
        )
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fault = f"not readable as YAML: {without_quotes(str(error))}"
    raise ConfigError(f"{file}: {fault}")


def check_association(values: Mapping[str, Any]) -> Association:
    """The section `association` with these values, from wherever they come.

    Raises
    ------
    ConfigError
        In one sentence per fault: key, value, what is allowed.
    """
    return check_section(Association, values)


def check_section(kind: type[Kind], values: Mapping[str, Any], where: tuple[str, ...] = ()) -> Kind:
    """A section with these values, from wherever they come.

    Parameters
    ----------
    kind : type of Section
        Which section.
    values : mapping
        Key to value.
    where : tuple of str
        Keys that lead to the section, for messages; found for a section of `Config`.

    Returns
    -------
    Section
        The section, checked.

    Raises
    ------
    ConfigError
        In one sentence per fault: key, value, what is allowed.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        sections = {field.annotation: name for name, field in Config.model_fields.items()}
        prefix = where or ((sections[kind],) if kind in sections else ())
        faults: list[Any] = [{**fault, "loc": (*prefix, *fault["loc"])} for fault in error.errors()]
    raise ConfigError("\n".join(map(_sentence, faults)))


def with_overrides(kind: type[Kind], parameters: Kind | None, overrides: Mapping[str, object]) -> Kind:
    """A section with single parameters replaced: what functions for notebooks take as ``parameters, **overrides``.

    Parameters
    ----------
    kind : type of Section
        Which section.
    parameters : Section or None
        What to begin with; the defaults if None.
    overrides : mapping
        Key to value.

    Returns
    -------
    Section
        The section, checked.

    Raises
    ------
    ConfigError
        If ``parameters`` is another section, or in one sentence per fault: key, value, what is allowed.
    """
    if parameters is not None and not isinstance(parameters, kind):
        raise ConfigError(f"parameters is a {type(parameters).__name__}; give a contimg_assets.config.{kind.__name__}")
    if parameters is not None and not overrides:
        return parameters
    return check_section(kind, (parameters.model_dump() if parameters is not None else {}) | dict(overrides))


def _sentence(fault: Any) -> str:
    """One pydantic fault as one sentence with the key's full name."""
    if not fault["loc"]:
        # Of several sections together: their whole content would say less than the message.
        return without_passwords(_told(fault["msg"]))
    location = without_passwords(".".join(str(part) for part in fault["loc"]))
    if fault["type"] == "extra_forbidden":
        names = _allowed_keys(fault["loc"])
        if not names:
            return f"unknown key {location!r}; see contimg.yaml.example for the keys that are allowed here"
        return f"unknown key {location!r}{meant(str(fault['loc'][-1]), names)}; allowed here: {', '.join(names)}"
    hint = ""
    if fault["type"] == "literal_error":
        hint = meant(str(fault["input"]), re.findall("'([^']*)'", fault["ctx"]["expected"]))
    return f"{location} = {_shown(fault)}{hint}: {without_passwords(_told(fault['msg']))}"


def _told(message: str) -> str:
    """What pydantic says, without what only programmers know."""
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _shown(fault: Any) -> str:
    """What was written, as it may be shown; where databases are named, not whatever else holds their password."""
    value, location = fault["input"], fault["loc"]
    if location in {("paths",), ("paths", "products")} and not isinstance(value, str | int | float | None):
        return f"a {type(value).__name__}"
    return without_passwords(repr(value))


def _allowed_keys(location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that a key stands in; none where there is no such section."""
    model: Any = Config
    for part in location[:-1]:
        model = _section_of(model, part)
        if model is None:
            return []
    return sorted(name for name in model.model_fields if name != "root")


def _section_of(model: Any, part: Any) -> Any:
    """The section class behind a key: directly, or as the values of a mapping."""
    if model is None or isinstance(model, dict):
        return (model or {}).get("values")
    field = model.model_fields.get(part)
    if field is None:
        return None
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    arguments = getattr(kind, "__args__", ())
    values = [a for a in arguments if isinstance(a, type) and issubclass(a, Section)]
    return {"values": values[0]} if values else None
