"""Pages for people. What they hold comes from catalogs of strangers: templates escape all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from contimg_assets.database.list_address import PAGE_ROWS, columns_of, query_of
from contimg_assets.database.source_list import COLUMNS, MOST_ROWS, list_sources
from contimg_assets.errors import StoreError
from contimg_assets.pipeline.catalog_summary import by_catalog
from contimg_assets.pipeline.report import LEAST_SIGMA
from contimg_assets.schemas.shown import shown_value
from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.web.charts import PAIR_M, PAIR_VS
from contimg_assets.web.data import IMAGE_CHARTS, survey_of
from contimg_assets.web.tables import Shown, shown_table
from contimg_assets.web.visitors import Visitors

_TEMPLATES = Environment(
    loader=PackageLoader("contimg_assets.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_FEW = 10
_CHANGED = ["name", "source_id", "flux_mjy", "flux_err_mjy", "others_mjy", "ratio", "sigma"]
_VARIABILITY_CHARTS = (("eta-v", "eta-v"), ("of-eta", "histogram/eta"), ("of-v", "histogram/v"), ("vs-m", "vs-m"))
# What of an address makes a list.
_SAVED_PARTS = ("where", "about", "radius", "columns", "sort")
_NEIGHBOR_ARCSEC = 300.0
_SMALL_CHANCE = -4
_IMAGE_COLUMNS = ["epoch", "image", "verdict", "mjd", "dra_arcsec", "dra_err_arcsec", "ddec_arcsec", "ddec_err_arcsec"]
_IMAGE_COLUMNS += ["flux_mult", "flux_mult_err", "rms_mjy_beam", "n_rows", "reason"]
_MATCH_COLUMNS = ["catalog_type", "catalog_source_id", "separation_arcsec", "de_ruiter", "probability", "flux_ratio"]
_MATCH_COLUMNS += ["match_quality", "blend", "comment"]
_POLARIZED_COLUMNS = ["epoch", "image", "stokes", "band", "mjd", "status", "flux_peak_corr_mjy_beam"]
_POLARIZED_COLUMNS += [
    "flux_peak_err_corr_mjy_beam",
    "upper_limit_mjy_beam",
    "fraction",
    "fraction_err",
    "significance",
]
_POINT_COLUMNS = ["epoch", "image", "mjd", "flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam"]
_POINT_COLUMNS += ["flux_int_corr_mjy", "flux_int_err_corr_mjy", "upper_limit_mjy_beam", "snr", "forced", "trusted"]


def _page(request: Request, template: str, title: str, status: int = 200, **content: Any) -> HTMLResponse:
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    here, address = "/" + path.strip("/").split("/")[0], path + (f"?{request.url.query}" if request.url.query else "")
    visitors: Visitors = request.app.state.visitors
    common = {"root": request.app.state.root, "here": here, "address": address, "charts": False, "title": title}
    common |= {"visitor": visitors.of(request), "may_write": visitors.token is not None}
    return HTMLResponse(_TEMPLATES.get_template(template).render({**common, **content}), status)


def refusal(request: Request, sentence: str, status: int) -> Response:
    """An error that a person can cure."""
    return _page(request, "error.html", "That does not work", status, sentence=sentence)


@dataclass(frozen=True)
class _Place:
    """A part of a list: what the list asks for, and where the part begins."""

    query: str
    offset: int

    def of(self, row: int) -> str:
        """What the address of a source says of the list that it was reached from."""
        return f"?{urlencode({'list': self.query, 'at': self.offset + row})}"


def _beside(request: Request) -> dict[str, str]:
    """The sources before and after in the list that a source was reached from, and the list; nothing without one."""
    asked = request.query_params
    if not asked.get("at", "").isdecimal():
        return {}
    root, database = request.app.state.root, survey_of(request).database
    at, given = min(int(asked["at"]), MOST_ROWS), dict(parse_qsl(asked.get("list", "")))
    first = max(at - 1, 0)
    query = replace(query_of({**given, "offset": str(first)}, database), limit=at - first + 2)
    ids = list_sources(database, query, ["id"]).rows["id"].tolist()
    found = {"list": f"{root}/sources?{urlencode({**given, 'offset': at // PAGE_ROWS * PAGE_ROWS})}"}
    for word, step in (("previous", -1), ("next", 1)):
        place = at + step - first
        if 0 <= place < len(ids) and at + step >= 0:
            found[word] = f"{root}/source/{ids[place]}{_Place(asked.get('list', ''), at + step).of(0)}"
    return found


def _sources_table(request: Request, frame: pd.DataFrame, id_column: str = "id", **options: Any) -> Shown:
    """A table of sources whose names lead to their pages."""
    root, ids = request.app.state.root, frame[id_column].tolist()
    place: _Place | None = options.pop("place", None)
    links = {"name": lambda row: f"{root}/source/{ids[row]}{place.of(row) if place else ''}"}
    return shown_table(frame, links, hidden=(id_column, *options.pop("hidden", ())), **options)


def overview(request: Request) -> Response:
    """The survey at a glance, and what needs eyes."""
    survey = survey_of(request)
    found = survey.look()
    if found is None:
        raise StoreError("the products hold nothing yet; `contimg run` fills them")
    variables, new = survey.variables(), survey.new()
    names = [
        one for one in map(str, variables) if one.startswith(("name", "source_id", "n_peak", "n_int", "eta_", "v_"))
    ]
    names += [one for one in map(str, variables) if one.startswith("q_")]
    new_names = ["name", "id", "first_epoch", "n_measurements", "flux_peak_mjy_beam", "flux_int_mjy", "false_chance"]
    epochs = survey.database.read_table("epochs").drop(columns="content_version")
    newest, changes = survey.changes()
    far = changes[changes["sigma"].abs() >= LEAST_SIGMA]
    root = request.app.state.root
    return _page(
        request, "overview.html", "Overview", charts=True,
        headline=found.headline, newest=newest, epochs_href=f"{root}/chart/epochs",
        n_since=int((new["first_epoch"] == newest).sum()), dagster=request.app.state.dagster,
        flaring=_sources_table(request, far.loc[far["sigma"] > 0, _CHANGED][:_FEW], "source_id"),
        fading=_sources_table(request, far.loc[far["sigma"] < 0, _CHANGED][:_FEW], "source_id"),
        findings=shown_table(found.findings[:_FEW]),
        new=_sources_table(request, new[new_names][:_FEW]),
        varying=_sources_table(request, variables[names][:_FEW], "source_id"),
        epochs=_epochs_table(request, epochs.sort_values("mjd_start", ascending=False)[:_FEW]),
    )  # fmt: skip


def _epochs_table(request: Request, epochs: pd.DataFrame) -> Shown:
    """A table of epochs, whose names lead to their page in Dagster where its address is known."""
    dagster, names = request.app.state.dagster, epochs["epoch"].tolist()
    links = {"epoch": lambda row: f"{dagster}/assets/products/epochs?partition={quote(names[row])}"} if dagster else {}
    return shown_table(epochs, links)


def catalogs(request: Request) -> Response:
    """How sources and measurements fit to the reference catalogs."""
    root, survey = request.app.state.root, survey_of(request)
    summaries = survey.matched()
    return _page(
        request, "catalogs.html", "Catalogs", charts=len(summaries) > 0, sources=shown_table(survey.catalogs()),
        measurements=shown_table(by_catalog(summaries)) if len(summaries) else None,
        chart_href=f"{root}/chart/catalogs",
    )  # fmt: skip


def find(request: Request) -> Response:
    """The page of the source that a text means."""
    database = survey_of(request).database
    source_id = database.find_source(request.query_params.get("q", ""))
    return RedirectResponse(f"{request.app.state.root}/source/{source_id}", 303)


def sources(request: Request) -> Response:
    """The list of sources: filtered, sorted, a page of it."""
    survey, asked, root = survey_of(request), dict(request.query_params), request.app.state.root
    query = query_of(asked, survey.database)
    columns = columns_of(asked, survey.database)
    page = list_sources(survey.database, query, columns)

    def href(path: str = "/sources", **changed: Any) -> str:
        given = {name: str(value) for name, value in {**asked, **changed}.items() if str(value)}
        return f"{root}{path}?{urlencode(given)}"

    def sort(name: str) -> str:
        return href(sort=name if query.sort == f"-{name}" else f"-{name}", offset="")

    last = query.offset + len(page.rows)
    given = urlencode({name: asked[name] for name in _SAVED_PARTS if asked.get(name)})
    files = {"CSV": "/api/sources.csv", "VOTable": "/api/sources.xml", "JSON": "/api/sources"}
    return _page(
        request, "sources.html", "Sources",
        asked={name: asked.get(name, "") for name in ("where", "about", "radius", "columns", "sort")},
        sources=_sources_table(request, page.rows, sort=sort, place=_Place(given, query.offset)), total=page.total,
        first=query.offset + 1, last=last,
        previous=href(offset=max(0, query.offset - query.limit) or "") if query.offset else "",
        next=href(offset=last) if last < page.total else "",
        files=[(kind, href(path)) for kind, path in files.items()],
        known=[(name, column.description) for name, column in COLUMNS.items()], saved=_saved(request),
        query=given,
    )  # fmt: skip


def _saved(request: Request) -> list[dict[str, str]]:
    """The saved lists and where they lead."""
    root, saved = request.app.state.root, survey_of(request).database.saved_queries()
    return [
        {"name": str(one.name), "author": str(one.author), "href": f"{root}/sources?{one.query}"}
        for one in saved.itertuples(index=False)
    ]


def sign_in(request: Request) -> Response:
    """Ask for the token."""
    if request.app.state.visitors.token is None:
        raise StoreError("these pages change nothing: `contimg web --write` serves pages that do")
    return _page(request, "sign_in.html", "Sign in", next=request.query_params.get("next", "/"))


def source(request: Request) -> Response:
    """All about one source."""
    survey, root = survey_of(request), request.app.state.root
    database = survey.database
    source_id = database.find_source(request.path_params["source"])
    row = database.source(source_id)
    ra, dec = float(row["ra_deg"]), float(row["dec_deg"])
    statistics = database.source_variability(source_id).drop(columns="source_id")
    statistics = statistics.dropna(axis=1, how="all") if len(statistics) else statistics
    near, matches = database.cone(ra, dec, _NEIGHBOR_ARCSEC), database.matches(source_id)
    names = ["name", "id", "separation_arcsec", "n_measurements", "flux_peak_mjy_beam", "flux_peak_err_mjy_beam"]
    relations = database.relations(source_id)
    other = relations["from_source_id"].where(relations["from_source_id"] != source_id, relations["to_source_id"])
    competed = pd.DataFrame(
        {
            "name": database.names(other.tolist()).to_numpy(),
            "id": other,
            "epoch": relations["epoch"],
            "kind": relations["kind"],
        }
    )
    return _page(
        request, "source.html", str(row["name"]), charts=True,
        id=source_id, place=f"RA {ra:.5f}°, Dec {dec:+.5f}° (ICRS)", elsewhere=_elsewhere(ra, dec),
        curve_href=f"{root}/chart/light_curve/{source_id}", beside=_beside(request),
        strip=f"{root}/cutouts/{source_id}.png" if database.source_images(source_id)["path"].notna().any() else "",
        statistics=shown_table(_upright(row, statistics)), words=_in_words(row, statistics),
        tags=_said(database.tags(source_id)), notes=_said(database.notes(source_id)),
        favorite_of=database.favorites(source_id)["author"].tolist(), act=f"{root}/source/{source_id}",
        matches=shown_table(matches[_MATCH_COLUMNS]),
        counterparts=matches[["catalog_type", "catalog_source_id"]].to_dict("records"),
        decisions=shown_table(database.decisions(source_id).drop(columns=["id", "source_id"])),
        neighbors=_sources_table(request, near.loc[near["id"] != source_id, names]),
        relations=_sources_table(request, competed), only_polarized=bool(row["only_polarized"]),
        polarized=shown_table(database.polarization(source_id)[_POLARIZED_COLUMNS].dropna(axis=1, how="all")),
        points=shown_table(database.light_curve(source_id)[_POINT_COLUMNS].dropna(axis=1, how="all")),
    )  # fmt: skip


def _said(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """What people say, with times that people read."""
    times = pd.to_datetime(rows["created_at"]).dt.strftime("%Y-%m-%d %H:%M UTC")
    return rows.assign(created_at=times).to_dict("records")


def _in_words(row: pd.Series, statistics: pd.DataFrame) -> str:
    """The most important of a source in a sentence or two."""
    if row["only_polarized"]:
        return (
            f"Only polarized flux shows this source: {row['n_measurements']} detections in {row['n_epochs']} epochs, "
            f"up to {row['max_snr']:.1f} times their error. Nothing in Stokes I was detected at its place."
        )
    said = [f"{row['n_measurements']} measurements in {row['n_epochs']} epochs, {row['n_limits']} upper limits."]
    own = statistics[(statistics["sample"] == "detections") & (statistics["band"] == row["band"])]
    for kind, unit in (("peak", "mJy/beam"), ("int", "mJy")):
        eta = own.get(f"eta_{kind}")
        if eta is None or eta.isna().all():
            continue
        mean, err = (own[f"flux_{kind}_weighted_mean{end}_{FLUX_KINDS[kind]}"].iloc[0] for end in ("", "_err"))
        power = float(own[f"log10_p_value_{kind}"].iloc[0])
        said.append(
            f"Mean {'peak' if kind == 'peak' else 'integrated'} flux density {shown_value('flux', mean, err)} ± "
            f"{shown_value('flux', err, err)} {unit}; V = {own[f'v_{kind}'].iloc[0]:.3g}, η = {eta.iloc[0]:.4g}: a "
            f"constant source scatters at least this much with a chance of {_chance(power)}."
        )
        break
    said += ["New: earlier images of its place would have shown it."] if row["is_new"] else []
    return " ".join(said)


def _chance(log10_p: float) -> str:
    return f"{10**log10_p:.2g}" if log10_p > _SMALL_CHANCE else f"10^{log10_p:.0f}"


def _upright(row: pd.Series, statistics: pd.DataFrame) -> pd.DataFrame:
    """Numbers about a source, a line each, with what they mean."""
    texts = shown_table(row.to_frame().T.infer_objects()), shown_table(statistics[statistics["sample"] == "detections"])
    lines = [
        (head.name, cell.text, head.meaning)
        for table in texts
        for head, cell in zip(table.heads, next(iter(table.rows), []), strict=False)
        if cell.text != "-" and head.name not in ("name", "id", "sample", "healpix")
    ]
    return pd.DataFrame(lines, columns=["column", "value", "meaning"])


def _elsewhere(ra: float, dec: float) -> list[tuple[str, str]]:
    """Other people's pages about a place; a browser goes there only when somebody asks it to."""
    place = f"{ra:.6f} {dec:+.6f}"
    coordinates = quote(place)
    return [
        ("SIMBAD", f"https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={coordinates}&Radius=30&Radius.unit=arcsec"),
        ("NED", f"https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search&ra={ra:.6f}&dec={dec:.6f}"
                "&radius=0.5"),
        ("TNS", f"https://www.wis-tns.org/search?ra={ra:.6f}&decl={dec:.6f}&radius=10&coords_unit=arcsec"),
        ("Aladin Lite", f"https://aladin.cds.unistra.fr/AladinLite/?target={coordinates}&fov=0.2"),
        ("VLASS and RACS cutouts", f"https://cirada.ca/vlasscatalogueql0?ra={ra:.6f}&dec={dec:.6f}"),
    ]  # fmt: skip


