"""Reference catalogs as Parquet sorted by HEALPix, and reading no more of them than a part of the sky needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contimg_assets.catalogs.copies import bring_here, stamp_of_copy
from contimg_assets.catalogs.hats import is_hats
from contimg_assets.catalogs.read import read_catalog
from contimg_assets.catalogs.tiles import Tiles
from contimg_assets.config import CatalogConfig, Config, check_section, load_config
from contimg_assets.errors import InputError, meant
from contimg_assets.files import reading_from, replacing, writing_to
from contimg_assets.identity.versions import combine_versions, version_of_table, version_of_value
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.catalogs import MOTIONS, MOVING_REFERENCE, REFERENCE
from contimg_assets.schemas.described import describe, described_values
from contimg_assets.schemas.tables import AngleLike, TableLike, as_frame, as_number, as_position, require
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Flags, Indices, Integers
from contimg_assets.sky.cells import coarser, healpix_29, neighborhood, order_of_radius, rows_in_cells
from contimg_assets.sky.pairs import cross_match_sources

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

ROWS_PER_GROUP = 8192
TILES = "tiles"
"""Key of the metadata of a table that stands for a catalog in HATS: its settings as JSON, the folder among them."""


def build_catalog(name: str, config: CatalogConfig, root: Path) -> pa.Table:
    """Read a catalog's file into a table of schema REFERENCE sorted by HEALPix cell.

    Parameters
    ----------
    name, config : the catalog, as configured
    root : folder that a relative ``config.path`` starts at

    Returns
    -------
    Table whose schema metadata hold name, freq_mhz, beam_arcsec, version (of the content and of how it is used) and
    n_without_position, so that it says what it is wherever it is stored. Of a catalog in HATS it has no rows: the
    metadata say how its tiles are read when they are needed, and how many rows they have.

    Raises
    ------
    InputError
        If the file is missing or unusable, or cannot be fetched.
    """
    if config.url is not None:
        bring_here(config.url, root / config.path)
    stated = {"name": name, "freq_mhz": repr(config.freq_mhz), "beam_arcsec": repr(config.beam_arcsec)}
    if is_hats(root / config.path):
        return _index_of_tiles(name, config.model_copy(update={"path": (root / config.path).absolute()}), stated)
    table, n_without_position = read_catalog(name, config, root / config.path)
    version = content_version(table, config.freq_mhz, config.beam_arcsec)
    return describe(table, {**stated, "version": version, "n_without_position": str(n_without_position)})


def _index_of_tiles(name: str, config: CatalogConfig, stated: Mapping[str, str]) -> pa.Table:
    """What stands for a catalog in HATS: no rows, but where its tiles are and how they are read."""
    tiles = Tiles(name, config)
    tiles.check()
    how = version_of_value(config.model_dump(mode="json", exclude={"path"}))
    content = tiles.hats.version() if config.url is None else str(stamp_of_copy(config.path))
    return describe(
        REFERENCE.arrow.empty_table(),
        {
            **stated,
            "version": combine_versions(content, how),
            TILES: config.model_dump_json(),
            "n_rows": str(tiles.hats.n_rows),
        },
    )


def content_version(table: pa.Table, freq_mhz: float, beam_arcsec: float) -> str:
    """Changes exactly when a row, the frequency or the beam changes."""
    return combine_versions(version_of_table(table), version_of_value([freq_mhz, beam_arcsec]))


def catalog_file(config: Config, name: str) -> Path:
    """Where the normalized catalog is kept."""
    return config.store / "reference" / f"{name}.parquet"


def unreferenced_catalogs(config: Config) -> list[Path]:
    """Files among the normalized catalogs that no configured one is kept in."""
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
    """Write a catalog atomically, in row groups small enough that statistics skip most of the sky."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")


