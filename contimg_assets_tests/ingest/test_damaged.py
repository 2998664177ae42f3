"""Some hundreds of damaged files: each gives a clear error or rejected rows, never a wrong number.

A row that is accepted must be the row that was written. Where a format has no checksum, a changed digit cannot be told
from another number, so text is changed in ways that leave no digits, and binary files carry their formats' checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from contimg_assets.config import Config, Ingest
from contimg_assets.errors import InputError
from contimg_assets.ingest.checks import rows_add_up
from contimg_assets.ingest.epoch import EpochDetections, read_epoch
from contimg_assets.reading import files
from contimg_assets.schemas.detections import DETECTIONS, REJECTED
from contimg_assets_tests.ingest import build

TRUTH = build.sky(25)
LENIENT = Ingest(max_rejected_fraction=1.0, max_damaged_fraction=1.0)


def parquet(path: Path) -> bytes:
    table = pa.Table.from_pandas(TRUTH, preserve_index=False)
    pq.write_table(table, path, write_page_checksum=True, compression="snappy")
    return path.read_bytes()


def checked_fits(path: Path) -> bytes:
    columns = {name: TRUTH[name].to_numpy(dtype=str if TRUTH[name].dtype == "str" else None) for name in TRUTH}
    hdu = fits.table_to_hdu(Table(columns))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, checksum=True, overwrite=True)
    return path.read_bytes()


GOOD: dict[str, Callable[[Path], bytes]] = {
    "x.csv": lambda path: build.csv(TRUTH),
    "x.txt": lambda path: build.selavy_text(TRUTH),
    "x.csv.gz": lambda path: gzip.compress(build.csv(TRUTH), mtime=0),
    "x.fits": checked_fits,
    "x.xml": lambda path: build.votable_bytes(TRUTH, path),
    "x.parquet": parquet,
}


def read(root: Path, content: bytes, name: str) -> EpochDetections | InputError:
    """What comes of a catalog: rows, each equal to what was written, or an error that names the file."""
    folder = build.epoch_folder(root, content, name)
    try:
        epoch = read_epoch(folder, "e1", Config(root=root, ingest=LENIENT))
    except InputError as error:
        assert name in str(error)
        assert len(str(error)) < 1500
        return error
    DETECTIONS.to_arrow(epoch.detections)
    REJECTED.to_arrow(epoch.rejected)
    assert rows_add_up(epoch.images, epoch.detections, epoch.rejected) == []
    return epoch


def only_true_numbers(outcome: EpochDetections | InputError, rtol: float = 1e-9) -> None:
    if isinstance(outcome, InputError):
        return
    found = outcome.detections.merge(TRUTH, on="component_id", suffixes=("", "_true"))
    for name in TRUTH.columns[2:]:
        got, true = found[name].to_numpy(), found[f"{name}_true"].to_numpy()
        there = ~np.isnan(got)
        np.testing.assert_allclose(got[there], true[there], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("name", list(GOOD))
def test_good_files_are_read_whole(tmp_path: Path, name: str) -> None:
    outcome = read(tmp_path, GOOD[name](tmp_path / "t"), name)
    assert isinstance(outcome, EpochDetections)
    assert len(outcome.detections) == len(TRUTH)
    only_true_numbers(outcome)


@pytest.mark.parametrize("name", list(GOOD))
def test_truncated(tmp_path: Path, name: str) -> None:
    """Cut anywhere, and everywhere within the last rows."""
    content = GOOD[name](tmp_path / "t")
    rng = np.random.default_rng(3)
    cuts = {*rng.integers(1, len(content), 25).tolist(), *range(max(1, len(content) - 25), len(content))}
    for cut in cuts:
        outcome = read(tmp_path, content[:cut], name)
        only_true_numbers(outcome)
        if not name.endswith((".csv", ".txt")):
            # What follows the last row of a VOTable, and the padding of FITS, may be missing without harm.
            whole = isinstance(outcome, InputError) or len(outcome.detections) == len(TRUTH)
            assert whole, f"cut at {cut}: {len(outcome.detections)} rows"


@pytest.mark.parametrize("name", list(GOOD))
def test_bytes_flipped(tmp_path: Path, name: str) -> None:
    content = GOOD[name](tmp_path / "t")
    rng = np.random.default_rng(4)
    for at in rng.integers(0, len(content), 40):
        damaged = bytearray(content)
        # Bit 6 turns digits, separators and points into letters or back, never a digit into another.
        damaged[at] ^= 0x40 if name.endswith((".csv", ".txt", ".xml")) else 1 << int(rng.integers(0, 8))
        only_true_numbers(read(tmp_path, bytes(damaged), name))


@pytest.mark.parametrize("name", list(GOOD))
def test_any_byte_anything(tmp_path: Path, name: str) -> None:
    """Noise, holes and repeats: no traceback, no hang."""
    content = GOOD[name](tmp_path / "t")
    rng = np.random.default_rng(5)
    for trial in range(15):
        start, length = int(rng.integers(0, len(content))), int(rng.integers(1, 200))
        noise = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        piece = content[start : start + length]
        damaged = (
            content[:start] + noise + content[start + length :],
            content[:start] + content[start + length :],
            content[:start] + piece + piece + content[start + length :],
        )[trial % 3]
        read(tmp_path, damaged, name)


def rejected(root: Path, table: pd.DataFrame, config: Ingest = LENIENT, **manifest: object) -> EpochDetections:
    folder = build.epoch_folder(root, build.csv(table), "x.csv", **manifest)
    epoch = read_epoch(folder, "e1", Config(root=root, ingest=config))
    assert rows_add_up(epoch.images, epoch.detections, epoch.rejected) == []
    return epoch


BAD_CELLS = [
    ("ra_deg", 361.0, "361", "not allowed: 0 <= ra_deg < 360", True),
    ("ra_deg", -180.1, "-180.1", "not allowed: 0 <= ra_deg < 360", True),
    ("ra_deg", np.nan, None, "the right ascension is missing", True),
    ("ra_deg", "10h00m", "10h00m", "a number belongs here, not text", True),
    ("ra_deg", np.inf, "inf", "the number is infinite", True),
    ("ra_deg", 200.0, "200", "outside the image", True),
    ("dec_deg", 91.0, "91", "not allowed: -90 <= dec_deg <= 90", True),
    ("dec_deg", np.nan, None, "the declination is missing", True),
    ("dec_deg", 30.0, None, "outside the image", True),
    ("flux_int_mjy", "1,5", "1,5", "a number belongs here, not text", True),
    ("flux_int_mjy", "-inf", "-inf", "the number is infinite", True),
    ("flux_int_mjy", 0.0, "0", "a flux density of zero is no detection", False),
    ("flux_peak_err_mjy_beam", -1.0, "-1", "not allowed: 0 <= flux_peak_err_mjy_beam", False),
    ("bmaj_arcsec", 0.0, "0", "not positive: the fit failed", False),
    ("bmin_arcsec", 0.5, "0.5", "narrower than 0.139 of the beam", False),
    ("component_id", "", None, "the identifier is missing", True),
    ("component_id", "x" * 1_000_000, "x" * 79 + "…", "more than 256 characters", True),
    ("flux_int_mjy", "9" * 1_000_000, "inf", "the number is infinite", True),
    ("local_rms_mjy_beam", "#REF!", "#REF!", "a number belongs here, not text", True),
]


@pytest.mark.parametrize(("column", "value", "shown", "reason", "damaged"), BAD_CELLS)
def test_a_bad_cell_sets_its_row_aside(
    tmp_path: Path, column: str, value: object, shown: str | None, reason: str, damaged: bool
) -> None:
    table = TRUTH.astype({column: object})
    table.loc[7, column] = value
    epoch = rejected(tmp_path, table)
    assert len(epoch.detections) == len(TRUTH) - 1
    row = epoch.rejected.iloc[0]
    assert (row["line"], row["catalogue"], row["damaged"]) == (9, "x.csv", damaged)
    assert reason in row["reason"]
    if shown is not None:
        assert (row["column"], row["value"]) == (column, shown)
    if column != "component_id":
        assert row["component_id"] == "c0007"
    only_true_numbers(epoch)
    if damaged:
        with pytest.raises(
            InputError, match=r"x\.csv: line 9.*correct the file, or raise ingest\.max_damaged_fraction"
        ):
            rejected(tmp_path, table, Ingest())
    else:
        assert len(rejected(tmp_path, table, Ingest()).rejected) == 1


def test_many_failed_fits_fail_the_epoch(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"x\.csv: line 2, column 'bmaj_arcsec' = '0'.*25 of 25 rows rejected.*max_rejected"
    ):
        rejected(tmp_path, TRUTH.assign(bmaj_arcsec=0.0), Ingest())


def test_positions_of_another_field(tmp_path: Path) -> None:
    swapped = TRUTH.rename(columns={"ra_deg": "dec_deg", "dec_deg": "ra_deg"})
    hours = TRUTH.assign(ra_deg=TRUTH["ra_deg"] / 15)
    radians = TRUTH.assign(ra_deg=np.radians(TRUTH["ra_deg"]), dec_deg=np.radians(TRUTH["dec_deg"]))
    for table in (swapped, hours, radians):
        epoch = rejected(tmp_path, table)
        assert len(epoch.detections) == 0
        assert epoch.rejected["damaged"].all()


def test_repeated_identifiers_are_all_set_aside(tmp_path: Path) -> None:
    """They cannot be told apart, whichever comes first."""
    epoch = rejected(tmp_path, pd.concat([TRUTH, TRUTH.head(3)]))
    assert sorted(epoch.rejected["component_id"]) == sorted(["c0000", "c0001", "c0002"] * 2)
    assert len(epoch.detections) == len(TRUTH) - 3


def test_broken_lines_are_kept_with_their_text(tmp_path: Path) -> None:
    lines = build.csv(TRUTH).decode().splitlines()
    lines[4] = lines[4] + ",1.0"
    lines[9] = lines[9][: len(lines[9]) // 2]
    lines.insert(6, "")
    outcome = read(tmp_path, ("\n".join(lines) + "\n").encode(), "x.csv")
    assert isinstance(outcome, EpochDetections)
    assert outcome.rejected["line"].tolist() == [5, 11]
    assert outcome.rejected["value"].str.startswith("c000").all()
    assert outcome.rejected["reason"].str.contains("columns, the header 17").all()
    assert sorted(outcome.detections["line"])[:6] == [2, 3, 4, 6, 8, 9]
    only_true_numbers(outcome)


def test_the_last_row_without_a_lines_end(tmp_path: Path) -> None:
    """It may have lost digits; one that is broken anyway does not take the row before it along."""
    whole = build.csv(TRUTH)
    for cut in (1, 2, 30):
        outcome = read(tmp_path, whole[:-cut], "x.csv")
        assert isinstance(outcome, EpochDetections)
        assert len(outcome.detections) == 24
        assert outcome.rejected["line"].tolist() == [26]
        assert outcome.rejected["damaged"].tolist() == [True]
    unused = build.csv(TRUTH.assign(note="end"))
    outcome = read(tmp_path, unused[:-1], "x.csv")
    assert isinstance(outcome, EpochDetections)
    assert len(outcome.detections) == 25


@pytest.mark.parametrize("column", ["component_id", "ra_deg", "dec_deg"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    folder = build.epoch_folder(tmp_path, build.csv(TRUTH.drop(columns=column)), "x.csv")
    with pytest.raises(InputError, match=rf"x\.csv: column '{column}' is missing .format table.; add it"):
        read_epoch(folder, "e1", Config(root=tmp_path))


def test_without_any_flux(tmp_path: Path) -> None:
    folder = build.epoch_folder(
        tmp_path, build.csv(TRUTH.drop(columns=["flux_int_mjy", "flux_peak_mjy_beam"])), "x.csv"
    )
    with pytest.raises(InputError, match=r"column 'flux_peak_mjy_beam' or 'flux_int_mjy' is missing"):
        read_epoch(folder, "e1", Config(root=tmp_path))


def test_a_finders_own_name_of_a_missing_column(tmp_path: Path) -> None:
    table = build.finder_table(TRUTH, build.SELAVY).drop(columns="dec_deg_cont")
    folder = build.epoch_folder(tmp_path, build.csv(table), "x.csv")
    with pytest.raises(InputError, match=r"column 'dec_deg_cont' is missing .format selavy."):
        read_epoch(folder, "e1", Config(root=tmp_path))


FOREIGN = {
    "empty": b"",
    "blank": b"\n \n\t\n",
    "zeros": bytes(5000),
    "UTF-16 without its mark": build.csv(TRUTH).decode().encode("utf-16-le"),
    "half of UTF-16": build.csv(TRUTH).decode().encode("utf-16")[:-1],
    "Latin-1": build.csv(TRUTH.assign(note="Grüße")).decode().encode("latin-1"),
    "no header": b"\n".join(build.csv(TRUTH).splitlines()[1:]) + b"\n",
    "prose": b"Dear colleague,\nplease find the catalog attached.\n",
    "PDF": b"%PDF-1.7\n" + bytes(range(256)) * 20,
    "broken gzip": gzip.compress(build.csv(TRUTH))[:-20],
    "gzip and more": gzip.compress(build.csv(TRUTH)) + b"more",
    "two columns alike": build.csv(TRUTH).replace(b"dec_err_arcsec", b"ra_err_arcsec"),
    "one endless line": b"ra_deg," * 60_000,
    "quotes left open": build.csv(TRUTH).replace(b"c0003", b'"c0003').replace(b"c0009", b'c0009"'),
    "HTML": b"<html><body><table><tr><td>404</td></tr></table></body></html>",
    "FITS without table": b"".join(
        [b"SIMPLE  =                    T".ljust(80), b"BITPIX  =                    8".ljust(80)]
    )
    + b"NAXIS   =                    0".ljust(80)
    + b"END".ljust(2640),
}


@pytest.mark.parametrize("what", list(FOREIGN))
def test_files_that_are_no_catalogues(tmp_path: Path, what: str) -> None:
    for name in ("x.csv", "x.fits", "x.xml", "x.parquet", "x.dat"):
        assert isinstance(read(tmp_path, FOREIGN[what], name), InputError)


@pytest.mark.parametrize(
    ("declaration", "cell"),
    [
        ('<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "&x;"),
        ('<!DOCTYPE VOTABLE [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>', "&b;"),
        ('<!DOCTYPE VOTABLE SYSTEM "http://192.0.2.1/votable.dtd">', "c0000"),
        ("", "&unknown;"),
    ],
)
def test_a_votable_gets_nothing_from_outside(tmp_path: Path, declaration: str, cell: str) -> None:
    text = build.votable_bytes(TRUTH, tmp_path / "t").decode()
    head, body = text.split("?>", 1)
    outcome = read(tmp_path, f"{head}?>{declaration}{body}".replace("c0000", cell).encode(), "x.xml")
    assert isinstance(outcome, InputError)
    assert "root:" not in str(outcome)


def test_a_votable_fetches_no_stream(tmp_path: Path) -> None:
    text = build.votable_bytes(TRUTH, tmp_path / "t").decode()
    start, end = text.index("<DATA>"), text.index("</DATA>")
    for link in ("http://192.0.2.1/x", "file:///etc/passwd"):
        damaged = f'{text[:start]}<DATA><BINARY><STREAM encoding="base64" href="{link}"/></BINARY>{text[end:]}'
        outcome = read(tmp_path, damaged.encode(), "x.xml")
        assert isinstance(outcome, InputError)
        assert "refused" in str(outcome)


def test_a_masked_value_is_missing_not_a_number(tmp_path: Path) -> None:
    table = Table(
        {name: TRUTH[name].to_numpy(dtype=str if TRUTH[name].dtype == "str" else None) for name in TRUTH}, masked=True
    )
    table["ra_deg"].mask[3] = True
    table["flux_int_err_mjy"].mask[4] = True
    for kind, name in (("fits", "x.fits"), ("votable", "x.xml")):
        table.write(tmp_path / "t", format=kind, overwrite=True)
        outcome = read(tmp_path, (tmp_path / "t").read_bytes(), name)
        assert isinstance(outcome, EpochDetections)
        assert outcome.rejected["component_id"].tolist() == ["c0003"]
        row = outcome.detections.set_index("component_id").loc["c0004"]
        assert np.isnan(row["flux_int_err_mjy"])
        only_true_numbers(outcome)


def test_a_masked_integer_is_missing_too(tmp_path: Path) -> None:
    """FITS and VOTable write a number (TNULL) where an integer is missing."""
    table = Table(
        {name: TRUTH[name].to_numpy(dtype=str if TRUTH[name].dtype == "str" else None) for name in TRUTH}, masked=True
    )
    table["flux_int_mjy"] = MaskedColumn(np.arange(1, 26), mask=np.arange(25) == 4)
    for kind, name in (("fits", "x.fits"), ("votable", "x.xml")):
        table.write(tmp_path / "t", format=kind, overwrite=True)
        outcome = read(tmp_path, (tmp_path / "t").read_bytes(), name)
        assert isinstance(outcome, EpochDetections)
        flux = outcome.detections.sort_values("line")["flux_int_mjy"].to_numpy()
        assert np.flatnonzero(np.isnan(flux)).tolist() == [4]
        assert np.nansum(flux) == 25 * 26 / 2 - 5


def test_a_stated_checksum_shows_a_changed_digit(tmp_path: Path) -> None:
    content = build.csv(TRUTH)
    right = hashlib.sha256(content).hexdigest()
    folder = build.epoch_folder(tmp_path, content, "x.csv", sha256=right)
    assert len(read_epoch(folder, "e1", Config(root=tmp_path)).detections) == len(TRUTH)
    digit = content.index(b"c0005") + 12
    (folder / "x.csv").write_bytes(content[:digit] + b"%d" % ((content[digit] - 47) % 10) + content[digit + 1 :])
    with pytest.raises(InputError, match=r"x\.csv: its SHA-256 is .*deliver the catalog again"):
        read_epoch(folder, "e1", Config(root=tmp_path))


@pytest.mark.parametrize("value", [0.5, 1e300, -1e19, 2.0**54])
def test_flags_that_are_no_integers_are_set_aside(tmp_path: Path, value: float) -> None:
    table = TRUTH.assign(flags=3.0)
    table.loc[4, "flags"] = value
    epoch = rejected(tmp_path, table)
    assert epoch.rejected[["component_id", "column"]].to_numpy().tolist() == [["c0004", "flags"]]
    assert "an integer is needed" in epoch.rejected["reason"][0]
    assert set(epoch.detections["flags"]) == {3}


def test_a_gzip_file_that_unpacks_to_too_much(tmp_path: Path) -> None:
    folder = build.epoch_folder(tmp_path, gzip.compress(build.csv(TRUTH) + b"\n" * 2_000_000), "x.csv.gz")
    read_epoch(folder, "e1", Config(root=tmp_path))
    with pytest.raises(InputError, match=r"x\.csv\.gz: larger than 1\.5 MB when unpacked; .*ingest\.max_unpacked_mb"):
        read_epoch(folder, "e1", Config(root=tmp_path, ingest=Ingest(max_unpacked_mb=1.5)))


def test_a_gzip_file_of_many_members(tmp_path: Path) -> None:
    """As bgzip writes them; the time grows with the file, not with its square."""
    content = build.csv(TRUTH)
    pieces = [gzip.compress(content[at : at + 100]) for at in range(0, len(content), 100)]
    many = b"".join(pieces) + gzip.compress(b"") * 100_000 + b"\0" * 512
    start = time.process_time()
    outcome = read(tmp_path, many, "x.csv.gz")
    assert time.process_time() - start < 5.0
    assert isinstance(outcome, EpochDetections)
    assert len(outcome.detections) == len(TRUTH)
    for cut in (many[:-600], many + b"more"):
        assert isinstance(read(tmp_path, cut, "x.csv.gz"), InputError)


def test_large_unpacked_files_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LARGE", 1000)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(build.csv(TRUTH)))
    with ExitStack() as held:
        assert files.read_bytes(tmp_path / "x.csv.gz", 256.0, held) == build.csv(TRUTH)
        assert files._ONE_LARGE.locked()
    assert not files._ONE_LARGE.locked()
