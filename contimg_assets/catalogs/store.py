"""Reference catalogues as Parquet sorted by HEALPix, and reading no more of them than a part of the sky needs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contimg_assets.catalogs.read import read_catalog
from contimg_assets.config import CatalogConfig, Config, load_config
from contimg_assets.errors import InputError
from contimg_assets.files import reading_from, replacing, writing_to
from contimg_assets.identity.versions import combine_versions, version_of_table, version_of_value
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.described import METADATA_PREFIX, describe
from contimg_assets.sky import sphere
from contimg_assets.sky.cells import Flags, coarser, healpix_29, neighbourhood, order_of_radius, rows_in_cells
from contimg_assets.sky.pairs import cross_match_sources

ROWS_PER_GROUP = 8192


def build_catalog(name: str, config: CatalogConfig, root: Path) -> pa.Table:
    """Read a catalogue's file into a table of schema REFERENCE sorted by HEALPix cell.

    Parameters
    ----------
    name, config : the catalogue, as configured
    root : folder that a relative ``config.path`` starts at

    Returns
    -------
    Table whose schema metadata hold name, freq_mhz, beam_arcsec, version (of the content and of how it is used) and
    n_without_position, so that it says what it is wherever it is stored.

    Raises
    ------
    InputError
        If the file is missing or unusable.
    """
    table, n_without_position = read_catalog(name, config, root / config.path)
    return describe(
        table,
        {
            "name": name,
            "freq_mhz": repr(config.freq_mhz),
            "beam_arcsec": repr(config.beam_arcsec),
            "version": content_version(table, config.freq_mhz, config.beam_arcsec),
            "n_without_position": str(n_without_position),
        },
    )


def content_version(table: pa.Table, freq_mhz: float, beam_arcsec: float) -> str:
    """Changes exactly when a row, the frequency or the beam changes."""
    return combine_versions(version_of_table(table), version_of_value([freq_mhz, beam_arcsec]))


def catalog_file(config: Config, name: str) -> Path:
    """Where the normalised catalogue is kept."""
    return config.store / "reference" / f"{name}.parquet"


def unreferenced_catalogs(config: Config) -> list[Path]:
    """Files among the normalised catalogues that no configured one is kept in."""
    kept = {catalog_file(config, name) for name in config.catalogs}
    return [path for path in sorted((config.store / "reference").glob("*")) if path not in kept]


def stored_schema(file: Path) -> pa.Schema | None:
    """Schema of a stored table; None where there is none, or a damaged one."""
    try:
        with reading_from(file):
            return pq.read_schema(file)
    except (OSError, pa.ArrowException):
        return None


def write_catalog(table: pa.Table, path: Path) -> None:
    """Write a catalogue atomically, in row groups small enough that statistics skip most of the sky."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")


