"""Reading `contimg.yaml`: every fault is one sentence with file, key, value and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contimg_assets.config.association import Association
from contimg_assets.config.config import Config
from contimg_assets.config.section import Section
from contimg_assets.errors import ConfigError

FILE_NAME = "contimg.yaml"


ENVIRONMENT_VARIABLE = "CONTIMG_CONFIG"


def find_config_file() -> Path:
    """The configuration file of this folder: $CONTIMG_CONFIG, else ./contimg.yaml (which need not exist)."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or FILE_NAME).absolute()


def load_config(path: Path | str | None = None) -> Config:
    """Read and check a configuration file; all defaults where the default file does not exist.

    Raises
    ------
    ConfigError
        In one sentence per fault: file, key, value, what is allowed.
    """
    explicit = path is not None or ENVIRONMENT_VARIABLE in os.environ
    file = Path(path).absolute() if path is not None else find_config_file()
    if not file.exists():
        if explicit:
            raise ConfigError(f"{file}: no such configuration file; `contimg init` writes one")
        return Config(root=file.parent)
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as YAML: {error}") from error
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
        raise ConfigError("\n".join(f"{file}: {_sentence(fault)}" for fault in error.errors())) from error


def check_association(values: Mapping[str, Any]) -> Association:
    """The section `association` with these values, from wherever they come.

    Raises
    ------
    ConfigError
        In one sentence per fault: key, value, what is allowed.
    """
    try:
        return Association(**values)
    except ValidationError as error:
        faults: list[Any] = [{**fault, "loc": ("association", *fault["loc"])} for fault in error.errors()]
        raise ConfigError("\n".join(map(_sentence, faults))) from error


def _sentence(fault: Any) -> str:
    """One pydantic fault as one sentence with the key's full name."""
    if not fault["loc"]:
        # Of several sections together: their whole content would say less than the message.
        message: str = fault["msg"].removeprefix("Value error, ")
        return message
    location = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {location!r}; {_allowed_keys(fault['loc'])}"
    return f"{location} = {fault['input']!r}: {fault['msg']}"


def _allowed_keys(location: tuple[str | int, ...]) -> str:
    model: Any = Config
    for part in location[:-1]:
        model = _section_of(model, part)
        if model is None:
            return "see contimg.yaml.example for the keys that are allowed here"
    names = sorted(name for name in model.model_fields if name != "root")
    return "allowed here: " + ", ".join(names)


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
