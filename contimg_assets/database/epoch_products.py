"""What goes into the products database, and what comes back from writing: plain containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa

from contimg_assets.errors import SchemaError
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.schemas.core import TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import COVERAGE, IMAGES

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
        }
        tables = {name: _checked(schema, frame) for name, (schema, frame) in schemas.items()}
        images = set(tables["images"]["image"].to_pylist())
        for name in ("measurements", "corrections", "coverage"):
            strangers = set(tables[name]["image"].unique().to_pylist()) - images
            if strangers:
                raise SchemaError(
                    f"epoch {self.epoch!r}: table {name!r} names image {min(strangers)!r}, not of this epoch"
                )
        return tables

    @cached_property
    def content_version(self) -> str:
        """Version of the content, whatever the order of rows."""
        versions = [version_of_table(table) for table in self.tables.values()]
        return combine_versions(self.epoch, *versions)


def _checked(schema: TableSchema, frame: Frame) -> pa.Table:
    table = schema.to_arrow(frame)
    return table.sort_by([(name, "ascending") for name in schema.key])


@dataclass(frozen=True)
class SourceMatching:
    """How sources find their counterparts.

    Attributes
    ----------
    match : takes all sources (DataFrame: source_id, ra_deg, dec_deg, uncertainty_ew_arcsec, uncertainty_ns_arcsec,
        freq_mhz, beam_arcsec, flux_mjy) and the pairs that people accepted (source_id, catalog, catalog_source_id), and
        returns candidates of schema SOURCE_MATCHES, those pairs among them, such as
        `contimg_assets.crossmatch.matches.match_sources` with its catalogues and parameters bound
    catalogs : DataFrame with name, freq_mhz, beam_arcsec, version
    version : changes when a catalogue or a parameter changes; all sources are then matched again
    check : takes catalogue, source there, right ascension and declination [deg] of ours, and raises InputError if the
        catalogue has no such source; not called where missing
    """

    match: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    catalogs: pd.DataFrame
    version: str
    check: Callable[[str, str, float, float], None] | None = None


@dataclass
class WriteReport:
    """What a call to `replace_epochs` did."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    n_sources: int = 0
    n_recomputed: int = 0
    n_aliases: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """Counts for the Dagster UI."""
        return {
            "epochs_written": len(self.written),
            "epochs_unchanged": len(self.unchanged),
            "epochs_deleted": len(self.deleted),
            "sources": self.n_sources,
            "sources_recomputed": self.n_recomputed,
            "aliases_added": self.n_aliases,
        }