class ReferenceCatalog:
    """A reference catalogue, in a file or in memory.

    Parameters
    ----------
    name : of the catalogue
    source : path of the Parquet file that `write_catalog` wrote, or the table itself: pyarrow, or a DataFrame with
        columns of schema REFERENCE; position errors (then 1 arcsec), fluxes, index and HEALPix cell may be absent
    freq_mhz, beam_arcsec, version : taken from the table's metadata where not given

    Raises
    ------
    InputError
        If the file is not there or is not such a catalogue.
    """

    def __init__(
        self,
        name: str,
        source: Path | pa.Table | pd.DataFrame,
        freq_mhz: float | None = None,
        beam_arcsec: float | None = None,
        version: str | None = None,
    ) -> None:
        self.name = name
        self.path = source if isinstance(source, Path) else None
        if isinstance(source, Path):
            try:
                schema = pq.read_schema(source)
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"{source}: the catalogue {name!r} is not there or not readable; materialise reference/{name}"
                ) from error
            missing = set(REFERENCE.names) - set(schema.names)
            if missing:
                raise InputError(f"{source}: no column {sorted(missing)}; materialise reference/{name} again")
            metadata = schema.metadata or {}
        else:
            self.table = _sorted_reference(source)
            metadata = (source.schema.metadata if isinstance(source, pa.Table) else None) or {}
        values = {
            key.removeprefix(METADATA_PREFIX).decode(): value.decode()
            for key, value in metadata.items()
            if key.startswith(METADATA_PREFIX)
        }
        freq = freq_mhz if freq_mhz is not None else values.get("freq_mhz")
        beam = beam_arcsec if beam_arcsec is not None else values.get("beam_arcsec")
        if freq is None or beam is None:
            raise InputError(f"catalogue {name!r}: its frequency and beam are neither given nor in its metadata")
        self.freq_mhz, self.beam_arcsec = float(freq), float(beam)
        given = version if version is not None else values.get("version")
        self.version = given or content_version(self.table, self.freq_mhz, self.beam_arcsec)

    def __repr__(self) -> str:
        return f"ReferenceCatalog({self.name!r}, {self.freq_mhz:g} MHz, {self.beam_arcsec:g} arcsec, {self.version})"

    def __len__(self) -> int:
        return pq.read_metadata(self.path).num_rows if self.path is not None else self.table.num_rows

    @cached_property
    def table(self) -> pa.Table:
        """The whole catalogue, read when first asked for and kept."""
        assert self.path is not None
        # One chunk: rows are taken by index, and looking up chunks would cost more than taking.
        return pq.read_table(self.path, columns=REFERENCE.names).combine_chunks()

    @cached_property
    def _groups(self) -> npt.NDArray[np.int64]:
        """First and last cell of each row group, shape (n, 2)."""
        metadata = pq.read_metadata(self.path)
        column = metadata.schema.to_arrow_schema().get_field_index("healpix_29")
        statistics = [metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)]
        return np.array([[s.min, s.max] for s in statistics], dtype=np.int64).reshape(-1, 2)

    def covering(
        self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float
    ) -> tuple[pa.Table, npt.NDArray[np.intp]]:
        """A part of the catalogue and the rows of it that lie in HEALPix cells within a radius of the positions.

        Of a file, only the row groups needed are read. No row within the radius is missed; rows somewhat farther may be
        among them, but whole cells are: counting them per cell is safe.
        """
        ra, dec = np.atleast_1d(np.asarray(ra_deg, float)), np.atleast_1d(np.asarray(dec_deg, float))
        if not len(ra):
            return REFERENCE.arrow.empty_table(), np.empty(0, np.intp)
        order = order_of_radius(radius_arcsec)
        if order < 0:
            return self.table, np.arange(self.table.num_rows)
        flags = neighbourhood(healpix_29(ra, dec), order)
        table = self.table if self.path is None or "table" in self.__dict__ else self._read(flags, order)
        return table, rows_in_cells(table.column("healpix_29").to_numpy(), flags, order)

    def _read(self, flags: Flags, order: int) -> pa.Table:
        """The row groups that hold any of the cells whose flag is set."""
        cells = np.flatnonzero(flags)
        low, high = coarser(self._groups.T, order)
        needed = np.searchsorted(cells, high, side="right") > np.searchsorted(cells, low, side="left")
        with pq.ParquetFile(self.path) as file:
            return file.read_row_groups(np.flatnonzero(needed).tolist(), columns=REFERENCE.names).combine_chunks()

    def near(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float) -> pa.Table:
        """At least the rows within a radius of any of the positions; rows somewhat farther may be among them."""
        table, inside = self.covering(ra_deg, dec_deg, radius_arcsec)
        return table if len(inside) == table.num_rows else table.take(pa.array(inside))

    def has(self, catalog_source_id: str) -> bool:
        """Whether there is a source of this name; of a file, only the names are read."""
        column = "catalog_source_id"
        if self.path is None or "table" in self.__dict__:
            return bool(pc.any(pc.equal(self.table.column(column), catalog_source_id)).as_py())
        wanted = pc.field(column) == catalog_source_id
        return pq.read_table(self.path, columns=[column], filters=wanted).num_rows > 0

    def nearest(self, ra_deg: float, dec_deg: float, n: int = 3, radius_deg: float = 0.5) -> pd.DataFrame:
        """The sources nearest to a position with separation_arcsec, at most n of those within a radius."""
        return self.cone(ra_deg, dec_deg, radius_deg).head(n)

    def within(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float) -> pd.DataFrame:
        """Exactly the rows within a radius of any of the positions, in the order of the catalogue."""
        table = self.near(ra_deg, dec_deg, radius_arcsec)
        centres = pd.DataFrame({"ra_deg": np.atleast_1d(ra_deg), "dec_deg": np.atleast_1d(dec_deg)})
        pairs = cross_match_sources(centres, table.select(["ra_deg", "dec_deg"]).to_pandas(), radius_arcsec)
        return table.take(pa.array(np.unique(pairs["catalog_index"]))).to_pandas()

    def cone(self, ra_deg: float, dec_deg: float, radius_deg: float) -> pd.DataFrame:
        """Rows within a circle, nearest first, with separation_arcsec.

        Raises
        ------
        InputError
            If the circle is not one on the sky.
        """
        if not (np.isfinite(ra_deg) and abs(dec_deg) <= 90 and 0 <= radius_deg <= 180):
            raise InputError(
                f"cone of {radius_deg} deg about ({ra_deg}, {dec_deg}) is not on the sky; give |dec| <= 90 deg and "
                "a radius from 0 to 180 deg"
            )
        table = self.near(ra_deg, dec_deg, radius_deg * 3600.0)
        ra, dec = table.column("ra_deg").to_numpy(), table.column("dec_deg").to_numpy()
        separation = sphere.separation_arcsec(ra_deg, dec_deg, ra, dec)
        inside = np.flatnonzero(separation <= radius_deg * 3600.0)
        inside = inside[np.argsort(separation[inside], kind="stable")]
        result = table.take(pa.array(inside)).to_pandas()
        result["separation_arcsec"] = separation[inside]
        return result


