"""`contimg tag`, `note`, `favorite`, `query`: what people say of sources; `contimg sources`: lists of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console
from contimg_assets.cli.listings import Listing, listing
from contimg_assets.cli.products import SourceArgument, open_products

tag_app = typer.Typer(help="Put words on sources, and find them by these.", no_args_is_help=True)
note_app = typer.Typer(help="Write notes on sources.", no_args_is_help=True)
favorite_app = typer.Typer(help="Keep sources that you want to find again.", no_args_is_help=True)
query_app = typer.Typer(help="Save lists of sources under names.", no_args_is_help=True)
app.add_typer(tag_app, name="tag")
app.add_typer(note_app, name="note")
app.add_typer(favorite_app, name="favorite")
app.add_typer(query_app, name="query")

TagsArgument = Annotated[list[str], typer.Argument(metavar="TAG...", help="One word each, such as needs-look")]
NoteArgument = Annotated[str, typer.Argument(help="The note")]
NameArgument = Annotated[str, typer.Argument(help="Name of the list")]
OptionalSource = Annotated[str | None, typer.Argument(metavar="[NAME|ID|RA,DEC]", help="Only of this source")]
WhereOption = Annotated[
    str, typer.Option(help="Conditions with commas between them: 'eta_peak > 3, tag = needs-look, first_epoch ~ 2026'")
]
AboutOption = Annotated[str, typer.Option(help="Only about this source or position")]
RadiusOption = Annotated[float | None, typer.Option(min=0, help="How far about it [arcsec]; 600 if not given")]
# Ids are for programs.
_SHOWN = {
    "tags": ["name", "tag", "author", "created_at"],
    "notes": ["name", "note", "author", "created_at"],
    "favorites": ["name", "author", "created_at"],
    "queries": ["name", "query", "author", "created_at"],
}


def _name(source: str) -> str:
    return str(open_products().source(source)["name"])


@command(tag_app, "add")
def tag_add(source: SourceArgument, tags: TagsArgument) -> None:
    """Put words on a source. Example: contimg tag add J0359+1535 needs-look"""
    open_products().tag(source, *tags)
    console.print(f"Tagged {escape(_name(source))}: {escape(' '.join(tags))}.", highlight=False)


@command(tag_app, "remove")
def tag_remove(source: SourceArgument, tags: TagsArgument) -> None:
    """Take words off a source. Example: contimg tag remove J0359+1535 needs-look"""
    open_products().tag(source, *tags, remove=True)
    console.print(f"No longer on {escape(_name(source))}: {escape(' '.join(tags))}.", highlight=False)


@listing(tag_app, name="list")
def tag_list(
    source: OptionalSource = None, tag: Annotated[str | None, typer.Option(help="Only this word")] = None
) -> Listing:
    """List the tags: which word, on which source, by whom and when. Example: contimg tag list"""
    found = open_products().tags(source)
    return Listing(found if tag is None else found[found["tag"] == tag], "Tags", _SHOWN["tags"])


@command(note_app, "add")
def note_add(source: SourceArgument, text: NoteArgument) -> None:
    """Write a note on a source. Example: contimg note add J0359+1535 "beside a side lobe" """
    open_products().note(source, text)
    console.print(f"Noted on {escape(_name(source))}.", highlight=False)


@command(note_app, "remove")
def note_remove(source: SourceArgument, text: NoteArgument) -> None:
    """Take back the note that has exactly this text.

    Example: contimg note remove J0359+1535 "beside a side lobe"
    """
    open_products().note(source, text, remove=True)
    console.print(f"No longer noted on {escape(_name(source))}.", highlight=False)


@listing(note_app, name="list")
def note_list(source: OptionalSource = None) -> Listing:
    """List the notes: on which source, by whom and when. Example: contimg note list"""
    return Listing(open_products().notes(source), "Notes", _SHOWN["notes"])


@command(favorite_app, "add")
def favorite_add(source: SourceArgument) -> None:
    """Put a source among your favorites. Example: contimg favorite add J0359+1535"""
    open_products().favorite(source)
    console.print(f"{escape(_name(source))} is one of your favorites.", highlight=False)


@command(favorite_app, "remove")
def favorite_remove(source: SourceArgument) -> None:
    """Take a source out of your favorites. Example: contimg favorite remove J0359+1535"""
    open_products().favorite(source, remove=True)
    console.print(f"{escape(_name(source))} is none of your favorites any more.", highlight=False)


@listing(favorite_app, name="list")
def favorite_list() -> Listing:
    """List the favorites of all people. Example: contimg favorite list"""
    return Listing(open_products().favorites(), "Favorites", _SHOWN["favorites"])


@command(query_app, "save")
def query_save(
    name: NameArgument,
    where: WhereOption = "",
    about: AboutOption = "",
    radius_arcsec: RadiusOption = None,
    sort: Annotated[str, typer.Option(help="Column to sort by, with '-' before it for the largest first")] = "",
) -> None:
    """Save a list under a name, in place of what has it. Example: contimg query save flares --where "eta_peak > 5" """
    from contimg_assets.database.list_address import query_of
    from contimg_assets.database.source_list import list_sources

    asked = {"where": where, "about": about, "radius": radius_arcsec, "sort": sort}
    given = {key: str(value) for key, value in asked.items() if value not in ("", None)}
    database = open_products()
    total = list_sources(database, query_of(given, database, 1), ["name"]).total
    database.save_query(name, urlencode(given))
    console.print(f"Saved {escape(name)}: {total} source(s) now; `contimg sources --query` lists them.", soft_wrap=True)


@command(query_app, "remove")
def query_remove(name: NameArgument) -> None:
    """Take back a saved list. Example: contimg query remove flares"""
    open_products().save_query(name, remove=True)
    console.print(f"{escape(name)} is no longer saved.", highlight=False)


@listing(query_app, name="list")
def query_list() -> Listing:
    """List the saved lists. Example: contimg query list"""
    return Listing(open_products().saved_queries(), "Saved lists", _SHOWN["queries"])


@listing(app, limit=50)
def sources(
    where: WhereOption = "",
    about: AboutOption = "",
    radius_arcsec: RadiusOption = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this word")] = None,
    query: Annotated[str | None, typer.Option(help="Name of a saved list, to which other options add")] = None,
    more: Annotated[str, typer.Option(help="Further columns, with commas between them: n_limits,vs_peak")] = "",
) -> Listing:
    """List sources by any conditions. Example: contimg sources --where "eta_peak > 3, n_measurements >= 5" """
    from contimg_assets.database.list_address import columns_of, query_of
    from contimg_assets.database.source_list import MOST_ROWS, list_sources

    database = open_products()
    asked: Mapping[str, str] = dict(parse_qsl(database.saved_query(query))) if query is not None else {}
    conditions = [asked.get("where", ""), where, f"tag = {tag}" if tag is not None else ""]
    given = {**asked, "where": ", ".join(one for one in conditions if one)}
    given |= {"about": about} if about else {}
    given |= {"radius": str(radius_arcsec)} if radius_arcsec is not None else {}
    given |= {"columns": ",".join(one for one in (given.get("columns", ""), more) if one)}
    columns = columns_of(given, database)
    found = list_sources(database, query_of(given, database, MOST_ROWS), columns)
    return Listing(found.rows, "Sources", [name for name in columns if name != "id"])
