"""Fetching from a TAP service, which here answers from loopback."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info
from astropy.table import Table

from contimg_assets.catalogs.fetch import fetch, query, usable_columns
from contimg_assets.catalogs.manage import fetch_catalog
from contimg_assets.catalogs.store import query_sources
from contimg_assets.config import load_config
from contimg_assets.config.presets import PRESETS
from contimg_assets.errors import ConfigError, InputError

pytest.importorskip("pyvo")

NVSS = Table(
    {
        "RAJ2000": [10.0, 10.01, 11.0],
        "DEJ2000": [20.0, 20.01, 21.0],
        "NVSS": ["A", "B", "C"],
        "e_RAJ2000": [0.1, 0.1, 0.2],
        "e_DEJ2000": [0.5, 0.6, 0.7],
        "S1.4": [10.0, 20.0, 30.0],
        "e_S1.4": [0.5, 0.6, 0.7],
    },
    units={"RAJ2000": "deg", "DEJ2000": "deg", "e_RAJ2000": "s", "e_DEJ2000": "arcsec", "S1.4": "mJy", "e_S1.4": "mJy"},
)


def votable(table: Table, status: str, text: str = "") -> bytes:
    document = from_table(table)
    info = Info(name="QUERY_STATUS", value=status)
    info.content = text
    document.resources[0].infos.append(info)
    document.resources[0].type = "results"
    out = io.BytesIO()
    document.to_xml(out)
    return out.getvalue()


JOB = """<?xml version="1.0"?>
<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1">
<uws:jobId>1</uws:jobId><uws:ownerId/><uws:phase>{phase}</uws:phase><uws:quote/>
<uws:executionDuration>0</uws:executionDuration><uws:destruction>2100-01-01T00:00:00</uws:destruction>
<uws:parameters/>
<uws:results><uws:result id="result" xlink:href="{base}/async/1/results/result"/></uws:results>
<uws:errorSummary type="fatal" hasDetail="false"><uws:message>{message}</uws:message></uws:errorSummary>
</uws:job>"""


class Service(BaseHTTPRequestHandler):
    """As much of TAP and UWS as a client needs; what it answers is set by the test."""

    answer: ClassVar[bytes] = b""
    columns: ClassVar[Table] = Table()
    phase: ClassVar[str] = "COMPLETED"
    message: ClassVar[str] = ""
    started: ClassVar[bool] = False
    asked: ClassVar[list[dict]] = []

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _send(self, status: int, body: bytes, kind: str = "text/xml", location: str | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        if urlparse(self.path).path == "/sync":
            assert "TAP_SCHEMA.columns" in body["QUERY"][0]
            self._send(200, votable(Service.columns, "OK"), "application/x-votable+xml")
            return
        if not urlparse(self.path).path.startswith("/async"):
            self._send(404, b"no such page", "text/plain")
            return
        if urlparse(self.path).path == "/async":
            Service.asked.append({key: values[0] for key, values in body.items()})
        elif body.get("PHASE") == ["RUN"]:
            Service.started = True
        self._send(303, b"", location=f"{self._base()}/async/1")

    def do_GET(self) -> None:
        path = urlparse(self.path).path
        if path == "/async/1/results/result":
            self._send(200, Service.answer, "application/x-votable+xml")
        elif path == "/async/1":
            phase = Service.phase if Service.started else "PENDING"
            self._send(200, JOB.format(phase=phase, base=self._base(), message=Service.message).encode())
        elif path == "/async/1/phase":
            self._send(200, (Service.phase if Service.started else "PENDING").encode(), "text/plain")
        else:
            self._send(404, b"no such page", "text/plain")

    def do_DELETE(self) -> None:
        self._send(200, b"", "text/plain")


@pytest.fixture
def url() -> Iterator[str]:
    Service.answer, Service.phase, Service.message = votable(NVSS, "OK"), "COMPLETED", ""
    Service.started = False
    Service.columns = Table(
        {"column_name": ["recno", *(f'"{name}"' if "." in name else name for name in NVSS.colnames)]}
    )
    Service.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_survey_becomes_a_configured_catalogue(tmp_path: Path, url: str) -> None:
    config = tmp_path / "contimg.yaml"
    assert fetch_catalog(config, "nvss", url=url, region=(10.0, 20.0, 2.0)) == 3
    asked = Service.asked[0]
    assert asked["QUERY"] == query(PRESETS["nvss"], usable_columns("nvss", NVSS.colnames), (10.0, 20.0, 2.0))
    assert "CIRCLE('ICRS', 10.0, 20.0, 2.0)" in asked["QUERY"]
    assert set(asked["QUERY"].split(" FROM ")[0].removeprefix("SELECT ").split(", ")) == {
        f'"{c}"' for c in NVSS.colnames
    }
    found = query_sources("nvss", 10.0, 20.0, 0.1, config=load_config(config))
    assert found["catalog_source_id"].tolist() == ["A", "B"]
    assert found["flux_mjy"].tolist() == [10.0, 20.0]
    np.testing.assert_allclose(found["ra_err_arcsec"], 1.5 * np.cos(np.radians([20.0, 20.01])))
    with pytest.raises(ConfigError, match="there already"):
        fetch_catalog(config, "nvss", url=url)


def test_query_of_several_tables_asks_all_of_them() -> None:
    text = query(PRESETS["racs-low"], ["RAJ2000", "DEJ2000", "GID"], None)
    assert text.count("SELECT") == 2
    assert '"J/other/PASA/38.58/gausscut" UNION ALL SELECT' in text
    assert "WHERE" not in text
    flagged = query(PRESETS["vlass"], ["RAJ2000", "DEJ2000"], (1, 2, 3))
    assert flagged.endswith(
        """WHERE "DupFlag" < 2 AND ("QualFlag" = 0 OR "QualFlag" = 4) AND "SCode" <> 'E' AND """
        """1 = CONTAINS(POINT('ICRS', "RAJ2000", "DEJ2000"), CIRCLE('ICRS', 1.0, 2.0, 3.0))"""
    )


def test_only_columns_that_are_there_are_asked_for() -> None:
    offered = ["recno", "RAJ2000", "DEJ2000", "Fint", "Name"]
    assert usable_columns("first", offered) == ["RAJ2000", "DEJ2000", "Name", "Fint"]
    assert usable_columns("racs-mid", ["RAJ2000", "DEJ2000", "DEdegc"])[:2] == ["RAJ2000", "DEdegc"]
    with pytest.raises(InputError, match="no positions of 'first'"):
        usable_columns("first", ["Fint"])


def test_an_answer_cut_off_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="more than 2 rows"):
        fetch("nvss", tmp_path / "n.vot", url=url, max_rows=2)
    Service.answer = votable(NVSS, "OVERFLOW")
    with pytest.raises(InputError, match="more than"):
        fetch("nvss", tmp_path / "n.vot", url=url)
    assert not (tmp_path / "n.vot").exists()


def test_an_empty_answer_is_refused(tmp_path: Path, url: str) -> None:
    Service.answer = votable(NVSS[:0], "OK")
    with pytest.raises(InputError, match="no source of 'nvss'"):
        fetch("nvss", tmp_path / "n.vot", url=url)


def test_a_refusal_of_the_service_is_passed_on(tmp_path: Path, url: str) -> None:
    Service.phase, Service.message = "ERROR", "table is being rebuilt"
    with pytest.raises(InputError, match="table is being rebuilt"):
        fetch("nvss", tmp_path / "n.vot", url=url)


def test_no_service(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="was not delivered"):
        fetch("nvss", tmp_path / "n.vot", url=url + "/nowhere")


def test_unknown_surveys_and_bad_names(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="no preset 'cosmos'"):
        fetch_catalog(tmp_path / "c.yaml", "cosmos", url=url)
    with pytest.raises(ConfigError, match="must be lower-case"):
        fetch_catalog(tmp_path / "c.yaml", "../up", preset="nvss", url=url)
    assert not Service.asked