def _sorted_reference(source: pa.Table | pd.DataFrame) -> pa.Table:
    """A table of schema REFERENCE sorted by cell, missing optional columns filled in."""
    if isinstance(source, pa.Table) and set(REFERENCE.names) <= set(source.column_names):
        table = source.select(REFERENCE.names)
        cells = table.column("healpix_29").to_numpy()
        if (np.diff(cells) >= 0).all():
            return table.replace_schema_metadata(None)
    frame = source.to_pandas() if isinstance(source, pa.Table) else source
    frame = pd.DataFrame({name: frame[name] for name in REFERENCE.names if name in frame.columns})
    for column in REFERENCE:
        if column.name not in frame.columns and column.nullable:
            frame[column.name] = np.nan
    for name in ("ra_err_arcsec", "dec_err_arcsec"):
        if name not in frame.columns:
            frame[name] = 1.0
    frame["healpix_29"] = healpix_29(frame["ra_deg"].to_numpy(float), frame["dec_deg"].to_numpy(float))
    frame = frame.sort_values(["healpix_29", "catalog_source_id"], kind="stable", ignore_index=True)
    return REFERENCE.to_arrow(frame).replace_schema_metadata(None)


def open_catalogs(config: Config, names: Iterable[str] | None = None) -> list[ReferenceCatalog]:
    """The configured catalogues, from the store where they are materialised there, else from their files.

    Raises
    ------
    InputError
        If a file is missing or unusable, or a name is not configured.
    """
    catalogs = []
    for name in config.catalogs if names is None else names:
        if name not in config.catalogs:
            raise InputError(
                f"catalogue {name!r} is not configured; there are {', '.join(sorted(config.catalogs)) or 'none'}; "
                f"`contimg catalog add {name} FILE` adds it"
            )
        file = catalog_file(config, name)
        source = file if file.exists() else build_catalog(name, config.catalogs[name], config.root)
        catalogs.append(ReferenceCatalog(name, source))
    return catalogs


def query_sources(
    catalog_type: str,
    ra_center: float,
    dec_center: float,
    radius_deg: float,
    *,
    min_flux_mjy: float | None = None,
    max_sources: int | None = None,
    config: Config | None = None,
) -> pd.DataFrame:
    """Sources of a configured catalogue around a position.

    Parameters
    ----------
    catalog_type : name of the catalogue in the configuration
    ra_center, dec_center, radius_deg : the circle, ICRS deg
    min_flux_mjy : only sources at least this bright
    max_sources : only that many, the brightest
    config : the configuration; that of the working folder if None

    Returns
    -------
    DataFrame with the columns of schema REFERENCE, catalog_type and separation_arcsec, nearest first (brightest first
    with ``max_sources``). Ids are the catalogue's own names, or IAU names.

    Raises
    ------
    InputError
        If the catalogue is not configured or its file unusable, or the circle is not one on the sky.
    """
    (catalog,) = open_catalogs(config if config is not None else load_config(), [catalog_type])
    rows = catalog.cone(ra_center, dec_center, radius_deg)
    if min_flux_mjy is not None:
        rows = rows[rows["flux_mjy"] >= min_flux_mjy]
    if max_sources is not None:
        rows = rows.sort_values(["flux_mjy", "separation_arcsec"], ascending=[False, True]).head(max_sources)
    rows = rows.reset_index(drop=True)
    rows.insert(0, "catalog_type", catalog_type)
    return rows


__all__ = [
    "ReferenceCatalog",
    "build_catalog",
    "catalog_file",
    "content_version",
    "open_catalogs",
    "query_sources",
    "write_catalog",
]
