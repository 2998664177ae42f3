"""Section `paths`: where things are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from contimg_assets.config.section import Section
from contimg_assets.config.sizes import bytes_of
from contimg_assets.files.object_stores import WRITABLE
from contimg_assets.files.urls import checked_url, is_url
from contimg_assets.identity.versions import version_of_value

COPIES_OF_DELIVERIES = Path("incoming_from_urls")
"""Where copies of deliveries at URLs are kept in a project."""
COPIES_OF_STORES = Path("store_from_urls")
"""Where a project keeps what it has of a store at a URL."""
_HERE = ("file", "local")


class Paths(Section):
    """Where things are. Relative paths start at the folder of the configuration file."""

    # What came later: a survey that does not use it is as it was.
    added = frozenset({"image_urls", "incoming_url", "copy_images", "store_url", "store_copy_size"})

    incoming: Path = Field(
        Path("incoming"),
        description="Folder with one folder per epoch, each with images.csv; or its URL (s3://, gs://, https:// ...)",
    )
    incoming_url: str | None = Field(
        None, description="Set where `incoming` is a URL; `incoming` is then the folder of the copies"
    )
    copy_images: bool = Field(
        False,
        description="Whether the images of deliveries at a URL are copied too; otherwise parts of them are read there",
    )
    store: Path = Field(
        Path("store"),
        description="Folder of the Parquet store between the stages; or its URL (s3://) that machines share",
    )
    store_url: str | None = Field(
        None, description="Set where `store` is a URL; `store` is then the folder of what this machine has of it"
    )
    store_copy_size: str | None = Field(
        None,
        description="Most that this machine keeps of the tables of a store at a URL, such as `50 GB`: what was not "
        "used for longest goes, and is brought again when it is read; everything is kept if not given",
    )
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

    @field_validator("incoming_url", "store_url")
    @classmethod
    def _no_secrets_in_urls(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if value.partition("://")[0].lower() in _HERE:
            raise ValueError("this is a folder here; give its path")
        if "?" in value or "#" in value:
            raise ValueError("a folder's URL has nothing behind '?' or '#'; take it off")
        key = str(info.field_name).removesuffix("_url")
        url = checked_url(value, "folder", f"s3://bucket/{key}").rstrip("/")
        if key == "store" and url.partition("://")[0].lower() not in WRITABLE:
            raise ValueError(
                "a store is a folder or at s3://, where one of several writers wins and the others know it"
            )
        return url

    @model_validator(mode="before")
    @classmethod
    def _copies_of_urls(cls, value: Any) -> Any:
        """A URL as `incoming` or `store` is that of a folder whose copies lie in the project."""
        if not isinstance(value, Mapping):
            return value
        for key in _AT_URLS:
            url = str(value.get(key, "")).rstrip("/")
            if value.get(f"{key}_url") is None and is_url(url):
                value = {**value, f"{key}_url": url, key: _copies_of(key, url)}
        return value

    @field_validator("store_copy_size")
    @classmethod
    def _a_size(cls, value: str | None) -> str | None:
        if value is not None and bytes_of(value) <= 0:
            raise ValueError(f"{value!r} holds nothing; write a size such as '50 GB'")
        return value

    @property
    def store_copy_bytes(self) -> int | None:
        """`store_copy_size` [bytes]."""
        return None if self.store_copy_size is None else bytes_of(self.store_copy_size)

    @model_validator(mode="after")
    def _copies_of_a_url(self) -> Paths:
        if self.store_copy_size is not None and self.store_url is None:
            raise ValueError("store_copy_size is about a store at a URL; this one is a folder, of which all is kept")
        return self

    @model_validator(mode="after")
    def _copies_where_nothing_else_is(self) -> Paths:
        """Copies follow the server: what it has not is removed among them."""
        for key in _AT_URLS:
            url = getattr(self, f"{key}_url")
            if url is not None and getattr(self, key) != _copies_of(key, url):
                raise ValueError(f"{key}_url is not to be set: give the URL as {key}")
        return self


_AT_URLS = {"incoming": COPIES_OF_DELIVERIES, "store": COPIES_OF_STORES}


def _copies_of(key: str, url: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", url.rpartition("/")[2]).lstrip(".")
    return _AT_URLS[key] / f"{version_of_value(url)[:8]}_{name}"
