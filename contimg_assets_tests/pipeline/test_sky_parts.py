"""Parts of a table by cell of the sky: the same rows as the whole, read and written only where they are touched."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.association.fold import fold, margin_arcsec
from contimg_assets.association.state import FoldState
from contimg_assets.calibration import add_fluxes
from contimg_assets.config import Association
from contimg_assets.errors import StoreError
from contimg_assets.pipeline import sky_parts
from contimg_assets.pipeline.sky_parts import OfSources, PartFiles, SkyParts
from contimg_assets.schemas.association import STATE
from contimg_assets.schemas.corrections import KNOWN_FLUXES
from contimg_assets.schemas.parts import parts_of
from contimg_assets.sky.cells import healpix_29, index_cells
from contimg_assets.sky.sphere import displaced, separation_arcsec

PLACES = [(0.0, 0.0), (359.9, 41.8), (77.0, 89.9), (210.0, -89.0)]


def _epoch(rng: np.random.Generator, name: str, ra: float, dec: float, n: int, width_deg: float) -> pd.DataFrame:
    offsets = rng.uniform(-width_deg, width_deg, (2, n)) * 3600.0
    where = displaced(np.full(n, ra), np.full(n, dec), *offsets)
    return pd.DataFrame(
        {
            "measurement_id": [f"{name}-{k}" for k in range(n)],
            "epoch": name,
            "ra_deg": where[0],
            "dec_deg": where[1],
            "uncertainty_ew_arcsec": 0.5,
            "uncertainty_ns_arcsec": 0.7,
            "flux_peak_mjy_beam": rng.lognormal(1, 1, n),
        }
    )


@pytest.mark.parametrize("place", PLACES)
def test_cells_about_places_hold_everything_within_the_margin(place: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    near_ra, near_dec = displaced(np.full(5000, place[0]), np.full(5000, place[1]), *rng.uniform(-4e4, 4e4, (2, 5000)))
    ra, dec = np.append(ra, near_ra), np.append(dec, near_dec)
    apart = separation_arcsec(*place, ra, dec)
    cells = sky_parts.cells_of(ra, dec)
    for radius, margin in ((0.0, 3640.0), (0.0, 40.0), (2.5, 3640.0), (0.0, 20_000.0), (4.0, 200_000.0)):
        found = sky_parts.cells_about(*(np.array([one]) for one in (*place, radius)), margin)
        assert np.isin(cells[apart <= radius * 3600.0 + margin], found).all()
        assert (np.diff(found) > 0).all()
    assert len(sky_parts.cells_about(*(np.array([one]) for one in (*place, 0.0)), 3640.0)) <= 9
    nothing = np.empty(0)
    assert len(sky_parts.cells_about(nothing, nothing, nothing, 3640.0)) == 0
    # A source that was seen here before is looked for here.
    moved = displaced(np.full(64, place[0]), np.full(64, place[1]), *(900.0 * rng.normal(size=(2, 64))))
    may_hold = sky_parts.cells_that_may_hold(index_cells(np.array([place[0]]), np.array([place[1]])))
    assert np.isin(sky_parts.cells_of(*moved), may_hold).all()
    assert np.isin(sky_parts.cells_of_index(index_cells(*moved)), sky_parts.cells_of(*moved)).all()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_fold_onto_the_parts_that_it_touches_is_the_fold_onto_the_whole(
    tmp_path: Path, place: tuple[float, float]
) -> None:
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    everywhere = _epoch(rng, "first", 0.0, 0.0, 4000, 1.0).assign(ra_deg=ra, dec_deg=dec)
    parameters = Association()
    images = pd.DataFrame({"image": [""], "ra_deg": [place[0]], "dec_deg": [place[1]], "radius_deg": [2.5]})
    images = images.assign(bmin_arcsec=12.0, bmaj_arcsec=12.0)
    whole = FoldState.empty()
    parts = SkyParts(PartFiles(tmp_path, STATE))
    versions = [parts.version]
    base = _epoch(rng, "base", *place, 300, 2.5)
    for number, measurements in enumerate([everywhere, base, base, base]):
        moved = displaced(
            measurements["ra_deg"], measurements["dec_deg"], *(0.5 * rng.normal(size=(2, len(measurements))))
        )
        measurements = measurements.assign(
            ra_deg=moved[0], dec_deg=moved[1], epoch=f"e{number}", image="",
            measurement_id=[f"e{number}-{k}" for k in range(len(measurements))],
        )  # fmt: skip
        seen = images if number else None
        expected = fold(whole, measurements, parameters, seen)
        radius = np.append(np.zeros(len(measurements)), images["radius_deg"])
        both = [np.append(measurements[name], images[name]) for name in ("ra_deg", "dec_deg")]
        cells = sky_parts.cells_about(*both, radius, margin_arcsec(seen, parameters))
        before = FoldState.from_table(parts.of(cells)[0].sort_by("source_id"))
        result = fold(before, measurements, parameters, seen)
        assert number == 0 or len(before) < len(whole)
        pd.testing.assert_frame_equal(result.associations, expected.associations)
        pd.testing.assert_frame_equal(result.relations, expected.relations)
        now = result.state
        files = set(tmp_path.iterdir())
        parts = parts.replaced(cells, now.to_table(), sky_parts.cells_of(now.ra_deg, now.dec_deg))
        versions.append(parts.version)
        assert number == 0 or 0 < len(set(tmp_path.iterdir()) - files) <= len(cells)
        whole = expected.state
        together = FoldState.from_table(parts.of()[0].sort_by("source_id"))
        assert together == whole and len(parts) == len(whole)
    assert len(set(versions)) == len(versions)
    # As another process or run finds it.
    for again in (SkyParts(parts.files, parts.index), pickle.loads(pickle.dumps(parts))):
        assert again.version == parts.version
        assert again.of()[0].equals(parts.of()[0])
    assert parts_of(STATE).to_arrow(parts.index).equals(parts.index)


@pytest.mark.parametrize("place", PLACES)
def test_running_fluxes_by_cell_are_those_of_the_whole_sky(tmp_path: Path, place: tuple[float, float]) -> None:
    rng = np.random.default_rng(7)
    parts = SkyParts(PartFiles(tmp_path, KNOWN_FLUXES))
    whole = KNOWN_FLUXES.empty()
    ra, dec = displaced(np.full(400, place[0]), np.full(400, place[1]), *rng.uniform(-2e4, 2e4, (2, 400)))
    for _ in range(5):
        shown = np.flatnonzero(rng.random(400) < 0.4)
        seen_ra, seen_dec = displaced(ra[shown], dec[shown], *rng.normal(0, 20.0, (2, len(shown))))
        source = [f"{k:016x}@1400MHz" for k in shown]
        measured = pd.DataFrame({"measurement_id": source, "healpix": index_cells(seen_ra, seen_dec)})
        fluxes = pd.DataFrame({"source_id": source, "flux_mjy": rng.lognormal(size=len(shown)), "flux_err_mjy": 0.1})
        here = OfSources.about(parts, measured["healpix"].to_numpy())
        seen_in = sky_parts.seen_in(pd.DataFrame({"source_id": source, "measurement_id": source}), measured)
        parts = here.after(add_fluxes(here.rows, fluxes), seen_in)
        whole = add_fluxes(whole, fluxes)
        together = parts.of()[0].to_pandas().sort_values("source_id", ignore_index=True)
        pd.testing.assert_frame_equal(together, whole, check_exact=True)
    assert len(parts.cells) > 3


def test_parts_of_nothing_and_parts_that_are_damaged(tmp_path: Path) -> None:
    files = PartFiles(tmp_path, KNOWN_FLUXES)
    nothing = SkyParts(files)
    assert len(nothing) == 0 and nothing.of()[0].num_rows == 0 and nothing.index.num_rows == 0
    fluxes = pd.DataFrame({"source_id": ["a", "b"], "flux_mjy": [1.0, 2.0], "flux_err_mjy": [0.1, 0.1]})
    table = KNOWN_FLUXES.to_arrow(add_fluxes(KNOWN_FLUXES.empty(), fluxes))
    some = nothing.replaced([5, 9], table, np.array([5, 9]))
    of_cells = zip(some.cells.tolist(), some.parts(some.cells), strict=True)
    first, second = (files.file(cell, part.version) for cell, part in of_cells if part is not None)
    assert some.cells.tolist() == [5, 9] and files.written == {first, second}
    assert some.parts(np.array([6, 10])) == [None, None] and nothing.parts(np.array([5])) == [None]
    assert some.replaced([5, 9], table, np.array([5, 9])).version == some.version
    # A cell that has no rows any more has no part; others stay.
    assert set(some.replaced([5], table.slice(0, 0), np.empty(0, np.int64)).cells) == {9}
    assert (
        some.replaced([5], table.slice(0, 0), np.empty(0, np.int64))
        .replaced([5], table.slice(0, 1), np.array([5]))
        .version
        == some.version
    )
    again = SkyParts(files, some.index)
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreError, match="contimg run --force"):
        again.of([5])
    assert again.of([9])[0].num_rows == 1
    second.unlink()
    with pytest.raises(StoreError, match="is gone or not what was written"):
        SkyParts(files, some.index).of()
    assert healpix_29(np.array([0.0]), np.array([90.0])).shape == (1,)
