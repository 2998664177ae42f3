"""A section of the configuration, and where a column of ours comes from in somebody else's table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contimg_assets.errors import meant
from contimg_assets.identity.versions import version_of_value
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.units import converts, is_known


class Section(BaseModel):
    """A group of parameters that one stage reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # Parameters that no stored row depends on.
    unversioned: ClassVar[frozenset[str]] = frozenset()
    # Parameters that came later than results which are still kept: at their defaults they change no version.
    added: ClassVar[frozenset[str]] = frozenset()

    @property
    def version(self) -> str:
        """Changes exactly when a value changes that rows are made with."""
        return version_of_value(self.model_dump(mode="json", exclude=self._unused | self.unversioned))

    @property
    def is_used(self) -> bool:
        """Whether it says more than nothing: False of a section that came later and is at its defaults."""
        return self._unused != set(type(self).model_fields)

    @property
    def _unused(self) -> set[str]:
        fields = type(self).model_fields
        return {
            name for name in self.added if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }


def _known_unit(unit: str) -> str:
    if not is_known(unit):
        raise ValueError(f"{unit!r} is not a unit that astropy.units knows")
    return unit


class ColumnSource(Section):
    """Where one of our columns comes from in a delivered table: ``{column: S_int, unit: Jy}``."""

    column: str = Field(description="Name of the column in the file")
    unit: Annotated[str, AfterValidator(_known_unit)] | None = Field(
        None, description="Its unit; taken from the file, else our own, where not given"
    )


def check_columns(
    columns: dict[str, ColumnSource], schema: TableSchema, *, without: Collection[str] = ()
) -> dict[str, ColumnSource]:
    """The columns, if our table has them and their units can be turned into ours.

    Raises
    ------
    ValueError
        Naming the column, what is meant most likely, and what is allowed.
    """
    allowed = [name for name in schema.names if name not in without]
    for name, source in columns.items():
        if name not in allowed:
            raise ValueError(f"unknown column {name!r}{meant(name, allowed)}; allowed are {', '.join(allowed)}")
        ours = schema[name].unit
        if source.unit is not None and not converts(source.unit, ours, name in ("ra_deg", "ra_err_arcsec")):
            unit = ours or "a number"
            raise ValueError(f"column {name!r}: the unit {source.unit!r} cannot be turned into {unit!r}")
    return columns
