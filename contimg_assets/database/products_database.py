"""The products database as one object: upgrade it, write epochs, ask it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from contimg_assets.config import Variability
from contimg_assets.database import bulk, schema, writer
from contimg_assets.database.decisions import record_decision
from contimg_assets.database.engine import open_engine, reading, url_of, writing
from contimg_assets.database.epoch_products import EpochProducts, SourceMatching, WriteReport
from contimg_assets.database.models import TABLES
from contimg_assets.database.queries import Queries
from contimg_assets.errors import StoreError
from contimg_assets.identity.versions import version_of_table
from contimg_assets.schemas.corrections import EPOCH_SCALES


class ProductsDatabase(Queries):
    """Epochs, sources, light curves and matches in SQLite or PostgreSQL.

    Nothing is written by asking. Close it, or use it in a ``with`` statement.

    Parameters
    ----------
    url : str or Path
        File of SQLite (``products.sqlite3``), or a SQLAlchemy URL such as ``sqlite:///products.sqlite3`` or
        ``postgresql://user@host/name``.

    Raises
    ------
    StoreError
        If the file or URL cannot be used.

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
    ...     varying = db.variables(p_value=1e-4)
    >>> len(near), len(varying)
    (0, 0)
    >>> folder.cleanup()
    """

    def __init__(self, url: str | Path) -> None:
        self.url = url_of(url)
        self.engine = open_engine(self.url)

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def __enter__(self) -> ProductsDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upgrade(self) -> str:
        """Create tables and views, or bring them up to date; does nothing if they are.

        Returns
        -------
        str
            The revision of the schema.
        """
        return schema.upgrade(self.engine)

    def current(self) -> str | None:
        """Revision of the database's schema.

        Returns
        -------
        str or None
            The revision; None if the database is empty.
        """
        with reading(self.engine) as connection:
            return schema.current_revision(connection)

    def is_current(self) -> bool:
        """Whether the database has the schema of this version, so that all its tables are there.

        Returns
        -------
        bool
            Whether it has.
        """
        return self.current() == schema.newest_revision()

    def check(self) -> list[str]:
        """What differs from the schema of this version.

        Returns
        -------
        list of str
            In words; empty if nothing does.
        """
        with reading(self.engine) as connection:
            return schema.check(connection)

    def replace_epochs(
        self,
        batch: Iterable[EpochProducts],
        parameters: Variability | None = None,
        matching: SourceMatching | None = None,
        delete: Sequence[str] = (),
        anew: bool = False,
    ) -> WriteReport:
        """Write epochs, all or none: readers see the state before or after, never between.

        Rows of the epochs are replaced; sources, variability, upper limits, aliases and cross matches that depend on
        them are computed again. The rows are the same whatever the order in which epochs are written. An epoch whose
        content is what was written before writes nothing.

        Parameters
        ----------
        batch : iterable of EpochProducts
            The epochs; if re-folding changed several, give all of them in one call. A generator is read as the rows are
            written, one epoch in memory at a time, while other writers wait; a list is checked before that.
        parameters : contimg_assets.config.Variability, optional
            Section `variability` of the configuration; another than recorded recomputes every source.
        matching : SourceMatching, optional
            How to find counterparts of sources; without, all cross matches are removed.
        delete : sequence of str
            Epochs to remove in the same transaction.
        anew : bool
            Whether to make all rows again, equal or not, and to remove epochs that are not given.

        Returns
        -------
        WriteReport
            Epochs that were written, unchanged and deleted, and counts.

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
                return writer.replace_epochs(connection, batch, delete, parameters or Variability(), matching, anew)
        except sa.exc.IntegrityError as error:
            raise StoreError(
                f"the epochs do not fit the database ({error.orig}): an association or image names something that "
                "is not there; write all epochs that re-folding changed in one call"
            ) from error

    def delete_epoch(
        self, epoch: str, parameters: Variability | None = None, matching: SourceMatching | None = None
    ) -> WriteReport:
        """Remove one epoch. Later epochs must be re-folded and replaced, best in one call of `replace_epochs`.

        Parameters
        ----------
        epoch : str
            Its name.
        parameters : contimg_assets.config.Variability, optional
            Section `variability` of the configuration; another than recorded recomputes every source.
        matching : SourceMatching, optional
            How to find counterparts of sources; without, all cross matches are removed.

        Returns
        -------
        WriteReport
            What was done.

        Raises
        ------
        StoreError
            If there is no such epoch.
        """
        if epoch not in self.recorded_versions():
            raise StoreError(f"epoch {epoch!r} is not in the products database")
        return self.replace_epochs([], parameters, matching, delete=[epoch])

    def rebuild(
        self,
        epochs: Iterable[EpochProducts],
        parameters: Variability | None = None,
        matching: SourceMatching | None = None,
    ) -> WriteReport:
        """Make all rows anew, of exactly these epochs, in one transaction; decisions and the aliases they need stay.

        Parameters
        ----------
        epochs : iterable of EpochProducts
            All epochs that the database is to have.
        parameters : contimg_assets.config.Variability, optional
            Section `variability` of the configuration; another than recorded recomputes every source.
        matching : SourceMatching, optional
            How to find counterparts of sources; without, all cross matches are removed.

        Returns
        -------
        WriteReport
            What was done.
        """
        return self.replace_epochs(epochs, parameters, matching, anew=True)

    def replace_epoch_scales(self, scales: pd.DataFrame) -> bool:
        """Write the scales between epochs in place of those that are there.

        Parameters
        ----------
        scales : DataFrame
            Of all epochs, as `contimg_assets.calibration.calculate_epoch_scales` returns them.

        Returns
        -------
        bool
            Whether anything differed.
        """
        wanted = EPOCH_SCALES.to_arrow(scales)
        if version_of_table(wanted) == self.epoch_scales_version():
            return False
        table = TABLES[EPOCH_SCALES.name]
        with writing(self.engine) as connection:
            connection.execute(sa.delete(table))
            bulk.insert(connection, table, wanted)
        return True

    def epoch_scales_version(self) -> str:
        """Version of the scales between epochs that the database has.

        Returns
        -------
        str
            It changes exactly when a row does.
        """
        return version_of_table(EPOCH_SCALES.to_arrow(self.read_table(EPOCH_SCALES.name)))

    def recorded_versions(self) -> dict[str, dict[str, str]]:
        """Versions of the inputs that each epoch's rows were made from.

        Returns
        -------
        dict
            Epoch to name of the input to its version.
        """
        epochs, versions = TABLES["epochs"], TABLES["epoch_versions"]
        query = sa.select(epochs.c.epoch, versions.c.name, versions.c.version).outerjoin(
            versions, versions.c.epoch == epochs.c.epoch
        )
        found: dict[str, dict[str, str]] = {}
        with reading(self.engine) as connection:
            for epoch, name, version in connection.execute(query.order_by(epochs.c.epoch, versions.c.name)).all():
                known = found.setdefault(epoch, {})
                if name is not None:
                    known[name] = version
        return found

    def recomputed_with(self) -> dict[str, str]:
        """Versions of parameters and catalogues that all sources were computed with.

        Returns
        -------
        dict
            "variability" and "matching" to their versions.
        """
        table = TABLES["recomputed_with"]
        with reading(self.engine) as connection:
            rows = connection.execute(sa.select(table.c.name, table.c.version)).all()
            return {row.name: row.version for row in rows}

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
        """Accept or reject a counterpart of a source, or comment on it; survives everything that is written later.

        Parameters
        ----------
        action : {"accept", "reject", "comment"}
            What is decided.
        source_id : str
            Of a present or past source.
        catalog : str
            Name of the catalogue, in any case.
        catalog_source_id : str, optional
            The counterpart; it need not be one that matching finds, but must be in the catalogue. A comment may name
            none: it is then about all counterparts in the catalogue.
        comment : str, optional
            What is said about it.
        author : str, optional
            Who says so.
        matching : SourceMatching, optional
            How to find counterparts; the decision shows at once if given, else when sources are matched again.

        Raises
        ------
        StoreError
            If there is no such source.
        InputError
            If the decision is incomplete, the catalogue unknown, or (where `matching` is given) has no such source.
        """
        # Names of catalogues are lower-case; people write NVSS.
        present, catalog = self.present_source(source_id), catalog.lower()
        if matching is not None and matching.check is not None and catalog_source_id:
            place = self.source(present)
            matching.check(catalog, catalog_source_id, float(place["ra_deg"]), float(place["dec_deg"]))
        with writing(self.engine) as connection:
            record_decision(connection, action, present, catalog, catalog_source_id, comment, author)
            if matching is not None:
                writer.rematch(connection, matching)
