"""Section `products`: the form of the products database."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from contimg_assets.config.section import Section


class Products(Section):
    """The form in which products are kept; what the rows say does not depend on it."""

    unversioned: ClassVar[frozenset[str]] = frozenset({"partition_order"})

    partition_order: int | None = Field(
        None,
        ge=0,
        le=6,
        description="Order of the HEALPix cells (nested) that a new database of PostgreSQL has its large tables "
        "divided by, such as 3: cells of 7 degrees; not divided if not given",
    )
