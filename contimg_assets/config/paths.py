"""Section `paths`: where things are."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from contimg_assets.config.section import Section


class Paths(Section):
    """Where things are. Relative paths start at the folder of the configuration file."""

    # What came later: a survey that does not use it is as it was.
    added = frozenset({"image_urls"})

    incoming: Path = Field(Path("incoming"), description="Folder with one folder per epoch, each with images.csv")
    store: Path = Field(Path("store"), description="Folder of the Parquet store between the stages")
    products: str = Field(
        "products.sqlite3", description="SQLite file, or any SQLAlchemy URL (postgresql+psycopg://...)"
    )
    image_roots: tuple[Path, ...] = Field(
        (), description="Folders outside an epoch's own that its manifest may name catalogs or images in"
    )
    image_urls: tuple[str, ...] = Field(
        (),
        description="Beginnings of URLs that manifests may name images by, such as https://archive.example.org/images",
    )
