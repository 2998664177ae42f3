"""`import contimg_assets as ca`: what is offered, described, run as an example, and taken from astropy."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import Angle, Longitude, SkyCoord
from astropy.table import QTable, Table
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import contimg_assets as ca
from contimg_assets.calibration import selection_of
from contimg_assets.config import Config, Corrections, Matching, Measurements, Variability
from contimg_assets.crossmatch.matches import match_catalogs
from contimg_assets.database.models import TABLES
from contimg_assets.errors import ConfigError, InputError, StoreError
from contimg_assets.identity.ids import hashes_of
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.measurements import measure
from contimg_assets.schemas.tables import unit_of
from contimg_assets.schemas.variability import VARIABILITY
from contimg_assets.sky.cells import index_cells
from contimg_assets.variability.segments import LightCurves

HOMES = {name: home for group in ca.GROUPS.values() for name, home in group.items()}
RECORDS = list(ca.GROUPS["Results"])
# Described by their fields: see the tests of them.
SECTIONS = ["Config", "SurveyParameters"]
FUNCTIONS = [name for name in HOMES if name not in (*RECORDS, *SECTIONS)]

# --- what is offered ----------------------------------------------------------------------------------------------


def test_importing_costs_nothing() -> None:
    code = (
        "import time, sys; start = time.perf_counter(); import contimg_assets as ca;"
        "print(time.perf_counter() - start);"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'pandas', 'astropy', 'dagster', "
        "'pyarrow', 'scipy', 'sqlalchemy', 'pydantic'}));"
        "dir(ca); print([name for name in sys.modules if name.startswith('contimg_assets')])"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    answers = [run.stdout.split("\n") for run in runs]
    assert min(float(answer[0]) for answer in answers) < 0.05
    assert {answer[1] for answer in answers} == {"[]"}
    assert {answer[2] for answer in answers} == {"['contimg_assets']"}


def test_every_name_is_there_and_known_to_type_checkers() -> None:
    assert list(ca.__all__) == [*HOMES, "__version__"]
    assert dir(ca) == sorted(ca.__all__)
    for name, home in HOMES.items():
        assert getattr(ca, name) is getattr(import_module(f"contimg_assets.{home}"), name)
    tree = ast.parse(Path(inspect.getfile(ca)).read_text(encoding="utf-8"))
    seen = {
        alias.name: line.module
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert seen == {name: f"contimg_assets.{home}" for name, home in HOMES.items()}
    # Where type checkers see this function they believe that any name is there, and find no slip of the pen.
    assert "__getattr__" not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ca.__version__ == project["version"]


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'contimg_assets' has no attribute 'asociate'"):
        _ = ca.asociate


# --- how it is described ------------------------------------------------------------------------------------------

# What numpydoc checks here: a summary of one sentence in one line (GL08, SS01-SS04, SS06), sections that exist, in
# order (GL03, GL06, GL07), every parameter named as in the signature, in order, with a type and a sentence (PR01-PR04,
# PR06-PR10), what is returned or yielded likewise (RT01-RT05, YD01), an example (EX01). Left out: how quotes are
# placed (GL01, GL02), verbs in the infinitive (SS05), periods behind types (PR05: "Table or pyarrow.Table"), and
# sections that have to be there whether anything is to say or not (ES01 extended summary, SA01 See Also).
CHECKS = {
    *("GL03", "GL05", "GL06", "GL07", "GL08", "SS01", "SS02", "SS03", "SS04", "SS06"),
    *("PR01", "PR02", "PR03", "PR04", "PR06", "PR07", "PR08", "PR09", "PR10"),
    *("RT01", "RT02", "RT03", "RT04", "RT05", "YD01", "EX01", "EX02"),
}


def faults(name: str, without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [fault for fault in validate(f"contimg_assets.{name}")["errors"] if fault[0] in CHECKS - set(without)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_described(name: str) -> None:
    assert faults(name) == []


@pytest.mark.parametrize("kind", ["ProductsDatabase", "ReferenceCatalog"])
def test_methods_are_described(kind: str) -> None:
    methods = [name for name, _ in inspect.getmembers(getattr(ca, kind), callable) if not name.startswith("_")]
    assert len(methods) >= 6
    assert [fault for name in methods for fault in faults(f"{kind}.{name}", ("EX01",))] == []


@pytest.mark.parametrize("name", [*RECORDS, *SECTIONS])
def test_records_and_sections_are_summarised(name: str) -> None:
    assert faults(name, ("PR01", "EX01")) == []


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_result_is_described(name: str) -> None:
    kind = getattr(ca, name)
    fields = kind._fields if hasattr(kind, "_fields") else [field.name for field in dataclasses.fields(kind)]
    described = [entry for entry in ClassDoc(kind)["Attributes"] if entry.type and entry.desc]
    assert set(fields) <= {name.strip() for entry in described for name in entry.name.split(",")}


def test_every_parameter_of_a_section_is_described() -> None:
    for name, field in ca.SurveyParameters.model_fields.items():
        assert field.description, name
    for name, field in Config.model_fields.items():
        assert name == "root" or field.description or inspect.getdoc(field.annotation), name


@pytest.mark.parametrize("name", ["associate_measurements", "fold", "condon_errors", "calculate_flux_scale",
                                  "calculate_positional_offsets", "match_measurements", "variability_table",
                                  "cross_match_sources"])  # fmt: skip
def test_formulas_name_their_papers(name: str) -> None:
    assert "References\n" in inspect.getdoc(getattr(ca, name))


@pytest.mark.parametrize("name", [*FUNCTIONS, *SECTIONS])
def test_examples_run_and_leave_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(ca, name), name, globs={})
    assert test.examples
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not said, "".join(said)
    assert list(tmp_path.iterdir()) == []


# --- the whole way, from tables of people's -----------------------------------------------------------------------


class Night(NamedTuple):
    """Two epochs of a small survey, as the stages have them."""

    measurements: list[pd.DataFrame]
    images: list[pd.DataFrame]
    catalog: ca.ReferenceCatalog
    folder: Path


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("night")
    ca.simulate_survey(
        str(folder), ca.SurveyParameters(n_epochs=2, images_per_epoch=3, n_sources=400, n_transients=2, seed=11)
    )
    measurements, images = [], []
    for epoch in sorted((folder / "incoming").iterdir()):
        found = read_epoch(epoch, epoch.name, Config())
        measurements.append(measure(found.detections, found.images, Measurements()).assign(epoch=epoch.name))
        images.append(found.images)
    catalog = ca.ReferenceCatalog.read(folder / "catalogs/nvss_like.parquet", freq_mhz=1400, beam_arcsec=45)
    return Night(measurements, images, catalog, folder)


def quantities(frame: pd.DataFrame) -> QTable:
    """The same table as somebody holds it: no units in the names, others than ours, positions as one column."""
    table = ca.with_units(frame)
    place = SkyCoord(table["ra_deg"], table["dec_deg"])
    table.remove_columns(["ra_deg", "dec_deg"])
    for name in table.colnames:
        if isinstance(table[name], u.Quantity) and table[name].unit.is_equivalent(u.arcsec):
            table[name] = table[name].to(u.deg)
    table["place"] = place
    return table


def close(first: pd.DataFrame, second: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(first, second, rtol=1e-6, atol=1e-6)


def test_duplicates_are_those_of_the_stage(night: Night) -> None:
    measured, images = night.measurements[0], night.images[0]
    stage = measured.drop(columns=["duplicate_of", "duplicate_separation_arcsec"])
    marked = ca.remove_duplicates(stage, images, mark=True)
    pd.testing.assert_frame_equal(marked[list(measured.columns)], measured)
    assert 0 < marked["duplicate_of"].notna().sum() < len(marked)
    # In any order, and in any unit.
    shuffled = stage.sample(frac=1.0, random_state=1)
    kept = ca.remove_duplicates(shuffled, images)
    assert set(kept["measurement_id"]) == set(measured.loc[measured["duplicate_of"].isna(), "measurement_id"])
    assert kept.index.isin(shuffled.index).all()
    assert kept.index.tolist() == [label for label in shuffled.index if label in set(kept.index)]
    held = ca.remove_duplicates(quantities(stage), ca.with_units(images), radius=Angle("2.5arcsec"))
    assert set(held["measurement_id"]) == set(kept["measurement_id"])
    narrow = ca.remove_duplicates(stage, images, radius="0.01 arcsec", dedup_method="vast")
    assert len(kept) < len(narrow) <= len(stage)


def test_what_cannot_be_deduplicated(night: Night) -> None:
    measured, images = night.measurements[0], night.images[0]
    with pytest.raises(InputError, match="measurements: no column image"):
        ca.remove_duplicates(measured.drop(columns="image"), images)
    with pytest.raises(InputError, match="comes more than once"):
        ca.remove_duplicates(pd.concat([measured, measured.head(1)]), images)
    with pytest.raises(InputError, match="row 3 has no uncertainty_ew_arcsec"):
        bad = measured.assign(uncertainty_ew_arcsec=measured["uncertainty_ew_arcsec"].where(measured.index != 3))
        ca.remove_duplicates(bad, images)
    with pytest.raises(ConfigError, match=r"unknown key 'measurements\.dedup_sigmas'"):
        ca.remove_duplicates(measured, images, dedup_sigmas=3)
    with pytest.raises(ConfigError, match=r"parameters is a Matching; give a contimg_assets\.config\.Measurements"):
        ca.remove_duplicates(measured, images, parameters=Matching())


def test_matches_are_those_of_the_stage(night: Night) -> None:
    measured, images = night.measurements[0], night.images[0]
    expected = match_catalogs(measured, images, [night.catalog], Matching(radius_arcsec=12.0)).matches
    pd.testing.assert_frame_equal(ca.match_measurements(measured, images, night.catalog, radius_arcsec=12.0), expected)
    chosen = Matching(radius_arcsec=12.0)
    close(ca.match_measurements(quantities(measured), ca.with_units(images), [night.catalog], chosen), expected)
    with pytest.raises(InputError, match="catalogs holds a str; make it a ReferenceCatalog"):
        ca.match_measurements(measured, images, ["nvss"])
    with pytest.raises(InputError, match="images: no column bmaj_arcsec"):
        ca.match_measurements(measured, images[["image", "freq_mhz"]], night.catalog)


def test_from_matches_to_corrected_light_curves(night: Night) -> None:
    """What a notebook does, table by table; each step as the pipeline has it."""
    truth = pd.read_parquet(night.folder / "truth/images.parquet").set_index(["epoch", "image"])
    result = ca.associate_measurements(
        [table[table["duplicate_of"].isna()] for table in night.measurements], Angle("10arcsec")
    )
    corrected = []
    for measured, images in zip(night.measurements, night.images, strict=True):
        matches = ca.match_measurements(measured, images, night.catalog, associations=result.associations)
        ties = ca.calibration_matches(measured, matches, images, min_snr=10)
        chosen = selection_of(measured, matches, images, Corrections(min_snr=10))
        np.testing.assert_array_equal(ties["for_flux"], chosen.flux)
        np.testing.assert_array_equal(ties["for_position"], chosen.position)
        held = quantities(measured), Table.from_pandas(matches), ca.with_units(images)
        close(ca.calibration_matches(*held, min_snr=10), ties)
        for image in images["image"]:
            here = ties[ties["image"] == image]
            scale = ca.calculate_flux_scale(here[here["for_flux"]])
            offset = ca.calculate_positional_offsets(ca.with_units(here[here["for_position"]]))
            true = truth.loc[(measured["epoch"].iloc[0], image)]
            assert scale.mult == pytest.approx(true["flux_mult"], abs=6 * scale.mult_err + 0.01)
            assert offset.dra_arcsec == pytest.approx(true["dra_arcsec"], abs=6 * offset.dra_err_arcsec + 0.2)
        corrections = ca.measure_corrections(measured, matches, images)
        table = ca.apply_corrections(measured, corrections)
        close(ca.apply_corrections(quantities(measured), corrections)[list(table.columns.drop(["ra_deg", "dec_deg"]))],
              table.drop(columns=["ra_deg", "dec_deg"]))  # fmt: skip
        corrected.append(table)
    points = result.associations[["source_id", "measurement_id"]].merge(pd.concat(corrected), on="measurement_id")
    statistics = ca.variability_table(points)
    assert set(statistics["source_id"]) == set(result.sources["source_id"])
    close(ca.variability_table(ca.with_units(points)), statistics)
    assert ca.with_units(statistics)["flux_int_mean_mjy"].unit == u.mJy


def test_ids_may_be_numbers(night: Night) -> None:
    measured, images = night.measurements[0], night.images[0]
    numbered = measured.assign(measurement_id=np.arange(len(measured)))
    sources = ca.associate_measurements([numbered]).associations
    matches = ca.match_measurements(numbered, images, night.catalog, associations=sources)
    assert matches["source_id"].notna().all()
    ties = ca.calibration_matches(numbered, matches, images)
    assert ties["for_flux"].sum() > 20
    assert (ca.measure_corrections(numbered, matches, images)["n_flux"] > 0).all()
    assert len(ca.remove_duplicates(numbered, images)) < len(numbered)


def test_statistics_of_a_table_are_those_of_light_curves() -> None:
    rng = np.random.default_rng(3)
    n = 200
    points = pd.DataFrame(
        {
            "source_id": rng.choice([f"{k:016x}" for k in range(1, 30)], n),
            "mjd": rng.uniform(60000, 60100, n),
            "flux_peak_corr_mjy_beam": np.where(rng.random(n) < 0.1, np.nan, rng.normal(50, 5, n)),
            "flux_peak_err_corr_mjy_beam": rng.uniform(0.5, 2, n),
            "flux_int_corr_mjy": rng.normal(60, 5, n),
            "flux_int_err_corr_mjy": rng.uniform(0.5, 2, n),
            # Columns that are not corrected stand back.
            "flux_int_mjy": 1.0,
            "flux_int_err_mjy": 1.0,
            "flux_scale_err": 0.02,
            "forced": rng.random(n) < 0.2,
        }
    )
    names = {"flux_peak": "flux_peak_corr_mjy_beam", "flux_peak_err": "flux_peak_err_corr_mjy_beam",
             "flux_int": "flux_int_corr_mjy", "flux_int_err": "flux_int_err_corr_mjy"}  # fmt: skip
    rows = {ours: points[name].to_numpy() for ours, name in names.items()}
    rows |= {name: points[name].to_numpy() for name in ("mjd", "flux_scale_err", "forced")}
    rows["measurement"] = np.arange(n, dtype=np.uint64)
    curves = LightCurves.from_rows(hashes_of(points["source_id"]), rows)
    expected = ca.variability_table(curves, Variability(min_abs_vs=3.0))
    found = ca.variability_table(points, min_abs_vs=3.0)
    assert [f"{number:016x}" for number in expected["source_id"]] == found["source_id"].tolist()
    pd.testing.assert_frame_equal(found.drop(columns="source_id"), expected.drop(columns="source_id"))
    limits = pd.concat([points.assign(is_limit=False), points.assign(is_limit=True)], ignore_index=True)
    pd.testing.assert_frame_equal(ca.variability_table(limits, min_abs_vs=3.0), found)


def test_what_is_no_light_curve() -> None:
    points = pd.DataFrame({"source_id": ["a"], "flux_int_mjy": [1.0]})
    with pytest.raises(InputError, match="light curves: no fluxes with errors; needed are flux_int_mjy and flux_int_e"):
        ca.variability_table(points)
    with pytest.raises(InputError, match="light curves: no column source_id"):
        ca.variability_table(points.drop(columns="source_id"))
    with pytest.raises(InputError, match="row 0 has no source_id"):
        ca.variability_table(points.assign(source_id=None, flux_int_err_mjy=0.1))
    assert ca.variability_table(points.head(0)).empty


def test_fold_begins_with_nothing(night: Night) -> None:
    first, second = (table[table["duplicate_of"].isna()] for table in night.measurements)
    step = ca.fold(ca.fold(None, quantities(first)).state, quantities(second), images=ca.with_units(night.images[1]))
    expected = ca.fold(ca.fold(ca.FoldState.empty(), first).state, second, images=night.images[1])
    assert step.associations["source_id"].tolist() == expected.associations["source_id"].tolist()
    assert step.diagnostics["n_unmatched_in_coverage"] == expected.diagnostics["n_unmatched_in_coverage"]


# --- positions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held",
    [
        lambda frame: SkyCoord(frame["ra_deg"], frame["dec_deg"], unit="deg"),
        lambda frame: SkyCoord(frame["ra_deg"], frame["dec_deg"], unit="deg").fk5,
        lambda frame: SkyCoord(frame["ra_deg"], frame["dec_deg"], unit="deg").galactic,
        lambda frame: Table(
            {"RA": Longitude(frame["ra_deg"], "deg").to("hourangle"), "dec": Angle(frame["dec_deg"], "deg")}
        ),
        lambda frame: ca.with_units(frame),
    ],
    ids=["icrs", "fk5", "galactic", "hourangle", "qtable"],
)
@pytest.mark.parametrize("radius", [60.0, Angle("60arcsec"), 1 * u.arcmin, "1 arcmin"], ids=str)
def test_pairs_of_anything_that_has_positions(night: Night, held: Callable[[pd.DataFrame], Any], radius: Any) -> None:
    ours = night.measurements[0][["ra_deg", "dec_deg"]].head(100)
    theirs = night.measurements[1][["ra_deg", "dec_deg"]].head(100)
    expected = ca.cross_match_sources(ours, theirs, 60.0)
    assert len(expected) > 10
    close(ca.cross_match_sources(held(ours), held(theirs), radius), expected)


def test_pairs_have_fluxes() -> None:
    ours = QTable({"place": SkyCoord([10, 11, 12], [1, 1, 1], unit="deg"), "flux_int": [0.11, 0.055, 0.22] * u.Jy,
                   "flux_int_err": [1, 1, 1] * u.mJy})  # fmt: skip
    theirs = pd.DataFrame({"ra_deg": [12.0, 10.0], "dec_deg": 1.0, "flux_mjy": [200.0, 100.0]}, index=["x", "y"])
    pairs = ca.cross_match_sources(ours, theirs, Angle("1arcsec"))
    fluxes = ca.matched_fluxes(pairs, ours, theirs)
    assert fluxes["catalog_index"].tolist() == ["y", "x"]
    np.testing.assert_allclose(fluxes["flux_mjy"], [110.0, 220.0])
    np.testing.assert_allclose(fluxes["flux_err_mjy"], [1.0, 1.0])
    np.testing.assert_allclose(fluxes["reference_flux_mjy"], [100.0, 200.0])
    assert fluxes["reference_flux_err_mjy"].isna().all()
    assert ca.calculate_flux_scale(fluxes, "median").scale == pytest.approx(1.1)
    with pytest.raises(InputError, match="pairs name row 'y', which table catalog does not have"):
        ca.matched_fluxes(pairs, ours, theirs.reset_index(drop=True))
    with pytest.raises(InputError, match="table catalog: its index repeats labels"):
        ca.matched_fluxes(pairs, ours, theirs.set_axis(["y", "y"]))
    with pytest.raises(InputError, match="table catalog: no column flux_int_mjy, flux_mjy, flux_peak_mjy_beam"):
        ca.matched_fluxes(pairs, ours, theirs.drop(columns="flux_mjy"))


def test_condon_errors_of_quantities() -> None:
    plain = {"bmaj_arcsec": [60.0, 70.0], "bmin_arcsec": [40.0, 41.0], "pa_deg": [10.0, 20.0],
             "flux_peak_mjy_beam": [50.0, 60.0], "flux_int_mjy": [61.7, 70.0], "snr": [10.0, 12.0],
             "beam_bmaj_arcsec": 58.8, "beam_bmin_arcsec": 33.1}  # fmt: skip
    other = {"arcsec": "deg", "deg": "rad", "mJy / beam": "Jy / beam", "mJy": "Jy", "": ""}
    held = {name: (values * u.Unit(unit_of(name))).to(other[unit_of(name)]) for name, values in plain.items()}
    for one, two in zip(ca.condon_errors(**plain), ca.condon_errors(**held), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)
    with pytest.raises(InputError, match="bmaj_arcsec has the unit 'Jy', which does not convert to arcsec"):
        ca.condon_errors(**plain | {"bmaj_arcsec": [1.0] * u.Jy})


def test_offsets_take_a_centre_as_skycoord(night: Night) -> None:
    rng = np.random.default_rng(1)
    pairs = pd.DataFrame({"ra_deg": rng.uniform(10, 12, 50), "dec_deg": rng.uniform(70, 71, 50), "dra_arcsec": 1.0,
                          "ddec_arcsec": 0.5})  # fmt: skip
    expected = ca.calculate_positional_offsets(pairs, center=(11.0, 70.5))
    found = ca.calculate_positional_offsets(ca.with_units(pairs), center=SkyCoord(11, 70.5, unit="deg"))
    assert found.dra_arcsec == pytest.approx(expected.dra_arcsec, abs=1e-12)


# --- catalogs and the database ------------------------------------------------------------------------------------


@pytest.fixture
def configured(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    file = tmp_path / "contimg.yaml"
    file.write_text(
        f"catalogs: {{nvss: {{path: {night.folder}/catalogs/nvss_like.parquet, freq_mhz: 1400, beam_arcsec: 45}}}}"
    )
    monkeypatch.chdir(tmp_path)
    return ca.load_config(str(file))


def test_catalogs_are_asked_by_any_spelling_and_position(night: Night, configured: Config) -> None:
    place = night.catalog.table.to_pandas().iloc[50]
    expected = ca.query_sources("nvss", place["ra_deg"], place["dec_deg"], 0.5, config=configured)
    assert len(expected) > 1
    coord = SkyCoord(place["ra_deg"], place["dec_deg"], unit="deg")
    pd.testing.assert_frame_equal(ca.query_sources("NVSS", place["ra_deg"], place["dec_deg"], 0.5), expected)
    pd.testing.assert_frame_equal(ca.query_sources("Nvss", coord, radius_deg=0.5), expected)
    close(ca.query_sources("nvss", coord.galactic, radius_deg=Angle("30arcmin")), expected)
    close(ca.query_sources("nvss", coord.ra, coord.dec, "30 arcmin"), expected)
    bright = ca.query_sources("nvss", coord, radius_deg=0.5, min_flux_mjy=0.05 * u.Jy)
    assert bright["flux_mjy"].min() >= 50.0
    with pytest.raises(InputError, match="radius_deg is not given"):
        ca.query_sources("nvss", coord)
    with pytest.raises(InputError, match="the center has no declination"):
        ca.query_sources("nvss", 10.0, radius_deg=1.0)
    with pytest.raises(InputError, match="catalog 'first' is not configured; there are nvss"):
        ca.query_sources("FIRST", coord, radius_deg=1.0)


def test_a_catalog_of_any_table(night: Night) -> None:
    frame = night.catalog.table.to_pandas()
    held = ca.with_units(frame.drop(columns="healpix_29"))
    held.rename_columns(["ra_deg", "dec_deg", "flux_mjy"], ["RA", "Dec", "flux"])
    held["flux"] = held["flux"].to(u.Jy)
    made = ca.ReferenceCatalog("nvss_like", held, freq_mhz=1.4 * u.GHz, beam_arcsec=Angle("45arcsec"))
    assert (made.freq_mhz, made.beam_arcsec) == (1400.0, 45.0)
    close(made.table.to_pandas(), frame)
    numbered = held["RA", "Dec"]
    numbered["catalog_source_id"] = np.arange(len(held))
    assert ca.ReferenceCatalog("n", numbered, 1400, 45).has("7")
    with pytest.raises(InputError, match="catalog 'n': no column catalog_source_id"):
        ca.ReferenceCatalog("n", held["RA", "Dec"], 1400, 45)
    with pytest.raises(InputError, match="catalog 'n': its frequency and beam are neither given nor in its metadata"):
        ca.ReferenceCatalog("n", held)


def test_a_catalog_of_a_file(night: Night, tmp_path: Path) -> None:
    file = tmp_path / "Mine.csv"
    file.write_text("name,RAJ2000,DEJ2000,S\na,10.0,16.0,0.5\n")
    flux = {"flux_mjy": {"column": "S", "unit": "Jy"}}
    made = ca.ReferenceCatalog.read(str(file), freq_mhz=888, columns=flux)
    assert (made.name, made.freq_mhz, len(made)) == ("mine", 888.0, 1)
    assert made.cone(10.0, 16.0, 0.1)["flux_mjy"].tolist() == [500.0]
    assert ca.ReferenceCatalog.read(file, preset="NVSS").beam_arcsec == 45.0
    with pytest.raises(ConfigError, match=r"^catalogs\.mine\.freq_mhz = .*Field required$"):
        ca.ReferenceCatalog.read(file)
    with pytest.raises(ConfigError, match=r"unknown key 'catalogs\.mine\.beam'; allowed here"):
        ca.ReferenceCatalog.read(file, freq_mhz=888, beam=3)
    with pytest.raises(InputError, match=r"read a file as its survey publishes it with ReferenceCatalog\.read"):
        ca.ReferenceCatalog("raw", night.folder / "catalogs/nvss_like.parquet")


@pytest.mark.parametrize("place", ["products.sqlite3", "./sub/products.db", "sqlite:///products.sqlite3"])
def test_a_database_is_a_file_or_a_url(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    file = tmp_path / place.removeprefix("sqlite:///")
    with ca.ProductsDatabase(place) as database:
        database.upgrade()
        assert file.exists()
    with ca.ProductsDatabase(file) as database:
        assert database.is_current()
        for answer in (
            database.cone(10.0, 16.0, 60.0),
            database.cone(SkyCoord(10, 16, unit="deg"), radius_arcsec=1 * u.arcmin),
            database.cone(Angle("10d"), Angle("16d"), "1 arcmin"),
        ):
            assert answer.empty
        with pytest.raises(InputError, match="radius_arcsec is not given"):
            database.cone(10.0, 16.0)
        with pytest.raises(StoreError, match=r"no source within 30 arcsec of 10\.00000, \+16\.00000"):
            database.find_source(SkyCoord(10, 16, unit="deg"), radius_arcsec=Angle("30arcsec"))


def test_a_source_is_asked_for_by_id_or_position(tmp_path: Path) -> None:
    with ca.ProductsDatabase(tmp_path / "products.sqlite3") as database:
        database.upgrade()
        row = dict.fromkeys(database.read_table("sources").columns, 0) | {
            "id": "0" * 16,
            "ra_deg": 187.5,
            "dec_deg": 12.5,
            "first_epoch": "a",
            "last_epoch": "a",
            "healpix": int(index_cells(np.array([187.5]), np.array([12.5]))[0]),
            "new_image": None,
        }
        with database.engine.begin() as connection:
            connection.execute(TABLES["sources"].insert(), [row])
            variability = dict.fromkeys(VARIABILITY.names, None) | {
                "source_id": "0" * 16,
                "band": "1355MHz",
                "sample": "detections",
                "n_peak": 0,
                "n_invalid_peak": 2,
                "n_int": 2,
                "n_invalid_int": 0,
                "eta_int": 9.0,
                "v_int": 0.5,
                "p_value_int": 1e-5,
            }
            connection.execute(TABLES["variability"].insert(), [variability])
        for place in ("0" * 16, "187.5,12.5", "12 30 00 +12 30 00", SkyCoord(187.5, 12.5, unit="deg").galactic):
            assert database.source(place)["ra_deg"] == 187.5
            assert len(database.source_variability(place)) == 1
            for ask in (database.matches, database.decisions, database.relations, database.light_curve):
                assert ask(place).empty
        # Without any peak flux the integrated ones are taken.
        assert database.flux_kind() == "int"
        assert database.variables(p_value=1e-4)["eta_int"].tolist() == [9.0]
        assert database.variables(p_value=1e-4, kind="peak").empty


def test_with_units_knows_every_table_of_the_database(tmp_path: Path) -> None:
    with ca.ProductsDatabase(tmp_path / "products.sqlite3") as database:
        database.upgrade()
        table = ca.with_units(database.read_table("sources"))
    assert table.colnames[:4] == ["name", "id", "ra_deg", "dec_deg"]