def eta_v(request: Request) -> Response:
    """V against eta."""
    root, max_q = request.app.state.root, survey_of(request).config.variability.max_q
    words = f"Density of all sources; points: those that vary most, marked up to a q-value of {max_q:g}. The curves of "
    words += "the histograms are normal distributions of the bulk, dashed at 3 sigma. Below: the two epochs of each "
    words += f"source that differ most; dashed |Vs| = {PAIR_VS} and |m| = {PAIR_M}. A click on a "
    return _page(
        request, "chart.html", "V against η", charts=True, words=words + "point opens its source.",
        drawn=[(name, f"{root}/chart/{path}") for name, path in _VARIABILITY_CHARTS], frame=None,
    )  # fmt: skip


def sky(request: Request) -> Response:
    """The map of the survey, or about a place."""
    root, asked = request.app.state.root, urlencode(dict(request.query_params))
    words = (
        "Sources and images; marked: those that vary and new ones. East is left. A click on a point opens its source."
    )
    return _page(
        request, "chart.html", "Sky", charts=True, words=words, drawn=[("sky", f"{root}/chart/sky?{asked}")], frame=None
    )


def images(request: Request) -> Response:
    """All images over time with their corrections."""
    root, found = request.app.state.root, survey_of(request).images()
    newest = found[[name for name in _IMAGE_COLUMNS if name in found]][::-1][:500].reset_index(drop=True)
    words = f"{len(found)} images over time; grey: not trusted. The newest first:"
    drawn = [(name, f"{root}/chart/images/{name}") for name in IMAGE_CHARTS]
    return _page(request, "chart.html", "Images", charts=True, words=words, drawn=drawn, frame=shown_table(newest))


ROUTES = {
    "/": overview,
    "/find": find,
    "/sign-in": sign_in,
    "/sources": sources,
    "/source/{source}": source,
    "/eta-v": eta_v,
    "/catalogs": catalogs,
    "/sky": sky,
    "/images": images,
}