class ReferenceCatalog:
    """A reference catalog, in a file or in memory.

    `ReferenceCatalog.read` makes one of a file as the survey publishes it.

    Parameters
    ----------
    name : str
        Name of the catalog in the tables of matches.
    source : DataFrame, Table, QTable, pyarrow.Table or Path
        The table: ``catalog_source_id``, ``ra_deg``, ``dec_deg``; ``ra_err_arcsec`` and ``dec_err_arcsec`` (1 sigma on
        the sky; else 1 arcsec), ``flux_mjy``, ``flux_err_mjy``, ``flux_peak_mjy_beam`` and ``spectral_index`` where
        known. Or the Parquet file in which a project keeps a catalog (``store/reference/<name>.parquet``).
    freq_mhz : float or Quantity, optional
        Frequency of its fluxes, MHz; from the file's metadata where not given.
    beam_arcsec : float, Angle or Quantity, optional
        Its resolution, FWHM, arcsec; from the file's metadata where not given.
    version : str, optional
        Of its content; computed where not given.

    Raises
    ------
    InputError
        If the file is not there or is not such a catalog, a column is missing, or frequency or beam are not known.

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> table = pd.DataFrame({"catalog_source_id": ["A"], "ra_deg": [10.0], "dec_deg": [16.0], "flux_mjy": [100.0]})
    >>> catalog = ca.ReferenceCatalog("mine", table, freq_mhz=1400, beam_arcsec=45)
    >>> len(catalog), catalog.cone(10.0, 16.001, radius_deg=0.1)["separation_arcsec"].round(1).tolist()
    (1, [3.6])
    """

    def __init__(
        self,
        name: str,
        source: Path | TableLike,
        freq_mhz: float | None = None,
        beam_arcsec: AngleLike | None = None,
        version: str | None = None,
    ) -> None:
        self.name = name
        source = Path(source) if isinstance(source, str) else source
        self.path = source if isinstance(source, Path) else None
        if isinstance(source, Path):
            try:
                schema = pq.read_schema(source)
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"{source}: the catalog {name!r} is not there or not readable; materialize reference/{name}"
                ) from error
            missing = set(REFERENCE.names) - set(schema.names)
            if missing:
                raise InputError(
                    f"{source}: no column {sorted(missing)}; materialize reference/{name} again, or read a file as its "
                    "survey publishes it with ReferenceCatalog.read"
                )
            values = described_values(schema)
        else:
            values = described_values(source.schema) if isinstance(source, pa.Table) else {}
            if TILES not in values:
                self.table = _sorted_reference(source, name)
        self._tiles = _tiles_of(name, values)
        self._n_rows = int(values.get("n_rows", 0))
        freq = freq_mhz if freq_mhz is not None else values.get("freq_mhz")
        beam = beam_arcsec if beam_arcsec is not None else values.get("beam_arcsec")
        if freq is None or beam is None:
            raise InputError(f"catalog {name!r}: its frequency and beam are neither given nor in its metadata")
        self.freq_mhz = as_number(freq if freq_mhz is not None else float(freq), "MHz", "freq_mhz")
        self.beam_arcsec = as_number(beam if beam_arcsec is not None else float(beam), "arcsec", "beam_arcsec")
        given = version if version is not None else values.get("version")
        self.version = given or content_version(self.table, self.freq_mhz, self.beam_arcsec)

    @classmethod
    def read(cls, path: Path | str, name: str | None = None, **settings: object) -> ReferenceCatalog:
        """A catalog from a file as its survey publishes it, or any table of positions.

        Parameters
        ----------
        path : Path or str
            FITS, VOTable, ECSV, CSV, Parquet or SQLite file, or the folder of a catalog in HATS; usual names of columns
            are known, units are converted.
        name : str, optional
            Name of the catalog in the tables of matches; else the preset's, else the file's.
        **settings : object
            As under ``catalogs`` in the configuration: ``preset="nvss"`` (what is known of a survey), or
            ``freq_mhz=888, beam_arcsec=15, columns={"flux_mjy": {"column": "S", "unit": "Jy"}}``.

        Returns
        -------
        ReferenceCatalog
            In memory; of a catalog in HATS each tile when it is needed.

        Raises
        ------
        InputError
            If the file is missing or unusable.
        ConfigError
            If the frequency is not given, or a setting is unknown or its value not allowed.
        """
        file = Path(path)
        called = name or str(settings.get("preset") or file.stem).lower()
        config = check_section(CatalogConfig, {"path": file, **settings}, ("catalogs", called))
        return cls(called, build_catalog(called, config, Path.cwd()))

    def __getstate__(self) -> dict[str, object]:
        # Another process reads the file, of which it may need less.
        read = {"table", "_groups"} if self.path is not None or self._tiles is not None else set()
        return {name: value for name, value in self.__dict__.items() if name not in read}

    def __repr__(self) -> str:
        return f"ReferenceCatalog({self.name!r}, {self.freq_mhz:g} MHz, {self.beam_arcsec:g} arcsec, {self.version})"

    def __len__(self) -> int:
        if self._tiles is not None:
            return self._n_rows
        n_rows: int = pq.read_metadata(self.path).num_rows if self.path is not None else self.table.num_rows
        return n_rows

    @property
    def n_tiles_opened(self) -> int:
        """Of a catalog in HATS, tiles that were read by this object so far; one that is needed again may be kept."""
        return 0 if self._tiles is None else self._tiles.n_opened

    @cached_property
    def table(self) -> pa.Table:
        """The whole catalog, read when first asked for and kept."""
        if self._tiles is not None:
            return self._tiles.whole()
        assert self.path is not None
        # One chunk: rows are taken by index, and looking up chunks would cost more than taking.
        return pq.read_table(self.path, columns=self._columns).combine_chunks()

    @cached_property
    def _columns(self) -> list[str]:
        """Of the table in the file: with motions, where its sources have some."""
        return _columns_of(pq.read_schema(self.path).names).names

    @cached_property
    def _groups(self) -> Integers:
        """First and last cell of each row group, shape (n, 2)."""
        metadata = pq.read_metadata(self.path)
        column = metadata.schema.to_arrow_schema().get_field_index("healpix_29")
        statistics = [metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)]
        return np.array([[s.min, s.max] for s in statistics], dtype=np.int64).reshape(-1, 2)

    def covering(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float) -> tuple[pa.Table, Indices]:
        """A part of the catalog and the rows of it that lie in HEALPix cells within a radius of the positions.

        Of a file, only the row groups needed are read, and of a catalog in HATS the tiles. No row within the radius is
        missed; rows somewhat farther may be among them, but whole cells are: counting them per cell is safe.

        Parameters
        ----------
        ra_deg, dec_deg : array_like, shape (n,)
            The positions, ICRS degrees.
        radius_arcsec : float
            How far from them.

        Returns
        -------
        pyarrow.Table, ndarray of int
            The part, and the rows.
        """
        ra, dec = np.atleast_1d(np.asarray(ra_deg, float)), np.atleast_1d(np.asarray(dec_deg, float))
        if not len(ra):
            return REFERENCE.arrow.empty_table(), np.empty(0, np.intp)
        order = order_of_radius(radius_arcsec)
        if order < 0:
            return self.table, np.arange(self.table.num_rows)
        flags = neighborhood(healpix_29(ra, dec), order)
        table = self.table if self._is_at_hand else self._read(flags, order)
        return table, rows_in_cells(table.column("healpix_29").to_numpy(), flags, order)

    @property
    def _is_at_hand(self) -> bool:
        """Whether the whole table is in memory."""
        return "table" in self.__dict__

    def _read(self, flags: Flags, order: int) -> pa.Table:
        """The row groups or tiles that hold any of the cells whose flag is set."""
        if self._tiles is not None:
            return self._tiles.near(flags, order)
        cells = np.flatnonzero(flags)
        low, high = coarser(self._groups.T, order)
        needed = np.searchsorted(cells, high, side="right") > np.searchsorted(cells, low, side="left")
        with pq.ParquetFile(self.path) as file:
            return file.read_row_groups(np.flatnonzero(needed).tolist(), columns=self._columns).combine_chunks()

    def near(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float) -> pa.Table:
        """At least the rows within a radius of any of the positions; rows somewhat farther may be among them.

        Parameters
        ----------
        ra_deg, dec_deg : array_like, shape (n,)
            The positions, ICRS degrees.
        radius_arcsec : float
            How far from them.

        Returns
        -------
        pyarrow.Table
            The rows.
        """
        table, inside = self.covering(ra_deg, dec_deg, radius_arcsec)
        return table if len(inside) == table.num_rows else table.take(pa.array(inside))

    def has(self, catalog_source_id: str) -> bool:
        """Whether there is a source of this name; of a file, only the names are read.

        Parameters
        ----------
        catalog_source_id : str
            The name.

        Returns
        -------
        bool
            Whether there is.
        """
        column = "catalog_source_id"
        if self._tiles is not None:
            return self._tiles.has(catalog_source_id)
        if self._is_at_hand:
            return bool(pc.any(pc.equal(self.table.column(column), catalog_source_id)).as_py())
        wanted = pc.field(column) == catalog_source_id
        n_rows: int = pq.read_table(self.path, columns=[column], filters=wanted).num_rows
        return n_rows > 0

    def nearest(self, ra_deg: float, dec_deg: float, n: int = 3, radius_deg: float = 0.5) -> pd.DataFrame:
        """The sources nearest to a position.

        Parameters
        ----------
        ra_deg, dec_deg : float
            The position, ICRS degrees.
        n : int
            At most this many.
        radius_deg : float
            And no farther than this.

        Returns
        -------
        DataFrame
            The catalog's columns, and ``separation_arcsec``.
        """
        return self.cone(ra_deg, dec_deg, radius_deg).head(n)

    def within(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float) -> pd.DataFrame:
        """Exactly the rows within a radius of any of the positions, in the order of the catalog.

        Parameters
        ----------
        ra_deg, dec_deg : array_like, shape (n,)
            The positions, ICRS degrees.
        radius_arcsec : float
            How far from them, inclusive.

        Returns
        -------
        DataFrame
            The rows.
        """
        table = self.near(ra_deg, dec_deg, radius_arcsec)
        centres = pd.DataFrame({"ra_deg": np.atleast_1d(ra_deg), "dec_deg": np.atleast_1d(dec_deg)})
        pairs = cross_match_sources(centres, table.select(["ra_deg", "dec_deg"]).to_pandas(), radius_arcsec)
        rows: pd.DataFrame = table.take(pa.array(np.unique(pairs["catalog_index"]))).to_pandas()
        return rows

    def cone(self, ra_deg: float, dec_deg: float, radius_deg: float) -> pd.DataFrame:
        """Rows within a circle, nearest first.

        Parameters
        ----------
        ra_deg, dec_deg : float
            Its center, ICRS degrees; `query_sources` takes a SkyCoord.
        radius_deg : float
            Its radius.

        Returns
        -------
        DataFrame
            The catalog's columns, and ``separation_arcsec``.

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
        result: pd.DataFrame = table.take(pa.array(inside)).to_pandas()
        result["separation_arcsec"] = separation[inside]
        return result


def _tiles_of(name: str, values: Mapping[str, str]) -> Tiles | None:
    """The tiles that a stored catalog's metadata name; None where its rows are in the table itself."""
    return Tiles(name, CatalogConfig.model_validate_json(values[TILES])) if TILES in values else None


