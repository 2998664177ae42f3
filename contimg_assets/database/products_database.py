"""The products database as one object: upgrade it, write epochs, ask it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from contimg_assets.config import Variability
from contimg_assets.database import recorded, schema
from contimg_assets.database.annotations import Annotations
from contimg_assets.database.compaction import compact, size_bytes
from contimg_assets.database.decisions import Decision, record_decision
from contimg_assets.database.engine import open_engine, reading, url_of, writing
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.matching import SourceMatching
from contimg_assets.database.orphans import orphans
from contimg_assets.database.writing.epoch_scales import write_epoch_scales
from contimg_assets.database.writing.matches import rematch
from contimg_assets.database.writing.replace import replace_epochs
from contimg_assets.database.writing.report import WriteReport
from contimg_assets.errors import StoreError
from contimg_assets.identity.versions import version_of_table
from contimg_assets.schemas.corrections import EPOCH_SCALES


class ProductsDatabase(Annotations):
    """Epochs, sources, light curves and matches in SQLite or PostgreSQL.

    Opening it neither creates nor changes anything: `upgrade` makes the tables. Every question is answered, and every
    change made, in one transaction, so that nobody sees half an epoch. What a database itself has to say (a file that
    is none, a server that is away) is raised as `contimg_assets.database.engine.DatabaseError`.

    Parameters
    ----------
    url : str or Path
        File of SQLite (``products.sqlite3``), or a SQLAlchemy URL such as ``sqlite:///products.sqlite3`` or
        ``postgresql://user@host/name``.
    partition_order : int, optional
        Order of the HEALPix cells, nested, that `upgrade` divides a new database of PostgreSQL by; not at all if not
        given. One that has its tables stays as it is.

    Attributes
    ----------
    url : str
        SQLAlchemy URL, of the file if one was given.
    engine : sqlalchemy.engine.Engine
        Connections, for those who want SQLAlchemy.

    Raises
    ------
    StoreError
        If the URL is not one of a database that is supported, its driver is not installed, or the folder of its file
        does not exist.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astropy.coordinates import SkyCoord
    >>> import contimg_assets as ca
    >>> folder = TemporaryDirectory()
    >>> with ca.ProductsDatabase(Path(folder.name) / "products.sqlite3") as db:
    ...     revision = db.upgrade()  # makes the tables; a project's database has them
    ...     near = db.cone(SkyCoord("22h53m57.7s +16d08m53.6s"), radius_arcsec=60)
    ...     varying = db.variables(q_value=0.05)
    >>> len(near), len(varying)
    (0, 0)
    >>> folder.cleanup()
    """

    def __init__(self, url: str | Path, partition_order: int | None = None) -> None:
        self.url = url_of(url)
        self.partition_order = partition_order
        self.engine = open_engine(self.url)

    def close(self) -> None:
        """Close all connections; the next question opens new ones."""
        self.engine.dispose()

    def __enter__(self) -> ProductsDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upgrade(self) -> str:
        """Create tables and views, or bring them up to date; do nothing if they are.

        Returns
        -------
        str
            Revision of the schema.

        Raises
        ------
        StoreError
            If the database was written by a newer version of the package, is another program's, or a migration leaves
            rows without their parents; nothing is changed.
        """
        return schema.upgrade(self.engine, partition_order=self.partition_order)

    def current(self) -> str | None:
        """Say which revision the database's schema has.

        Returns
        -------
        str or None
            Revision; None if the database is empty.
        """
        with reading(self.engine) as connection:
            return schema.current_revision(connection)

    def is_current(self) -> bool:
        """Say whether the database has the schema of this version, so that all its tables are there.

        Returns
        -------
        bool
            Whether it has.
        """
        return self.current() == schema.newest_revision()

    def holds(self, *names: str) -> bool:
        """Say whether tables can be read: also in a database of an older version, as far as they are the same there.

        Parameters
        ----------
        *names : str
            Names of tables.

        Returns
        -------
        bool
            Whether all of them are there with all columns of this version.
        """
        with reading(self.engine) as connection:
            return schema.holds(connection, names)

    def check(self) -> list[str]:
        """Compare the database's schema with that of this version.

        Returns
        -------
        list of str
            What differs, in words; empty if nothing does.
        """
        with reading(self.engine) as connection:
            return schema.check(connection)

    def orphans(self) -> dict[str, int]:
        """Count the rows that refer to a row that is not there, or that nothing refers to though something must.

        Returns
        -------
        dict of str to int
            Number of rows by what they are, in words; empty if there are none.
        """
        return orphans(self.engine)

    def size_bytes(self) -> int:
        """Measure the database.

        Returns
        -------
        int
            Size on disk [bytes].
        """
        return size_bytes(self.engine)

    def compact(self) -> tuple[int, int]:
        """Give unused space back, and measure the tables anew for the planner of queries.

        SQLite's file shrinks. PostgreSQL keeps the space for rows to come: to shrink its files would lock readers out.

        Returns
        -------
        tuple of (int, int)
            Size on disk before and after [bytes].
        """
        return compact(self.engine)

    def replace_epochs(
        self,
        batch: Iterable[EpochProducts],
        parameters: Variability | None = None,
        matching: SourceMatching | None = None,
        delete: Sequence[str] = (),
        anew: bool = False,
        error_model: pd.DataFrame | None = None,
    ) -> WriteReport:
        """Write epochs, all or none: readers see the state before or after, never between.

        Rows of the epochs are replaced; sources, variability, upper limits, aliases and cross matches that depend on
        them are computed again. The rows are the same whatever the order in which epochs are written. An epoch whose
        content is what was written before writes nothing.

        Parameters
        ----------
        batch : iterable of EpochProducts
            The epochs; if re-folding changed several, give all of them in one call. A generator is read as the rows
            are written, one epoch in memory at a time, while other writers wait; a list is checked before that.
        parameters : Variability, optional
            Section `variability` of the configuration, its defaults if not given; another version than recorded
            recomputes every source.
        matching : SourceMatching, optional
            How to find counterparts of sources; None removes all cross matches.
        delete : sequence of str, optional
            Epochs to remove in the same transaction; those that are not there do not matter.
        anew : bool, optional
            Make all rows again, equal or not, and remove epochs that are not given.
        error_model : pandas.DataFrame, optional
            Table of schema ERROR_MODEL: errors of fluxes as measured. If it is another than that in the database, all
            statistics are made again. None keeps the one that is there.

        Returns
        -------
        WriteReport
            What was written, and how long each step took.

        Raises
        ------
        SchemaError
            If a table is not what its schema says; nothing is written.
        StoreError
            If the epochs do not fit together (an association names a measurement that is not there), or one is given
            twice; nothing is written.
        """
        if isinstance(batch, Sequence):
            for products in batch:
                _ = products.content_version
        try:
            with writing(self.engine) as connection:
                return replace_epochs(
                    connection, batch, delete, parameters or Variability(), matching, anew, error_model
                )
        except sa.exc.IntegrityError as error:
            raise StoreError(
                f"the epochs do not fit the database ({error.orig}): an association or image names something that "
                "is not there; write all epochs that re-folding changed in one call"
            ) from error

    def delete_epoch(
        self,
        epoch: str,
        parameters: Variability | None = None,
        matching: SourceMatching | None = None,
        error_model: pd.DataFrame | None = None,
    ) -> WriteReport:
        """Remove one epoch. Later epochs must be re-folded and replaced, best in one call of `replace_epochs`.

        Parameters
        ----------
        epoch : str
            Its name.
        parameters, matching, error_model : Variability, SourceMatching, pandas.DataFrame, optional
            As of `replace_epochs`.

        Returns
        -------
        WriteReport
            What was removed.

        Raises
        ------
        StoreError
            If there is no such epoch.
        """
        if epoch not in self.recorded_versions():
            raise StoreError(f"epoch {epoch!r} is not in the products database")
        return self.replace_epochs([], parameters, matching, delete=[epoch], error_model=error_model)

    def wait_for_writers(self) -> None:
        """Wait until what others are writing is committed, or undone."""
        with writing(self.engine):
            pass

    def rebuild(
        self,
        epochs: Iterable[EpochProducts],
        parameters: Variability | None = None,
        matching: SourceMatching | None = None,
        error_model: pd.DataFrame | None = None,
    ) -> WriteReport:
        """Make all rows anew, of exactly these epochs, in one transaction; decisions and the aliases they need stay.

        Parameters
        ----------
        epochs : iterable of EpochProducts
            All epochs that are to be there.
        parameters, matching, error_model : Variability, SourceMatching, pandas.DataFrame, optional
            As of `replace_epochs`.

        Returns
        -------
        WriteReport
            What was written and removed.

        Raises
        ------
        SchemaError, StoreError
            As `replace_epochs`; nothing is changed.
        """
        return self.replace_epochs(epochs, parameters, matching, anew=True, error_model=error_model)

    def replace_epoch_scales(self, scales: pd.DataFrame) -> bool:
        """Write the flux scales between epochs in place of those that are there.

        Parameters
        ----------
        scales : pandas.DataFrame
            Table of schema EPOCH_SCALES, of all epochs.

        Returns
        -------
        bool
            Whether anything differed.

        Raises
        ------
        SchemaError
            If the table is not what its schema says.
        """
        wanted = EPOCH_SCALES.to_arrow(scales)
        if version_of_table(wanted) == self.epoch_scales_version():
            return False
        with writing(self.engine) as connection:
            write_epoch_scales(connection, wanted)
        return True

    def epoch_scales_version(self) -> str:
        """Say which flux scales between epochs the database has.

        Returns
        -------
        str
            Version of their content.
        """
        return version_of_table(EPOCH_SCALES.to_arrow(self.read_table(EPOCH_SCALES.name)))

    def recorded_versions(self) -> dict[str, dict[str, str]]:
        """Say which versions of its inputs each epoch's rows were made from.

        Returns
        -------
        dict of str to dict of str to str
            Epoch -> name of the input -> version.
        """
        with reading(self.engine) as connection:
            return recorded.epoch_versions(connection)

    def recomputed_with(self) -> dict[str, str]:
        """Say which versions of parameters and catalogs all sources were computed with.

        Returns
        -------
        dict of str to str
            'variability' and 'matching' -> version.
        """
        with reading(self.engine) as connection:
            return recorded.recomputed_with(connection)

    def decide_match(
        self,
        action: str,
        source_id: str,
        catalog: str,
        catalog_source_id: str | None = None,
        comment: str | None = None,
        author: str | None = None,
        matching: SourceMatching | None = None,
    ) -> None:
        """Accept or reject a counterpart of a source, withdraw that, or comment on it; survives all later writing.

        Parameters
        ----------
        action : {'accept', 'reject', 'withdraw', 'comment'}
            What to do; who withdraws a decision leaves the counterpart to matching again.
        source_id : str
            Id or name of a present or past source, see `find_source`.
        catalog : str
            Reference catalog of the counterpart, in any case ("NVSS" is "nvss").
        catalog_source_id : str, optional
            Source in that catalog; it need not be one that matching finds, but must be in the catalog. A comment may
            name none: it is then about all counterparts in the catalog.
        comment, author : str, optional
            Who says what.
        matching : SourceMatching, optional
            How to find counterparts; the decision shows at once if given, else when sources are matched again.

        Raises
        ------
        StoreError
            If there is no such source.
        InputError
            If the decision is incomplete, the catalog unknown, or (where `matching` is given) has no such source.
        """
        # Names of catalogs are lower-case; people write NVSS.
        present, catalog = self.present_source(self._named(source_id)), catalog.lower()
        if matching is not None and matching.check is not None and catalog_source_id:
            place = self.source(present)
            matching.check(catalog, catalog_source_id, float(place["ra_deg"]), float(place["dec_deg"]))
        decision = Decision(action, present, catalog, catalog_source_id, comment, author)
        with writing(self.engine) as connection:
            record_decision(connection, decision)
            if matching is not None:
                rematch(connection, matching)
