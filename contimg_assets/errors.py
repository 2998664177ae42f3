"""The errors a user can cause and cure. Each message is one sentence: what, where (file, row, column), and the cure."""

from __future__ import annotations


class ContimgError(Exception):
    """Base of all errors that this package raises on purpose."""


class ConfigError(ContimgError):
    """The configuration file is wrong; the message names the key, the value and what is allowed."""


class InputError(ContimgError):
    """A delivered file is unusable; the message names file, line or column, and the cure."""


class SchemaError(ContimgError):
    """A table is not what its schema says; the message names table, column and row."""


class QualityError(ContimgError):
    """An epoch failed a blocking quality check and must not reach the products."""


class StoreError(ContimgError):
    """The Parquet store or the products database does not hold what was asked for."""
