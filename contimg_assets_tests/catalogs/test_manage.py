"""Adding and listing catalogs leaves the rest of the configuration as it is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.catalogs.inspect import misgivings
from contimg_assets.catalogs.manage import add_catalog, list_catalogs, list_presets, remove_catalog
from contimg_assets.catalogs.read import columns_taken
from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog, catalog_file, write_catalog
from contimg_assets.config import CatalogConfig, load_config
from contimg_assets.config.presets import PRESETS
from contimg_assets.errors import ConfigError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {"name": ["A", "B"], "ra_deg": [1.0, 2.0], "dec_deg": [3.0, 4.0], "flux_mjy": [5.0, 6.0]}
    pd.DataFrame(rows).to_csv(tmp_path / "some.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "catalogs:\n",
        "catalogs: {}\n",
        "{}\n",
        "# ours\n---\n{}\n",
        "matching:\n  radius_arcsec: 12.0\n...\n",
        "# head\nmatching:\n  radius_arcsec: 12.0  # ours\n",
        "# head\ncatalogs:   # all of them\nmatching:\n  radius_arcsec: 12.0",
        "catalogs:\n\n    # deep\n    other:\n        path: other.csv\n        freq_mhz: 888.0\n"
        "matching:\n    radius_arcsec: 12.0\n",
        "matching:\n  radius_arcsec: 12.0\ncatalogs:\n  other: {path: other.csv, freq_mhz: 888.0}\n",
    ],
)
def test_adding_changes_nothing_else(folder: Path, text: str) -> None:
    file = folder / "contimg.yaml"
    file.write_text(text)
    before = load_config(file)
    assert add_catalog(file, "nvss", folder / "some.csv") == 2
    assert add_catalog(file, "mine", folder / "some.csv", freq_mhz=1405.0, beam_arcsec=30.0) == 2
    after = load_config(file)
    assert set(after.catalogs) == set(before.catalogs) | {"nvss", "mine"}
    assert after.matching == before.matching
    assert {name: after.catalogs[name] for name in before.catalogs} == dict(before.catalogs)
    assert after.catalogs["nvss"].preset == "nvss"
    assert after.catalogs["nvss"].path == Path("some.csv")
    assert (after.catalogs["mine"].freq_mhz, after.catalogs["mine"].beam_arcsec) == (1405.0, 30.0)
    for line in text.splitlines():
        if line.strip() and not line.startswith(("catalogs", "{}", "...")):
            assert line in file.read_text()


def test_the_commented_example_stands_in_line_with_what_is_added(folder: Path) -> None:
    file = folder / "contimg.yaml"
    file.write_text((Path(__file__).parents[2] / "contimg.yaml.example").read_text(encoding="utf-8"))
    add_catalog(file, "mine", folder / "some.csv", freq_mhz=1405.0, beam_arcsec=30.0)
    text = file.read_text()
    for commented, given in (("#nvss:", "nvss:"), ("#preset: null", "preset: nvss"), ("#path: ", "path: ")):
        head, _, tail = text.partition("  #nvss:" if given == "nvss:" else f"    {commented}")
        assert tail, commented
        text = f"{head}{'  ' if given == 'nvss:' else '    '}{given}{tail}"
    file.write_text(text)
    assert set(load_config(file).catalogs) == {"mine", "nvss"}


def test_a_file_is_made_where_there_is_none(folder: Path) -> None:
    assert add_catalog(folder / "new.yaml", "first", folder / "some.csv") == 2
    assert load_config(folder / "new.yaml").catalogs["first"].freq_mhz == 1400.0


@pytest.mark.parametrize(
    ("name", "file", "settings", "error", "message"),
    [
        ("there", "some.csv", {"freq_mhz": 1.0}, ConfigError, "'there' is there already"),
        ("new", "some.csv", {}, ConfigError, "say the frequency of its fluxes with --freq-mhz"),
        ("new", "gone.csv", {}, InputError, r"gone\.csv: not readable"),
        ("new", "empty.csv", {}, InputError, r"empty\.csv: it has no row"),
        ("new", "vlass.csv", {}, ConfigError, "its columns are those of vlass; say so with --preset vlass, or"),
        ("new", "swapped.csv", {}, InputError, "'ra' and 'dec' look swapped.*--column ra_deg=dec --column dec_deg=ra"),
        ("new", "some.csv", {"preset": "nvs"}, ConfigError, r"no preset 'nvs' \(is 'nvss' meant\?\); there are first"),
        ("../up", "some.csv", {"freq_mhz": 1.0}, ConfigError, "must be lower-case"),
        ("new", "gone.csv", {"freq_mhz": 1.0}, InputError, r"gone\.csv: not readable"),
        ("new", "contimg.yaml", {"freq_mhz": 1.0}, InputError, "this is no table"),
        ("new", "some.csv", {"freq_mhz": -1.0}, ConfigError, "greater than 0"),
    ],
)
def test_a_refusal_leaves_the_file_alone(
    folder: Path, name: str, file: str, settings: dict, error: type[Exception], message: str
) -> None:
    config = folder / "contimg.yaml"
    config.write_text("catalogs:\n  there:\n    path: some.csv\n    freq_mhz: 1400.0\n")
    (folder / "empty.csv").write_text("name,ra,dec,flux_mjy\n")
    (folder / "vlass.csv").write_text("Component_name,RA,DEC,Total_flux,Duplicate_flag,Quality_flag\nV,10,-3,5,0,0\n")
    (folder / "swapped.csv").write_text("name,ra,dec,flux_mjy\nA,10.9,293.1,3\nB,-11,295.1,3\nC,3,20,4\n")
    before = config.read_text()
    with pytest.raises(error, match=message):
        add_catalog(config, name, folder / file, **settings)
    assert config.read_text() == before


def test_flow_style_is_refused_not_mangled(folder: Path) -> None:
    config = folder / "contimg.yaml"
    config.write_text("catalogs: {there: {path: some.csv, freq_mhz: 1400.0}}\n")
    with pytest.raises(ConfigError, match="block style"):
        add_catalog(config, "nvss", folder / "some.csv")
    assert config.read_text() == "catalogs: {there: {path: some.csv, freq_mhz: 1400.0}}\n"


def test_listing(folder: Path) -> None:
    file = folder / "contimg.yaml"
    add_catalog(file, "nvss", folder / "some.csv")
    add_catalog(file, "mine", folder / "some.csv", freq_mhz=1405.0)
    config = load_config(file)
    table = build_catalog("nvss", config.catalogs["nvss"], folder)
    write_catalog(table, catalog_file(config, "nvss"))
    listed = list_catalogs(config).set_index("name")
    assert listed["materialized"].to_dict() == {"mine": False, "nvss": True}
    assert listed.loc["nvss", ["preset", "n_rows", "exists"]].tolist() == ["nvss", 2, True]
    assert listed.loc["nvss", "epoch_mjd"] == 49700.0
    assert listed.loc["nvss", "version"] == table.schema.metadata[b"contimg_version"].decode()
    assert list_catalogs(load_config(folder / "contimg.yaml").model_copy(update={"catalogs": {}})).empty


def test_presets_are_whole() -> None:
    table = list_presets().set_index("preset")
    assert {"nvss", "first", "sumss", "racs-low", "racs-mid", "racs-high", "vlass", "tgss", "gleam", "wenss"} <= set(
        table.index
    )
    for name in PRESETS:
        config = CatalogConfig(preset=name, path="x.fits")
        assert {"ra_deg", "dec_deg", "flux_mjy"} <= set(config.columns)
        assert config.position_err_arcsec > 0
    given = CatalogConfig(preset="nvss", path="x", beam_arcsec=46.0, columns={"flux_mjy": {"column": "S"}})
    assert (given.beam_arcsec, given.columns["flux_mjy"].column, given.columns["dec_deg"].column) == (
        46.0,
        "S",
        "DEJ2000",
    )


def test_what_was_taken_is_said(folder: Path) -> None:
    rows = {"Name": ["A"], "RAJ2000": [1.0], "DEJ2000": [3.0], "Flux": [0.5], "e_flux": [0.1], "flux_peak": [0.4]}
    pd.DataFrame(rows).to_csv(folder / "bare.csv", index=False)
    file = folder / "contimg.yaml"
    add_catalog(file, "mine", folder / "bare.csv", freq_mhz=1.0, columns={"flux_mjy": {"column": "Flux", "unit": "Jy"}})
    config = load_config(file).catalogs["mine"]
    taken = columns_taken(config, folder / "bare.csv").set_index("ours")
    assert tuple(taken.loc["flux_mjy"]) == ("Flux", "Jy", True)
    assert tuple(taken.loc["flux_err_mjy"]) == ("e_flux", "mJy", False)
    assert tuple(taken.loc["ra_deg"]) == ("RAJ2000", "deg", True)
    assert tuple(taken.loc["catalog_source_id"]) == ("Name", "", True)
    assert "spectral_index" not in taken.index
    assert build_catalog("mine", config, folder).column("flux_mjy").to_pylist() == [500.0]


def test_the_configuration_keeps_its_permissions(folder: Path) -> None:
    file = folder / "contimg.yaml"
    file.write_text("catalogs: {}\n")
    file.chmod(0o644)
    add_catalog(file, "nvss", folder / "some.csv")
    assert file.stat().st_mode & 0o777 == 0o644


YAML = (
    "# ours\nmatching:\n  radius_arcsec: 12.0\ncatalogs:\n  # deep\n  deep:\n    path: some.csv\n    freq_mhz: 888.0\n"
)
MORE = (
    "  nvss:\n    preset: nvss\n    path: some.csv\n    columns:\n      flux_mjy: {column: flux_mjy}\n\n"
    "# end\nchecks:\n  min_covered: 5\n"
)


@pytest.mark.parametrize("name", ["deep", "NVSS"])
def test_a_catalog_is_taken_out_and_nothing_else(folder: Path, name: str) -> None:
    file = folder / "contimg.yaml"
    file.write_text(YAML + MORE)
    before = load_config(file)
    remove_catalog(file, name)
    after = load_config(file)
    assert set(after.catalogs) == {"deep", "nvss"} - {name.lower()}
    assert (after.matching, after.checks) == (before.matching, before.checks)
    assert "# end" in file.read_text()
    remove_catalog(file, *after.catalogs)
    assert load_config(file).catalogs == {}
    with pytest.raises(ConfigError, match="no catalog 'deep'; there are none"):
        remove_catalog(file, "deep")


def test_catalogs_that_tie_are_named_in_any_case(folder: Path) -> None:
    (folder / "contimg.yaml").write_text(
        "catalogs: {NVSS: {preset: NVSS, path: some.csv}}\n"
        "corrections: {flux_catalogs: [NVSS], position_catalogs: [Nvss], catalog_weights: {nVSS: 2.0}}\n"
    )
    corrections = load_config(folder / "contimg.yaml").corrections
    assert corrections.flux_catalogs == corrections.position_catalogs == ("nvss",)
    assert corrections.catalog_weights == {"nvss": 2.0}


def test_a_catalog_without_rows_says_so(folder: Path) -> None:
    (folder / "empty.csv").write_text("name,ra,dec,flux\n")
    with pytest.raises(InputError, match=r"empty\.csv: it has no row"):
        add_catalog(folder / "contimg.yaml", "mine", folder / "empty.csv", freq_mhz=1.0)
    assert not (folder / "contimg.yaml").exists()


def test_names_in_any_case(folder: Path) -> None:
    file = folder / "contimg.yaml"
    add_catalog(file, "NVSS", folder / "some.csv")
    assert load_config(file).catalogs["nvss"].preset == "nvss"
    file.write_text("catalogs:\n  NVSS:\n    preset: NVSS\n    path: some.csv\n")
    assert list(load_config(file).catalogs) == ["nvss"]
    with pytest.raises(ConfigError, match="'nvss' is there already"):
        add_catalog(file, "Nvss", folder / "some.csv")


def test_what_speaks_against_a_catalog_is_said(folder: Path) -> None:
    rng = np.random.default_rng(1)
    table = {"name": [f"s{n}" for n in range(400)], "ra": rng.uniform(9, 11, 400), "dec": rng.uniform(-1, 1, 400)}
    images = pd.DataFrame({"ra_deg": [10.0], "dec_deg": [0.0], "radius_deg": [1.0], "freq_mhz": [1e3]})
    images["rms_mjy_beam"] = 0.1

    def told(**columns: object) -> str:
        pd.DataFrame(table | columns).to_csv(folder / "c.csv", index=False)
        config = CatalogConfig(path=folder / "c.csv", freq_mhz=1e3)
        return "; ".join(misgivings(ReferenceCatalog("c", build_catalog("c", config, folder)), images, -0.7))

    assert told(flux=1.0) == ""
    assert "shallow: its faint sources are 5000 times the noise" in told(flux=500.0)
    assert "sparse" in told(flux=1.0, dec=np.where(np.arange(400) < 4, table["dec"], 30.0))
    assert "none of its sources lies in the 1 images looked at; the nearest is" in told(flux=1.0, dec=60.0)