def _columns_of(names: Collection[str]) -> TableSchema:
    """The schema of a table with these columns."""
    return MOVING_REFERENCE if set(MOTIONS) <= set(names) else REFERENCE


def _sorted_reference(source: TableLike, name: str) -> pa.Table:
    """A table of schema REFERENCE sorted by cell, missing optional columns filled in."""
    if isinstance(source, pa.Table) and set(REFERENCE.names) <= set(source.column_names):
        table = source.select(_columns_of(source.column_names).names)
        cells = table.column("healpix_29").to_numpy()
        if (np.diff(cells) >= 0).all():
            return table.replace_schema_metadata(None)
    frame = as_frame(source, f"catalog {name!r}")
    require(frame, ("catalog_source_id", "ra_deg", "dec_deg"), f"catalog {name!r}")
    schema = _columns_of(frame.columns)
    frame = pd.DataFrame({name: frame[name] for name in schema.names if name in frame.columns})
    for column in schema:
        if column.name not in frame.columns and column.nullable:
            frame[column.name] = np.nan
    for error in ("ra_err_arcsec", "dec_err_arcsec"):
        if error not in frame.columns:
            frame[error] = 1.0
    if pd.api.types.is_integer_dtype(frame["catalog_source_id"].dtype):
        frame["catalog_source_id"] = frame["catalog_source_id"].astype("str")
    frame["healpix_29"] = healpix_29(frame["ra_deg"].to_numpy(float), frame["dec_deg"].to_numpy(float))
    frame = frame.sort_values(["healpix_29", "catalog_source_id"], kind="stable", ignore_index=True)
    return schema.to_arrow(frame).replace_schema_metadata(None)


