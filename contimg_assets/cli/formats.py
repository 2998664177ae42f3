"""Options of commands that write tables for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

CsvOption = Annotated[bool, typer.Option("--csv", help="All columns as CSV, with all digits")]
JsonOption = Annotated[bool, typer.Option("--json", help="All columns as JSON, one object a row")]
