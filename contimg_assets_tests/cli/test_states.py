"""The table of `contimg status`: an epoch in each row, as long as eyes can read it."""

from __future__ import annotations

import pandas as pd

from contimg_assets.cli.app import _MANY_EPOCHS, _NEWEST_SHOWN, _table_of_states

STAGES = ("raw_detections", "measurements")


def assessment(n_epochs: int, stale: str) -> pd.DataFrame:
    epochs = [f"epoch{number:05d}" for number in range(n_epochs)]
    rows = [(epoch, stage, "stale" if epoch == stale else "fresh") for epoch in epochs for stage in STAGES]
    return pd.DataFrame(rows, columns=["epoch", "stage", "state"])


def shown(n_epochs: int, stale_only: bool = False) -> tuple[list[str], str]:
    table = _table_of_states(assessment(n_epochs, stale="epoch00003"), stale_only)
    return [str(cell) for cell in table.columns[0].cells], str(table.title)


def test_few_epochs_are_all_shown() -> None:
    epochs, _ = shown(_MANY_EPOCHS)
    assert len(epochs) == _MANY_EPOCHS


def test_of_many_epochs_those_are_shown_that_are_not_fresh_and_the_newest() -> None:
    epochs, title = shown(5000)
    assert epochs == ["epoch00003", *(f"epoch{number:05d}" for number in range(5000 - _NEWEST_SHOWN, 5000))]
    assert f"without {5000 - _NEWEST_SHOWN - 1} that are fresh" in title


def test_stale_ones_alone() -> None:
    assert shown(5000, stale_only=True)[0] == ["epoch00003"]
