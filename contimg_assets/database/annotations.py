"""What people say of sources, as questions and changes of the products database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from contimg_assets.database import sayings
from contimg_assets.database.engine import reading, writing
from contimg_assets.database.queries import Queries
from contimg_assets.errors import StoreError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord


class Annotations(Queries):
    """Tags, notes, favorites and saved lists; they survive everything that is written later, under any name."""

    def tag(self, source_id: str | SkyCoord, *tags: str, author: str | None = None, remove: bool = False) -> None:
        """Put words on a source, or take them off.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.
        *tags : str
            Words of letters, digits and ``. : + / - _``, such as "needs-look".
        author : str, optional
            Who says so; the user of this computer if not given.
        remove : bool, optional
            Whether to take them off.

        Raises
        ------
        StoreError
            If there is no such source.
        InputError
            If a tag is no such word.
        """
        for tag in [sayings.checked_tag(one) for one in tags]:
            self._say(sayings.TAGS, source_id, {"tag": tag}, author, remove)

    def tags(self, source_id: str | SkyCoord | None = None) -> pd.DataFrame:
        """Read the tags of a source, or of all.

        Parameters
        ----------
        source_id : str or SkyCoord, optional
            Id, name or position of a source; all sources if not given.

        Returns
        -------
        pandas.DataFrame
            Columns name, source_id, tag, author, created_at (ISO 8601, UTC), the newest first.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        return self._said(sayings.TAGS, source_id)

    def note(self, source_id: str | SkyCoord, text: str, author: str | None = None, remove: bool = False) -> None:
        """Write a note on a source, or take one back.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.
        text : str
            The note.
        author : str, optional
            Who says so; the user of this computer if not given.
        remove : bool, optional
            Whether to take back the note that has exactly this text.

        Raises
        ------
        StoreError
            If there is no such source.
        InputError
            If the text is empty or longer than a note may be.
        """
        self._say(sayings.NOTES, source_id, {"note": sayings.checked_note(text)}, author, remove)

    def notes(self, source_id: str | SkyCoord | None = None) -> pd.DataFrame:
        """Read the notes on a source, or on all.

        Parameters
        ----------
        source_id : str or SkyCoord, optional
            Id, name or position of a source; all sources if not given.

        Returns
        -------
        pandas.DataFrame
            Columns name, source_id, note, author, created_at (ISO 8601, UTC), the newest first.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        return self._said(sayings.NOTES, source_id)

    def favorite(self, source_id: str | SkyCoord, author: str | None = None, remove: bool = False) -> None:
        """Put a source among somebody's favorites, or take it out.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.
        author : str, optional
            Whose; the user of this computer if not given.
        remove : bool, optional
            Whether to take it out.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        self._say(sayings.FAVORITES, source_id, {}, author, remove)

    def favorites(self, source_id: str | SkyCoord | None = None) -> pd.DataFrame:
        """Read whose favorite a source is, or the favorites of all people.

        Parameters
        ----------
        source_id : str or SkyCoord, optional
            Id, name or position of a source; all sources if not given.

        Returns
        -------
        pandas.DataFrame
            Columns name, source_id, author, created_at (ISO 8601, UTC), the newest first.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        return self._said(sayings.FAVORITES, source_id)

    def save_query(self, name: str, query: str = "", author: str | None = None, remove: bool = False) -> None:
        """Save what a list of sources asks for under a name, in place of what has the name; or take the name back.

        Parameters
        ----------
        name : str
            Name of the list.
        query : str, optional
            As in the address of its page: ``where=eta_peak+%3E+3&sort=-eta_peak``.
        author : str, optional
            Who says so; the user of this computer if not given.
        remove : bool, optional
            Whether to take it back.

        Raises
        ------
        StoreError
            If it is to be taken back and there is none.
        InputError
            If the name is empty or too long.
        """
        name = sayings.checked_name(name)
        if remove:
            query = self.saved_query(name)
        with writing(self.engine) as connection:
            said = {"name": name, "query": sayings.checked_query(query)}
            sayings.record(connection, sayings.QUERIES, said, sayings.checked_author(author), remove)

    def saved_query(self, name: str) -> str:
        """Read what a saved list asks for.

        Parameters
        ----------
        name : str
            Name of the list.

        Returns
        -------
        str
            As in the address of its page.

        Raises
        ------
        StoreError
            If there is none.
        """
        saved = self.saved_queries()
        found = saved.loc[saved["name"] == name.strip(), "query"]
        if found.empty:
            raise StoreError(f"no list is saved as {name!r}; there are: {', '.join(sorted(saved['name'])) or 'none'}")
        return str(found.iloc[0])

    def saved_queries(self) -> pd.DataFrame:
        """Read the saved lists.

        Returns
        -------
        pandas.DataFrame
            Columns name, query, author, created_at (ISO 8601, UTC), by name.
        """
        with reading(self.engine) as connection:
            return sayings.read(connection, sayings.QUERIES).sort_values("name", ignore_index=True)

    def _say(
        self, kind: sayings.Kind, source: str | SkyCoord, said: dict[str, str], author: str | None, remove: bool
    ) -> None:
        """Say something of a source, or take it back."""
        who, present = sayings.checked_author(author), self.present_source(self._named(source))
        with writing(self.engine) as connection:
            sayings.record(connection, kind, {"source_id": present, **said}, who, remove)

    def _said(self, kind: sayings.Kind, source: str | SkyCoord | None) -> pd.DataFrame:
        where = {} if source is None else {"source_id": self.present_source(self._named(source))}
        with reading(self.engine) as connection:
            return sayings.read(connection, kind, **where)


def tag_texts(database: Annotations, ids: pd.Series) -> pd.Series:
    """The tags of each source as one text, in the order of the ids; empty where it has none."""
    tags = database.tags()
    tags = tags[tags["source_id"].isin(set(ids))].sort_values("tag").drop_duplicates(["source_id", "tag"])
    joined = tags.groupby("source_id")["tag"].agg(" ".join)
    return joined.reindex(ids, fill_value="").set_axis(ids.index).astype(object)
