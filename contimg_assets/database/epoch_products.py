"""What goes into the products database: the tables of one epoch, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa

from contimg_assets.config import Bands
from contimg_assets.database.blocks import BLOCK_VERSION
from contimg_assets.errors import SchemaError
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.ingest.bands import bands_mhz
from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.schemas.core import TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import COVERAGE, IMAGES
from contimg_assets.schemas.error_model import IMAGE_CONFIGURATIONS
from contimg_assets.schemas.polarization import STOKES_MEASUREMENTS
from contimg_assets.sky.arrays import Integers

Frame: TypeAlias = pd.DataFrame | pa.Table


@dataclass(frozen=True)
class EpochProducts:
    """The tables of one epoch as the stages made them.

    Attributes
    ----------
    epoch : its name
    images, measurements, associations, relations, corrections : DataFrames or Arrow tables of the schemas IMAGES,
        CORRECTED_MEASUREMENTS, ASSOCIATIONS, RELATIONS and CORRECTIONS. Measurements hold duplicates too
        (`duplicate_of`); associations hold copied rows of forks too (`copied`).
    coverage : table of schema COVERAGE: what images cover and how deep, where more than circle and rms is known
    configurations : table of schema IMAGE_CONFIGURATIONS: which images were taken alike; all of them if it is empty
    stokes : table of schema STOKES_MEASUREMENTS: other Stokes parameters, and negative detections
    bands : section `bands`: which frequencies make a band
    versions : data version of each input, by name; kept, and given back by `ProductsDatabase.recorded_versions`
    """

    epoch: str
    images: Frame
    measurements: Frame
    associations: Frame
    relations: Frame
    corrections: Frame
    versions: Mapping[str, str] = field(default_factory=dict)
    coverage: Frame = field(default_factory=COVERAGE.empty)
    configurations: Frame = field(default_factory=IMAGE_CONFIGURATIONS.empty)
    stokes: Frame = field(default_factory=STOKES_MEASUREMENTS.empty)
    bands: Bands = field(default_factory=Bands)

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """The tables, checked against their schemas and sorted by key.

        Raises
        ------
        SchemaError
            If a table is not what its schema says, or names an image or epoch that the epoch does not have.
        """
        schemas: dict[str, tuple[TableSchema, Frame]] = {
            "images": (IMAGES, self.images),
            "measurements": (CORRECTED_MEASUREMENTS, self.measurements),
            "associations": (ASSOCIATIONS, self.associations),
            "relations": (RELATIONS, self.relations),
            "corrections": (CORRECTIONS, self.corrections),
            "coverage": (COVERAGE, self.coverage),
            "configurations": (IMAGE_CONFIGURATIONS, self.configurations),
        }
        if len(self.stokes):
            schemas["stokes"] = (STOKES_MEASUREMENTS, self.stokes)
        tables = {name: _checked(schema, frame) for name, (schema, frame) in schemas.items()}
        images = set(tables["images"]["image"].to_pylist())
        for name in ("measurements", "corrections", "coverage", "configurations"):
            strangers = set(tables[name]["image"].unique().to_pylist()) - images
            if strangers:
                raise SchemaError(
                    f"epoch {self.epoch!r}: table {name!r} names image {min(strangers)!r}, not of this epoch"
                )
        return tables

    @cached_property
    def band_mhz(self) -> Integers:
        """Band of each image, in the order of the table `images` [MHz]."""
        return bands_mhz(self.tables["images"]["freq_mhz"].to_numpy(), self.bands)

    @cached_property
    def content_version(self) -> str:
        """Version of the content, whatever the order of rows, and of what is made of it in the database."""
        versions = [version_of_table(table) for table in self.tables.values()]
        if self.bands.is_used:
            versions.append(self.bands.version)
        return combine_versions(self.epoch, BLOCK_VERSION, *versions)

    def ready(self) -> EpochProducts:
        """The same, with its tables checked and its version known: for another process to write.

        Raises
        ------
        SchemaError
            As `tables`.
        """
        frames: dict[str, Any] = {**self.tables}
        ready = replace(self, **frames)
        # Known to a `cached_property` is what lies under its name.
        ready.__dict__.update(tables=self.tables, band_mhz=self.band_mhz, content_version=self.content_version)
        return ready


def _checked(schema: TableSchema, frame: Frame) -> pa.Table:
    table = schema.to_arrow(frame)
    return table.sort_by([(name, "ascending") for name in schema.key])
