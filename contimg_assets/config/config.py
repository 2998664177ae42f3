"""The whole configuration: its sections, and the paths that follow from them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from contimg_assets.config.association import Association
from contimg_assets.config.automation import Automation
from contimg_assets.config.bands import Bands
from contimg_assets.config.catalogs import CatalogConfig
from contimg_assets.config.checks import Checks
from contimg_assets.config.compute import Compute
from contimg_assets.config.corrections import Corrections
from contimg_assets.config.ingest import Ingest
from contimg_assets.config.matching import Matching
from contimg_assets.config.measurements import Measurements
from contimg_assets.config.monitor import Monitor
from contimg_assets.config.paths import Paths
from contimg_assets.config.products import Products
from contimg_assets.config.section import Section
from contimg_assets.config.stokes import Stokes
from contimg_assets.config.variability import Variability
from contimg_assets.errors import meant

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Config(Section):
    """The whole configuration. ``root`` is the folder that relative paths start at; it is not a key of the file.

    `load_config` reads one from a file. A section is an attribute, and what functions take as ``parameters``.

    Examples
    --------
    >>> import contimg_assets as ca
    >>> config = ca.Config(matching={"radius_arcsec": 15})
    >>> config.matching.radius_arcsec, config.variability.min_abs_vs
    (15.0, 4.3)
    """

    paths: Paths = Field(default_factory=Paths)
    ingest: Ingest = Field(default_factory=Ingest)
    bands: Bands = Field(default_factory=Bands)
    measurements: Measurements = Field(default_factory=Measurements)
    association: Association = Field(default_factory=Association)
    catalogs: dict[str, CatalogConfig] = Field(default_factory=dict, description="Reference catalogs by name")
    matching: Matching = Field(default_factory=Matching)
    corrections: Corrections = Field(default_factory=Corrections)
    variability: Variability = Field(default_factory=Variability)
    monitor: Monitor = Field(default_factory=Monitor)
    stokes: Stokes = Field(default_factory=Stokes)
    products: Products = Field(default_factory=Products)
    checks: Checks = Field(default_factory=Checks)
    automation: Automation = Field(default_factory=Automation)
    compute: Compute = Field(default_factory=Compute)

    root: Path = Field(default_factory=Path.cwd, exclude=True)

    @field_validator("catalogs")
    @classmethod
    def _catalog_names(cls, value: dict[str, CatalogConfig]) -> dict[str, CatalogConfig]:
        # People write NVSS; one catalog has one name.
        lower = {name.lower(): settings for name, settings in value.items()}
        for name in lower:
            if not _NAME.fullmatch(name):
                raise ValueError(f"catalog name {name!r} must be lower-case letters, digits, '-' or '_'")
        if len(lower) < len(value):
            raise ValueError(f"two catalogs differ only in capitals: {', '.join(value)}; rename one")
        return lower

    @field_validator("corrections")
    @classmethod
    def _names_in_small_letters(cls, value: Corrections) -> Corrections:
        """Those of configured catalogs are, people write NVSS."""
        given = {
            "position_catalogs": tuple(name.lower() for name in value.position_catalogs),
            "flux_catalogs": tuple(name.lower() for name in value.flux_catalogs),
            "catalog_weights": {name.lower(): weight for name, weight in value.catalog_weights.items()},
        }
        return value.model_copy(update={name: one for name, one in given.items() if one != getattr(value, name)})

    @model_validator(mode="after")
    def _ties_exist(self) -> Config:
        for key in ("position_catalogs", "flux_catalogs"):
            unknown = set(getattr(self.corrections, key)) - set(self.catalogs)
            if unknown:
                hint = meant(sorted(unknown)[0], self.catalogs)
                raise ValueError(
                    f"corrections.{key} names {sorted(unknown)}{hint}; configured catalogs are {sorted(self.catalogs)}"
                )
        return self

    @model_validator(mode="after")
    def _only_postgresql_is_divided(self) -> Config:
        if self.products.partition_order is not None and not self.products_url.startswith("postgresql"):
            raise ValueError(
                "products.partition_order is for PostgreSQL, and paths.products names SQLite; leave it out, or give "
                "the URL of a PostgreSQL database"
            )
        return self

    @property
    def incoming(self) -> Path:
        return self.root / self.paths.incoming

    @property
    def incoming_shown(self) -> str:
        """Where epochs are delivered, as people call it: the folder or its URL."""
        return self.paths.incoming_url or str(self.incoming)

    def told(self, sentence: str) -> str:
        """A sentence on delivered files with their URLs where it names their copies."""
        if self.paths.incoming_url is None:
            return sentence
        for folder in (str(self.incoming), os.path.realpath(self.incoming)):
            sentence = sentence.replace(folder, self.paths.incoming_url)
        return sentence

    @property
    def image_roots(self) -> list[Path]:
        """Folders outside an epoch's own that its manifest may name files in."""
        return [self.root / root for root in self.paths.image_roots]

    @property
    def store(self) -> Path:
        return self.root / self.paths.store

    @property
    def products_url(self) -> str:
        """SQLAlchemy URL of the products database; SQLite's relative paths start at the configuration's folder too."""
        kind, is_file, path = self.paths.products.rpartition(":///")
        if is_file and kind.startswith("sqlite") and not path.startswith((":", "file:")):
            return f"{kind}:///{self.root / path}"
        return self.paths.products if "://" in self.paths.products else f"sqlite:///{self.root / self.paths.products}"

    @property
    def hats_folder(self) -> Path | None:
        """The HATS collection that runs keep up to date; None without one."""
        return None if self.products.hats is None else self.root / self.products.hats

    @property
    def monitor_file(self) -> Path | None:
        """The list of monitored positions; None without one."""
        return None if self.monitor.file is None else self.root / self.monitor.file

    def catalog_path(self, name: str) -> Path:
        return self.root / self.catalogs[name].path
