"""`contimg plot` and the small light curve of a terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.cli.sketch import sketch_light_curve
from contimg_assets.database import ProductsDatabase
from contimg_assets_tests.database.survey import Survey


@pytest.fixture
def in_survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductsDatabase:
    """A folder with products and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    (tmp_path / "contimg.yaml").write_text("", encoding="utf-8")
    with ProductsDatabase(tmp_path / "products.sqlite3") as database:
        database.upgrade()
        database.replace_epochs(Survey(n_sources=12, n_epochs=4).epochs())
        return database


def call(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_every_picture_is_written(in_survey: ProductsDatabase) -> None:
    name = str(in_survey.read_table("sources")["name"][0])
    image = in_survey.read_table("images").iloc[0]
    for arguments, file in (
        (("lightcurve", name), f"{name.replace(' ', '_')}.png"),
        (("lightcurve", name.split(" ")[1], "--out", "curve.pdf", "--flux", "int"), "curve.pdf"),
        (("eta-v",), "eta-v.png"),
        (("sky", "--around", name, "--radius-deg", "0.5", "--out", "sky.svg"), "sky.svg"),
        (("sky",), "sky.png"),
        (("image", image["epoch"], image["image"]), "image.png"),
        (("epochs",), "epochs.png"),
    ):
        assert f"Wrote {file}." in call("plot", *arguments)
        assert Path(file).stat().st_size > 3000


def test_what_cannot_be_drawn_is_one_sentence(in_survey: ProductsDatabase) -> None:
    assert "says no format of pictures" in call("plot", "epochs", "--out", "x.gif", status=2)
    assert "folder nowhere does not exist" in call("plot", "epochs", "--out", "nowhere/x.png", status=2)
    assert "no image 'x' of epoch 'y'" in call("plot", "image", "y", "x", status=2)
    assert [path.name for path in Path().iterdir() if not path.name.startswith(("contimg", "products"))] == []


def test_a_light_curve_in_letters() -> None:
    curve = pd.DataFrame(
        {
            "mjd": [10.0, 11.0, 12.0, 20.0],
            "flux_peak_corr_mjy_beam": [8.0, 4.0, np.nan, 1.0],
            "flux_peak_err_corr_mjy_beam": [0.0, 2.0, np.nan, 0.0],
            "upper_limit_mjy_beam": [np.nan, np.nan, 2.0, np.nan],
            "is_limit": [False, False, True, False],
            "trusted": [True, True, None, False],
        }
    )
    lines = list(sketch_light_curve(curve, "peak", width=21))
    # One line for 1 mJy/beam, from 8 down to 0; two letters for a day.
    assert [line.removeprefix(" ").strip() for line in lines] == [
        "8 ┤●",
        "┤",
        "┤  │",
        "┤  │",
        "┤  ●",
        "┤  │",
        "┤  │ ▽",
        "┤                    ·",
        "0 ┤",
        "10.0         20.0 MJD",
    ]
    assert list(sketch_light_curve(curve[:0], "peak")) == []