def open_catalogs(config: Config, names: Iterable[str] | None = None) -> list[ReferenceCatalog]:
    """The configured catalogs, from the store where they are materialized there, else from their files.

    Raises
    ------
    InputError
        If a file is missing or unusable, or a name is not configured.
    """
    catalogs = []
    for given in config.catalogs if names is None else names:
        # Names of catalogs are lower-case; people write NVSS.
        name = given.lower()
        if name not in config.catalogs:
            raise InputError(
                f"catalog {name!r}{meant(name, config.catalogs)} is not configured; there are "
                f"{', '.join(sorted(config.catalogs)) or 'none'}; "
                f"`contimg catalog add {name} FILE` adds it"
            )
        file = catalog_file(config, name)
        source = file if file.exists() else build_catalog(name, config.catalogs[name], config.root)
        catalogs.append(ReferenceCatalog(name, source))
    return catalogs


def query_sources(
    catalog_type: str | ReferenceCatalog,
    ra_center: AngleLike | SkyCoord,
    dec_center: AngleLike | None = None,
    radius_deg: AngleLike | None = None,
    *,
    min_flux_mjy: float | None = None,
    max_sources: int | None = None,
    config: Config | None = None,
) -> pd.DataFrame:
    """Sources of a reference catalog around a position.

    Parameters
    ----------
    catalog_type : str or ReferenceCatalog
        Name of a catalog in the configuration, in any case ("NVSS" is "nvss"); or the catalog itself.
    ra_center : float, Angle, Quantity or SkyCoord
        Right ascension of the center, ICRS, plain numbers in degrees; or the center as SkyCoord.
    dec_center : float, Angle or Quantity, optional
        Declination of the center; none with a SkyCoord.
    radius_deg : float, Angle, Quantity or str
        Radius, a plain number in degrees; always needed.
    min_flux_mjy : float or Quantity, optional
        Only sources at least this bright, mJy.
    max_sources : int, optional
        Only that many, the brightest.
    config : Config, optional
        The configuration; that of the working folder if not given.

    Returns
    -------
    DataFrame
        The catalog's columns, as described in `contimg_assets.schemas.catalogs`, with ``catalog_type`` and
        ``separation_arcsec``, nearest first (brightest first with ``max_sources``). Ids are the catalog's own names,
        or IAU names.

    Raises
    ------
    InputError
        If the catalog is not configured or its file unusable, or the circle is not one on the sky.

    Examples
    --------
    >>> import pandas as pd
    >>> from astropy.coordinates import Angle, SkyCoord
    >>> import contimg_assets as ca
    >>> catalog = ca.ReferenceCatalog("mine", pd.DataFrame({
    ...     "catalog_source_id": ["A", "B"], "ra_deg": [10.0, 11.0], "dec_deg": [16.0, 16.0], "flux_mjy": [100.0, 50.0],
    ... }), freq_mhz=1400, beam_arcsec=45)
    >>> near = ca.query_sources(catalog, SkyCoord(10.1, 16.0, unit="deg"), radius_deg=Angle("30arcmin"))
    >>> near[["catalog_type", "catalog_source_id", "flux_mjy"]]
      catalog_type catalog_source_id  flux_mjy
    0         mine                 A     100.0
    """
    if radius_deg is None:
        raise InputError("radius_deg is not given; say how far from the position to look, such as radius_deg=0.5")
    if isinstance(catalog_type, ReferenceCatalog):
        catalog = catalog_type
    else:
        (catalog,) = open_catalogs(config if config is not None else load_config(), [catalog_type])
    centre = as_position(ra_center, dec_center, "the center")
    rows = catalog.cone(*centre, as_number(radius_deg, "deg", "radius_deg"))
    if min_flux_mjy is not None:
        rows = rows[rows["flux_mjy"] >= as_number(min_flux_mjy, "mJy", "min_flux_mjy")]
    if max_sources is not None:
        rows = rows.sort_values(["flux_mjy", "separation_arcsec"], ascending=[False, True]).head(max_sources)
    rows = rows.reset_index(drop=True)
    rows.insert(0, "catalog_type", catalog.name)
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
