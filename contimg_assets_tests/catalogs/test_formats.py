"""Surveys as they publish their tables, each as a small file of our own; one reader for deliveries and references."""

from __future__ import annotations

import io
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time

from contimg_assets.catalogs.inspect import inspect_file, inspect_reference
from contimg_assets.catalogs.read import read_catalog
from contimg_assets.config import CatalogConfig, Config, Ingest, load_config
from contimg_assets.errors import InputError
from contimg_assets.ingest.delivered import read_delivered
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.readers import cirada
from contimg_assets.pipeline.deliveries import delivered_files, delivery_version
from contimg_assets.pipeline.survey_tables import catalog_input_version
from contimg_assets_tests.ingest import build
from contimg_assets_tests.ingest.test_damaged import GOOD

VALUES = ["catalog_source_id", "ra_deg", "dec_deg", "ra_err_arcsec", "dec_err_arcsec", "flux_mjy", "flux_peak_mjy_beam"]


def reference(path: Path, **settings: object) -> pd.DataFrame:
    config = CatalogConfig.model_validate(
        {"path": path} | ({} if "preset" in settings else {"freq_mhz": 1e3}) | settings
    )
    return read_catalog("it", config, path)[0].to_pandas()


# Text of a file, its preset, and the first row as VALUES; NaN where the survey's own errors and noise decide.
SURVEYS: dict[str, tuple[str, str | None, list[object]]] = {
    "vlass": (
        "Component_name,Component_id,Isl_id,RA,DEC,E_RA,E_DEC,Total_flux,E_Total_flux,Peak_flux,E_Peak_flux,Maj,Min,PA,"
        "Isl_rms,S_Code,Duplicate_flag,Quality_flag\n"
        "VLASS1QLCIR J0,0,0,10.5,-3.25,0.0001,0.0002,3.5,0.2,3.1,0.1,3,2,10,0.12,S,0,0\n"
        "VLASS1QLCIR J1,1,1,10.6,-3.25,0.0001,0.0002,3.5,0.2,3.1,0.1,3,2,10,0.12,S,2,0\n"
        "VLASS1QLCIR J2,2,2,10.7,-3.25,0.0001,0.0002,3.5,0.2,3.1,0.1,3,2,10,0.12,S,1,4\n"
        "VLASS1QLCIR J3,3,3,10.8,-3.25,0.0001,0.0002,3.5,0.2,3.1,0.1,3,2,10,0.12,S,0,2\n"
        "VLASS1QLCIR J4,4,4,10.9,-3.25,0.0,0.0,0.0,0.0,1.15,0.0,0.0,0.0,0.0,0.12,E,0.0,4.0\n",
        "vlass",
        ["VLASS1QLCIR J0", 10.5, -3.25, np.hypot(0.36, 0.25), np.hypot(0.72, 0.25), 3.5, 3.1],
    ),
    "lotss": (
        "Source_Name,RA,E_RA,DEC,E_DEC,Peak_flux,E_Peak_flux,Total_flux,E_Total_flux,Maj,Min,PA,S_Code,Mosaic_ID,Isl_rms\n"
        "ILTJ0,10.5,0.3,33.25,0.4,3.1,0.1,3.5,0.2,7,6,0,S,P1,0.09\n",
        "lotss",
        ["ILTJ0", 10.5, 33.25, np.hypot(0.3, 0.2), np.hypot(0.4, 0.2), 3.5, 3.1],
    ),
    # Columns and units as the Virtual Observatory of ASTRON answers for DR1, shown in its astropy tutorial.
    "lotss of the virtual observatory": (
        "Source_Name,RA,E_RA,DEC,E_DEC,Peak_flux,E_Peak_flux,Total_flux,E_Total_flux,Major,Minor,Isl_rms,S_Code,Mosaic_ID\n"
        "--,[deg],[arcsec],[deg],[arcsec],[mJy/beam],[mJy/beam],[mJy],[mJy],[arcsec],[arcsec],[mJy/beam],--,--\n"
        "ILTJ0,10.5,0.3,33.25,0.4,3.1,0.1,3.5,0.2,--,--,0.09,S,P34Hetdex06\n",
        "lotss",
        ["ILTJ0", 10.5, 33.25, np.hypot(0.3, 0.2), np.hypot(0.4, 0.2), 3.5, 3.1],
    ),
    "tgss of the virtual observatory": (
        "ID,RA,e_RA,DEC,e_DEC,Sint,e_Sint,Spk,e_Spk,MAJAX,MINAX,PA,Island_RMS,S_Code,Mosaic_Name\n"
        "--,[deg],[arcsec],[deg],[arcsec],[mJy],[mJy],[mJy/beam],[mJy/beam],[arcsec],[arcsec],[deg],[mJy/beam],--,--\n"
        "J0042-0315,10.5,2.0,-3.25,2.1,35.0,4.0,31.0,3.0,27.8,25.7,-32.3,2.3,S,R40D64\n",
        "tgss",
        ["J0042-0315", 10.5, -3.25, 2.0, 2.1, 35.0, 31.0],
    ),
    # As its authors publish it: `G4Jy_catalogue_18012020.fits`, `_28072025.csv` of svw26/G4Jy.
    "g4jy": (
        "G4Jy_name,G4Jy_component,centroid_RAJ2000,err_centroid_RAJ2000,centroid_DEJ2000,err_centroid_DEJ2000,"
        "total_int_flux_151,err_total_int_flux_151,G4Jy_alpha\n"
        "G4Jy 7,A,10.5,0.44,-3.25,0.6,4.5,0.1,-0.85\nG4Jy 7,B,10.5,0.44,-3.25,0.6,4.5,0.1,-0.85\n",
        "g4jy",
        ["G4Jy 7", 10.5, -3.25, 0.44, 0.6, 4500.0, np.nan],
    ),
    "g4jy of vizier": (
        "G4Jy,m_G4Jy,GLEAM,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,Fintwide,FintTot151,e_FintTot151,alphaG4Jy\n"
        "7,-,GLEAM J0042-0315,10.5,-3.25,0.44,0.6,3.9,4.5,0.1,-0.85\n",
        None,
        ["7", 10.5, -3.25, 0.44, 0.6, 4500.0, np.nan],
    ),
    "mwacs of vizier, with its preset": (
        "MWACS\tRAJ2000\te_RAJ2000\tDEJ2000\te_DEJ2000\tS180\te_S180\tSpInd\n"
        "\tdeg\tarcmin\tdeg\tarcmin\tJy\tJy\t\n---\t---\t---\t---\t---\t---\t---\t---\n"
        "J0042.0-0315\t10.5\t0.41\t-3.25\t0.39\t0.739\t0.088\t-0.947\n",
        "mwacs",
        ["J0042.0-0315", 10.5, -3.25, 24.6, 23.4, 739.0, np.nan],
    ),
    "tgss": (
        "Source_name\tRA\tE_RA\tDEC\tE_DEC\tTotal_flux\tE_Total_flux\tPeak_flux\tE_Peak_flux\tRMS_noise\tMosaic_name\n"
        "TGSSADR J0\t10.5\t2.0\t-3.25\t2.1\t35.0\t4\t31.0\t3\t3.5\tR1\n",
        "tgss",
        ["TGSSADR J0", 10.5, -3.25, 2.0, 2.1, 35.0, 31.0],
    ),
    "racs of CASDA": (
        "catalogue_id,source_name,source_id,ra,dec,e_ra,e_dec,total_flux_source,e_total_flux_source,peak_flux,noise\n"
        "1,RACS J0,s1,10.5,-3.25,0.3,0.4,3.5,0.2,3.1,0.25\n",
        "racs-low",
        ["RACS J0", 10.5, -3.25, np.hypot(0.3, 0.5), np.hypot(0.4, 0.5), 3.5, 3.1],
    ),
    "racs-mid of CASDA": (
        "Name,Source_ID,Field_ID,RA,Dec,Dec_corr,E_RA,E_Dec,E_Dec_corr,Total_flux,E_Total_flux,Peak_flux\n"
        "RACS J0,s1,f1,10.5,-3.3,-3.25,0.3,0.4,0.5,3.5,0.2,3.1\n",
        "racs-mid",
        ["RACS J0", 10.5, -3.25, np.hypot(0.3, 0.65), np.hypot(0.5, 0.65), 3.5, 3.1],
    ),
    "gleam": (
        "Name,RAJ2000,DEJ2000,err_RAJ2000,err_DEJ2000,int_flux_wide,err_int_flux_wide,peak_flux_wide,alpha\n"
        "GLEAM J0,10.5,-3.25,0.0005,0.0005,1.2,0.1,1.1,-0.8\n",
        "gleam",
        ["GLEAM J0", 10.5, -3.25, 1.8, 1.8, 1200.0, 1100.0],
    ),
    "gleam-x": (
        "src_name,RAJ2000,DEJ2000,err_RAJ2000,err_DEJ2000,int_flux,err_int_flux,peak_flux,local_rms\n"
        "GLEAM-X J0,10.5,-3.25,0.0005,0.0005,0.12,0.01,0.11,0.001\n",
        "gleam-x",
        ["GLEAM-X J0", 10.5, -3.25, 1.8, 1.8, 120.0, 110.0],
    ),
    "sumss": (
        "00 42 00.00 -00 15 00.0  1.6  1.7   19.2  1.0   21.6  1.2  54.9 45.8   5.0  0.0 0.0 0.0 J0000M56 1 100 200\n"
        "00 43 00.00 -50 15 00.0  1.6  1.7   19.2  1.0   21.6  1.2  54.9 45.8   5.0  0.0 0.0 0.0 J0000M56 1 100 200\n",
        "sumss",
        [None, 10.5, -0.25, 1.6, 1.7, 21.6, 19.2],
    ),
    # In the columns that ObitTalk's script cuts the text of 2008 Mar 11 into.
    "sumss in its columns": (
        "00 42 00.00  -03 15 00.0   1.6  1.7      19.2    1.0      21.6    1.2    54.9  45.8   5.0     0.0   0.0   0.0"
        " J0000M04  1  100.0  200.0\n"
        "00 43 00.00  -50 15 00.0  11.6  1.7   10019.2    1.0   12021.6    1.2   154.9  45.8 175.0   140.2  10.0 174.0"
        " J0000M52  1  100.0  200.0\n",
        "sumss",
        [None, 10.5, -3.25, 1.6, 1.7, 21.6, 19.2],
    ),
    # Galactic positions between name and place, as VizieR's ReadMe of VIII/82 describes the text.
    "mgps with galactic positions": (
        "MGPS J004200-501500 304.9876543  -66.8765432 00 42 00.00 -50 15 00.0  1.6  1.7   19.2  1.0   21.6  1.2"
        "  54.9 45.8   5.0 0.0 0.0 0.0 J0000M56 1 10 20\n",
        "mgps",
        ["J004200-501500", 10.5, -50.25, 1.6, 1.7, 21.6, 19.2],
    ),
    # Distance first, as ObitTalk's script and others read what the survey's search lists.
    "first as a search lists it": (
        "# 1 source within 30.0 arcsec\n"
        "1.2 00 42 00.000 -03 15 00.00 0.014 3.10 3.50 0.14 5.0 4.0 10.0 6.0 5.0 10.0 00420-03150E 1 0.2 17.2 g\n",
        "first",
        [None, 10.5, -3.25, np.nan, np.nan, 3.5, 3.1],
    ),
    "mgps": (
        "J004200-501500 00 42 00.00 -50 15 00.0  1.6  1.7   19.2  1.0   21.6  1.2  54.9 45.8   5.0 J0000M56\n",
        "mgps",
        ["J004200-501500", 10.5, -50.25, 1.6, 1.7, 21.6, 19.2],
    ),
    "first": (
        "# FIRST catalog, version 2014dec17\n#\n#  RA          Dec        Side  Peak Int. RMS\n"
        "00 42 00.000 -03 15 00.00 0.014 3.10 3.50 0.14 5.0 4.0 10.0 6.0 5.0 10.0 00420-03150E\n",
        "first",
        [None, 10.5, -3.25, np.nan, np.nan, 3.5, 3.1],
    ),
    "first of 2001, without probabilities": (
        "00 42 00.000 -03 15 00.00       3.10      3.50   0.140   5.00   4.00  10.0   6.00   5.00  10.0 00420-03150E\n",
        "first",
        [None, 10.5, -3.25, np.nan, np.nan, 3.5, 3.1],
    ),
    "first of 1997, without fitted axes": (
        "00 42 00.000 -03 15 00.00       3.10      3.50   0.140   5.0   -4.0  10.0 00420-03150E\n",
        "first",
        [None, 10.5, -3.25, np.nan, np.nan, 3.5, 3.1],
    ),
    "gleam of vizier, without a preset": (
        "GLEAM,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,Fpwide,Fintwide,e_Fintwide,alpha\n"
        "J004200-031500,10.5,-3.25,1.5,2.5,0.0031,0.0035,0.0002,-0.8\n",
        None,
        ["J004200-031500", 10.5, -3.25, 1.5, 2.5, 3.5, 3.1],
    ),
    "mwacs of vizier": (
        "MWACS,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,S180,e_S180,SpInd\nJ0042.0-0315,10.5,-3.25,24,25,0.0035,0.001,-0.8\n",
        None,
        ["J0042.0-0315", 10.5, -3.25, 24.0, 25.0, 3.5, np.nan],
    ),
    "mrc of vizier": (
        "_RAJ2000,_DEJ2000,MRC,e_RA2000,e_DE2000,S408,e_S408\n10.5,-3.25,0039-035,0.3,5.0,0.0035,0.001\n",
        "mrc",
        ["0039-035", 10.5, -3.25, 4.5 * np.cos(np.radians(3.25)), 5.0, 3.5, np.nan],
    ),
    "nvss as a list": (
        "  RA(2000)  Dec(2000)   Flux   Major Minor  PA  Res P_Flux P_ang   Field\n"
        ' h  m    s    d  m   s   mJy    "     "     deg      mJy    deg\n'
        "00 42 00.00 -00  9  0.0    5.3 <63.3 <56.4              1.47        C0000P12\n"
        "       0.02         0.5    0.6                          0.46\n"
        "00 43 00.00 +00 15  0.0   15.3  63.3  56.4 -10          1.47        C0000P12\n"
        "       0.02         0.5    0.6   1.0   1.0              0.46\n",
        "nvss",
        [None, 10.5, -0.15, 0.3 * np.cos(np.radians(0.15)), 0.5, 5.3, np.nan],
    ),
    "nvss as a search lists it": (
        "00 42 00.00 -00  9  0.0  7814    5.3 <63.3 <56.4              1.47        C0000P12\n"
        "       0.02         0.5   -84    0.6                          0.46\n",
        "nvss",
        [None, 10.5, -0.15, 0.3 * np.cos(np.radians(0.15)), 0.5, 5.3, np.nan],
    ),
    "vlssr as a list": (
        "00 42 00.00 -03 15  0.0         1.20   78.2   75.1   10.1        0.16   0000-125\n"
        "       0.20         3.1         0.10    8.2    5.1\n",
        "vlssr",
        [None, 10.5, -3.25, 3.0 * np.cos(np.radians(3.25)), 3.1, 1200.0, np.nan],
    ),
    "vlssr of VizieR": (
        "RAJ2000\tDEJ2000\te_RAJ2000\te_DEJ2000\tSp\te_Sp\n"
        '"h:m:s"\t"d:m:s"\ts\tarcsec\tJy\tJy\n----\t----\t--\t--\t--\t--\n'
        "00 42 00.00\t-03 15 00.0\t0.2\t3.1\t1.2\t0.1\n",
        "vlssr",
        [None, 10.5, -3.25, 3.0 * np.cos(np.radians(3.25)), 3.1, 1200.0, 1200.0],
    ),
    "sumss with a title": (
        "; SUMSS\n"
        "00 42 00.00 -00 15 00.0  1.6  1.7   19.2  1.0   21.6  1.2  54.9 45.8   5.0  0.0 0.0 0.0 J0000M56 1 100 200\n",
        "sumss",
        [None, 10.5, -0.25, 1.6, 1.7, 21.6, 19.2],
    ),
    "psrcat as it is distributed": (
        "#CATALOGUE 2\nPSRJ     J0042-0315                  ref1\nRAJ      00:42:00.00    2            ref1\n"
        "DECJ     -03:15:00.0    3            ref1\nS1400    1.20           5            ref2\n@-----------\n"
        "PSRJ     J0043-0315                  ref1\nRAJ      00:43          2            ref1\n"
        "DECJ     -03:15         3            ref1\n@-----------\nPSRJ     J9999\nP0  1.0\n@-----------\n",
        "psrcat",
        ["J0042-0315", 10.5, -3.25, 0.3 * np.cos(np.radians(3.25)), 0.3, 1.2, np.nan],
    ),
    "mrc of VizieR": (
        '#RESOURCE=yCat_8016\nMRC;RAJ2000;DEJ2000;S408;e_S408\n ;"h:m:s";"d:m:s";Jy;Jy'
        "\n---;----------;---------;----;---\n0039-035;00 42 00.0;-03 15 00;1.2;0.1\n#END#\n",
        "mrc",
        ["0039-035", 10.5, -3.25, 5.0, 5.0, 1200.0, np.nan],
    ),
    "vlssr": (
        "VLSSr,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,Si,e_Si\n1,10.5,-3.25,3.0,3.1,1.2,0.1\n",
        "vlssr",
        ["1", 10.5, -3.25, 3.0, 3.1, 1200.0, np.nan],
    ),
    "lotss of the CDS": (
        "Source,RAdeg,e_RAdeg,DEdeg,e_DEdeg,Speak,e_Speak,SpeakTot,e_SpeakTot\n"
        "ILTJ004200.00-031500.0,10.5,0.3,-3.25,0.4,3.1,0.1,3.5,0.2\n",
        None,
        ["ILTJ004200.00-031500.0", 10.5, -3.25, 0.3, 0.4, 3.5, 3.1],
    ),
    "psrcat": (
        "#;NAME;PSRJ;RAJ;DECJ;S1400;PMRA;PMDEC;POSEPOCH\n;;;(hms);(dms);(mJy);(mas/yr);(mas/yr);(MJD)\n"
        "1;B0039-03;J0042-0315;00:42:00;-03:15:00;1.2;*;*;*\n2;J1;J1;00:43:00;-03:15;*;*;*;*\n",
        "psrcat",
        ["J0042-0315", 10.5, -3.25, 1.0, 1.0, 1.2, np.nan],
    ),
}


@pytest.mark.parametrize("survey", SURVEYS)
def test_surveys_as_they_are_published(tmp_path: Path, survey: str) -> None:
    text, preset, expected = SURVEYS[survey]
    (tmp_path / "it.txt").write_text(text)
    settings = {} if preset is None else {"preset": preset}
    table = reference(tmp_path / "it.txt", **settings).sort_values("ra_deg")
    got = table.iloc[0]
    if expected[0] is not None:
        assert got["catalog_source_id"] == expected[0]
    for name, value in zip(VALUES[1:], expected[1:], strict=True):
        if not np.isnan(value) or "err" not in name:  # type: ignore[arg-type]
            assert got[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name
    if survey == "vlass":
        assert table["ra_deg"].tolist() == [10.5, 10.7]


README = """VIII/16    Molonglo Reference Catalogue (Large+)
================================================================================
File Summary:
--------------------------------------------------------------------------------
 FileName       Lrecl  Records   Explanations
--------------------------------------------------------------------------------
mrcj2000.dat       60       2    Catalog data
--------------------------------------------------------------------------------

Byte-by-byte Description of file: mrcj2000.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label   Explanations
--------------------------------------------------------------------------------
   1-  8  A8    ---     MRC     Name
  10- 11  I2    h       RAh     Right ascension EPOCH (hours)
  13- 14  I2    min     RAm     Right ascension EPOCH (minutes)
  16- 19  F4.1  s       RAs     Right ascension EPOCH (seconds)
      21  A1    ---     DE-     Declination EPOCH (sign)
  22- 23  I2    deg     DEd     Declination EPOCH (degrees)
  25- 26  I2    arcmin  DEm     Declination EPOCH (minutes)
  28- 29  I2    arcsec  DEs     Declination EPOCH (seconds)
  31- 35  F5.2  Jy      S408    ?=-9.99 Flux density
      36  A1  Jy/beam   ---     [ ] A unit that the CDS does not know, in a column without a name
      37  A1    ---     ---     [ ] Another one
--------------------------------------------------------------------------------
"""


@pytest.mark.parametrize("epoch", ["J2000", "B1950"])
def test_a_file_of_the_cds_beside_its_readme(tmp_path: Path, epoch: str, recwarn: pytest.WarningsRecorder) -> None:
    """Columns that are nobody's are all called ``---``, as in the ReadMe of G4Jy (VIII/105)."""
    (tmp_path / "ReadMe").write_text(README.replace("EPOCH", epoch))
    (tmp_path / "mrcj2000.dat").write_text("0039-003 00 42 00.0 -00 15 00  1.20\n0040 003 00 43 00.0  00 15 00 -9.99\n")
    table = reference(tmp_path / "mrcj2000.dat", preset="mrc").set_index("catalog_source_id")
    frame = "icrs" if epoch == "J2000" else "fk4"
    true = SkyCoord([10.5, 10.75], [-0.25, 0.25], unit="deg", frame=frame).icrs
    got = table.loc[["0039-003", "0040 003"]]
    found = SkyCoord(got["ra_deg"].to_numpy(), got["dec_deg"].to_numpy(), unit="deg")
    assert found.separation(true).arcsec.max() < 1e-4
    assert got["flux_mjy"].tolist() == pytest.approx([1200.0, np.nan], nan_ok=True)
    assert not recwarn.list


def test_a_catalog_whose_readme_changed_is_another(tmp_path: Path) -> None:
    (tmp_path / "mrcj2000.dat").write_text("0039-003 00 42 00.0 -00 15 00  1.20\n")
    (tmp_path / "contimg.yaml").write_text("catalogs: {mrc: {preset: mrc, path: mrcj2000.dat}}\n")
    config = load_config(tmp_path / "contimg.yaml")
    versions = [catalog_input_version(config, "mrc")]
    for text in ("Of another file.", README.replace("EPOCH", "J2000"), README.replace("EPOCH", "B1950")):
        (tmp_path / "ReadMe").write_text(text)
        versions.append(catalog_input_version(config, "mrc"))
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_a_table_of_a_journal_describes_itself(tmp_path: Path) -> None:
    rule = "-" * 80
    text = README.split("\n\n")[1].replace("EPOCH", "J2000") + "0039-003 00 42 00.0 -00 15 00  1.20\n"
    (tmp_path / "t.txt").write_text(f"Title: Sources\nTable: All\n{'=' * 80}\n{text}")
    assert rule in text
    got = reference(tmp_path / "t.txt", preset="mrc").iloc[0]
    assert got["catalog_source_id"] == "0039-003"
    assert got[["ra_deg", "dec_deg", "flux_mjy"]].tolist() == pytest.approx([10.5, -0.25, 1200.0])


def test_columns_with_their_units_in_brackets(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("Name,RA (hours),Dec [deg],Flux (Jy),RA(J2000)\nA,0.7,-3.25,1.2,0\n")
    got = reference(tmp_path / "x.csv").iloc[0]
    assert got[["ra_deg", "dec_deg", "flux_mjy"]].tolist() == pytest.approx([10.5, -3.25, 1200.0])


def test_islands_are_said_to_be_islands(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "island,components,background,local_rms,ra,dec,peak_flux,int_flux,err_int_flux,max_angular_size\n"
        "1,2,0,0.001,10.5,-3.25,1.1,1.2,0.1,3\n"
    )
    found = inspect_file(tmp_path / "x.csv", Ingest())
    assert (found.read_as, found.format) == ("reference", "islands of Aegean")
    assert "this is Aegean's catalog of islands; deliver its catalog of components" in found.refused
    assert found.first["flux_mjy"].tolist() == [1200.0]
    assert any("its rows are islands" in one for one in found.warnings)


def test_other_tables_with_positions_are_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        for name in ("one", "two"):
            pd.DataFrame({"name": ["A"], "ra": [10.5], "dec": [-3.25], "flux": [1.0]}).to_sql(name, connection)
    connection.close()
    config = CatalogConfig(path=tmp_path / "x.db", freq_mhz=1e3)
    assert "2 of its tables have positions, and only one is read" in inspect_reference(config.path, config).warnings[0]
    chosen = config.model_copy(update={"table": "two"})
    assert not any("tables" in one for one in inspect_reference(config.path, chosen).warnings)


@pytest.mark.parametrize("kind", ["fits", "parquet", "csv"])
def test_degrees_of_minus_zero_keep_their_sign(tmp_path: Path, kind: str) -> None:
    """Parts of positions as numbers: so do tools write them that split a column."""
    table = pd.DataFrame({"Name": ["A", "B", "C"], "RAh": [0.0, 0.0, 23.0], "RAm": [42.0] * 3, "RAs": [0.0] * 3})
    table = table.assign(DEd=[-0.0, 0.0, -2.0], DEm=[15.0] * 3, DEs=[0.0] * 3)
    file = tmp_path / f"it.{kind}"
    if kind == "fits":
        Table.from_pandas(table).write(file)
    else:
        getattr(table, f"to_{kind}")(file, index=False)
    got = reference(file).set_index("catalog_source_id").loc[["A", "B", "C"]]
    assert got["dec_deg"].tolist() == pytest.approx([-0.25, 0.25, -2.25])
    assert got["ra_deg"].tolist() == pytest.approx([10.5, 10.5, 355.5])


def test_numbers_that_stand_for_none(tmp_path: Path) -> None:
    rows = ["A,10,1,5.5,0.1,4", "B,11,1,-999,-99,1e20", "C,12,1,inf,0.2,3", "D,400,1,2,0.2,3", "E,-999,1,2,0.2,3"]
    (tmp_path / "x.csv").write_text("\n".join(["name,ra,dec,flux,flux_err,peak_flux", *rows]) + "\n")
    got = reference(tmp_path / "x.csv").set_index("catalog_source_id")
    assert sorted(got.index) == ["A", "B", "C"]
    nothing = got[["flux_mjy", "flux_err_mjy", "flux_peak_mjy_beam"]].isna()
    assert nothing.loc["A"].tolist() == [False] * 3
    assert nothing.loc["B"].tolist() == [True] * 3
    assert nothing.loc["C"].tolist() == [True, False, False]
    config = CatalogConfig(path=tmp_path / "x.csv", freq_mhz=1e3)
    assert inspect_reference(config.path, config).set_aside == {
        "the right ascension is not from -180 to 360 degrees": 2
    }


def test_vectors_of_several_lengths_are_not_asked_for(tmp_path: Path) -> None:
    columns = [fits.Column("name", "1A", array=["A", "B"]), fits.Column("ra", "D", array=[10.0, 11.0])]
    columns += [fits.Column("dec", "D", array=[1.0, 2.0]), fits.Column("peak_flux", "D", array=[3.0, 4.0])]
    columns.append(fits.Column("flux", "PD()", array=np.array([np.ones(1), np.ones(3)], dtype=object)))
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "x.fits")
    got = reference(tmp_path / "x.fits")
    assert got["flux_peak_mjy_beam"].tolist() == [3.0, 4.0]
    assert got["flux_mjy"].isna().all()


def test_the_sign_of_a_declination_in_a_column_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "it.csv").write_text("Name,RAh,RAm,RAs,DE-,DEd,DEm,DEs\nA,0,42,0.0,-,0,15,0\nB,0,42,0.0,+,0,15,0\n")
    got = reference(tmp_path / "it.csv").set_index("catalog_source_id")
    assert got.loc["A", ["ra_deg", "dec_deg"]].tolist() == pytest.approx([10.5, -0.25])
    assert got.loc["B", "dec_deg"] == pytest.approx(0.25)
    config = CatalogConfig(path=tmp_path / "it.csv", freq_mhz=1e3)
    assert inspect_reference(config.path, config).ignored == ()


@pytest.mark.parametrize(("names", "frame"), [(("GLON", "GLAT"), "galactic"), (("RAB1950", "DEB1950"), "fk4")])
def test_positions_in_other_frames(tmp_path: Path, names: tuple[str, str], frame: str) -> None:
    sky = SkyCoord([10.5, 200.0], [-3.25, 60.0], unit="deg")
    there = sky.transform_to(frame).spherical
    pd.DataFrame({"Name": ["A", "B"], names[0]: there.lon.deg, names[1]: there.lat.deg}).to_csv(tmp_path / "it.csv")
    got = reference(tmp_path / "it.csv").set_index("catalog_source_id").loc[["A", "B"]]
    assert SkyCoord(got["ra_deg"].to_numpy(), got["dec_deg"].to_numpy(), unit="deg").separation(sky).arcsec.max() < 1e-3


def test_proper_motions_are_followed(tmp_path: Path) -> None:
    star = {"source_id": [1], "ra": [10.5], "dec": [60.0], "ra_error": [0.1], "dec_error": [0.1], "ref_epoch": [2016.0]}
    star |= {"pmra": [3000.0], "pmdec": [-5000.0], "pmra_error": [20.0], "pmdec_error": [30.0]}
    pd.DataFrame(star).to_csv(tmp_path / "gaia.csv", index=False)
    mjd = Time(2026.0, format="jyear").mjd
    stays, goes = (reference(tmp_path / "gaia.csv", positions_at_mjd=at).iloc[0] for at in (None, mjd))
    assert stays[["ra_deg", "dec_deg"]].tolist() == [10.5, 60.0]
    assert (goes["dec_deg"] - 60.0) * 3600 == pytest.approx(-50.0, abs=0.01)
    assert (goes["ra_deg"] - 10.5) * 3600 * np.cos(np.radians(60.0)) == pytest.approx(30.0, abs=0.02)
    assert goes[["ra_err_arcsec", "dec_err_arcsec"]].tolist() == pytest.approx([0.2, 0.3], abs=1e-3)


@pytest.mark.parametrize(
    ("unit", "motion", "epoch", "mjd"),
    [
        ("mas/yr", "100.0", "2016.0", 57388.5),
        ("arcsec/yr", "0.1", "1991.25", 48348.5625),
        ("mas.yr**-1", "100.0", "J2000.0", 51544.5),
        ("mas/yr", "100.0", "B1950", 33282.0),
        ("mas/yr", "100.0", "2448349.0625", 48348.5625),
        ("mas/yr", "100.0", "51544.5", 51544.5),
    ],
)
def test_units_and_epochs_of_proper_motions(tmp_path: Path, unit: str, motion: str, epoch: str, mjd: float) -> None:
    (tmp_path / "it.csv").write_text(f"name,ra,dec,pmra [{unit}],pmdec [{unit}],epoch\nA,45,-3,{motion},0,{epoch}\n")
    (row,) = reference(tmp_path / "it.csv").to_dict("records")
    assert (row["pm_ra_mas_yr"], row["measured_mjd"]) == (pytest.approx(100.0), mjd)


@pytest.mark.parametrize(
    ("unit", "motion", "epoch", "said"),
    [
        ("s/yr", "0.1", "2000", "is in 's/yr', which is no unit of a proper motion on the sky"),
        ("mas/yr", "0.1", "16.0", "16 is neither a year from 1800 to 2200 nor a date"),
        ("mas/yr", "0.1", "VLASS1", "'VLASS1' is not a number"),
        ("mas/yr", "fast", "2000", "'fast' is not a number"),
    ],
)
def test_motions_that_would_move_sources_anywhere_are_refused(
    tmp_path: Path, unit: str, motion: str, epoch: str, said: str
) -> None:
    (tmp_path / "it.csv").write_text(f"name,ra,dec,pmra [{unit}],pmdec [{unit}],epoch\nA,45,-3,{motion},0,{epoch}\n")
    with pytest.raises(InputError, match=re.escape(said)):
        reference(tmp_path / "it.csv")


def test_a_text_without_a_header_may_be_packed(tmp_path: Path) -> None:
    """As SUMSS publishes its catalog."""
    text = SURVEYS["sumss"][0].encode()
    (tmp_path / "sumsscat.gz").write_bytes(build.gzipped(text))
    (tmp_path / "sumsscat").write_bytes(text)
    packed = reference(tmp_path / "sumsscat.gz", preset="sumss")
    pd.testing.assert_frame_equal(packed, reference(tmp_path / "sumsscat", preset="sumss"))


def test_columns_above_dashes_and_hours(tmp_path: Path) -> None:
    """VizieR's text in fixed columns: cells may hold blanks, or nothing."""
    rows = ["Name     RAJ2000     DEJ2000     S1.4  ", '         "h:m:s"     "d:m:s"     Jy    ']
    rows += ["-------- ----------- ----------- ------", "A b      00 42 00.00 -03 15 00.0   1.5"]
    rows += ["C        00 43 00.00 -03 15 00.0       ", "# the end", ""]
    (tmp_path / "it.txt").write_text("# text\n" + "\n".join(rows))
    got = reference(tmp_path / "it.txt", columns={"flux_mjy": {"column": "S1.4"}}).set_index("catalog_source_id")
    assert got.loc["A b", ["ra_deg", "dec_deg", "flux_mjy"]].tolist() == pytest.approx([10.5, -3.25, 1500.0])
    assert np.isnan(got.loc["C", "flux_mjy"])
    (tmp_path / "it.csv").write_text("name,ra,dec\nA,0.7,-3.25\n")
    hours = reference(tmp_path / "it.csv", columns={"ra_deg": {"column": "ra", "unit": "hourangle"}})
    assert hours["ra_deg"].tolist() == pytest.approx([10.5])


# --- one reader ---------------------------------------------------------------------------------------------------

SKY = build.sky(30)


def sqlite(path: Path) -> bytes:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        SKY.to_sql("anything", connection, index=False)
    connection.close()
    return path.read_bytes()


def ecsv(path: Path) -> bytes:
    Table.from_pandas(SKY).write(path, format="ascii.ecsv", overwrite=True)
    return path.read_bytes()


def votable(frame: pd.DataFrame) -> bytes:
    """Written by hand: astropy 7 can crash the interpreter when it writes and reads VOTables of integers in turn."""
    kinds = {"str": 'datatype="char" arraysize="*"', "float64": 'datatype="double"', "int64": 'datatype="long"'}
    fields = "".join(f'<FIELD name="{name}" {kinds[str(frame[name].dtype)]}/>' for name in frame)
    rows = "".join(
        "<TR>" + "".join(f"<TD>{value}</TD>" for value in row) + "</TR>" for row in frame.itertuples(index=False)
    )
    head = '<?xml version="1.0"?><VOTABLE version="1.3"><RESOURCE><TABLE>'
    return f"{head}{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>\n".encode()


PLACES = SkyCoord(SKY["ra_deg"], SKY["dec_deg"], unit="deg")


def framed(path: Path, frame: str, **keys: object) -> bytes:
    """A FITS table that states its frame."""
    there = PLACES.transform_to(frame).spherical
    build.fits_bytes(SKY.assign(ra_deg=there.lon.deg, dec_deg=there.lat.deg), path)
    with fits.open(path, mode="update") as hdus:
        hdus[1].header.update(keys)
    return path.read_bytes()


def sexagesimal() -> pd.DataFrame:
    return SKY.assign(
        ra_deg=PLACES.ra.to_string("hour", sep=":", precision=7, pad=True),
        dec_deg=PLACES.dec.to_string(sep=":", precision=6, alwayssign=True, pad=True),
    )


def racs() -> pd.DataFrame:
    names = {"component_id": "Source_ID", "ra_deg": "RA", "dec_deg": "Dec", "ra_err_arcsec": "E_RA"}
    names |= {"dec_err_arcsec": "E_Dec", "flux_int_mjy": "Total_flux_Source", "flux_peak_mjy_beam": "Peak_flux"}
    return SKY[list(names)].rename(columns=names)


def sky_model() -> bytes:
    lines = ["Format = Name, Type, Ra, Dec, I"]
    declinations = PLACES.dec.to_string(sep=".", precision=6, alwayssign=True, pad=True)
    for name, ra, dec, flux in zip(
        SKY["component_id"], sexagesimal()["ra_deg"], declinations, SKY["flux_int_mjy"], strict=True
    ):
        lines.append(f"{name}, POINT, {ra}, {dec}, {flux / 1e3!r}")
    return "\n".join([*lines, ""]).encode()


def with_ids(content: bytes) -> bytes:
    """A VOTable whose IDs are others than its names, as CASDA has it."""
    return content.replace(b'<FIELD name="', b'<FIELD ID="col_" name="', 1)


def parquet(path: Path) -> bytes:
    SKY.to_parquet(path)
    return path.read_bytes()


def below(line: str, content: bytes) -> bytes:
    """A text with a line below its header."""
    header, _, rows = content.decode().partition("\n")
    return f"{header}\n{line}\n{rows}".encode()


def declared(encoding: str, content: bytes) -> bytes:
    """A VOTable in an encoding that its first line names."""
    named = content.decode().replace('version="1.0"', f'version="1.0" encoding="{encoding}"', 1)
    return named.encode(encoding)


def markdown() -> bytes:
    header, *rows = build.csv(SKY).decode().splitlines()
    lines = [header, ",".join([":---"] * len(SKY.columns)), *rows]
    return "".join(f"|{line.replace(',', ' | ')}|\n" for line in lines).encode()


def written_by_astropy(format: str) -> bytes:
    text = io.StringIO()
    Table.from_pandas(SKY).write(text, format=format)
    return text.getvalue().encode()


def in_jansky() -> Table:
    """Fluxes in another unit than their names say, as astropy's tables may have them."""
    table = Table.from_pandas(SKY)
    table["flux_int_mjy"] = table["flux_int_mjy"] / 1e3
    table["flux_int_mjy"].unit = "Jy"
    return table


def parquet_of_astropy(path: Path) -> bytes:
    in_jansky().write(path, format="parquet", overwrite=True)
    return path.read_bytes()


def parquet_of_topcat(path: Path) -> bytes:
    """Parquet with a VOTable for its description (the standard VOParquet)."""
    fields = votable(SKY).replace(b'name="flux_int_mjy"', b'name="flux_int_mjy" unit="Jy"')
    described = re.sub(rb"<DATA>.*</DATA>", b"", fields)
    table = pa.Table.from_pandas(SKY.assign(flux_int_mjy=SKY["flux_int_mjy"] / 1e3), preserve_index=False)
    metadata = {b"IVOA.VOTable-Parquet.version": b"1.0", b"IVOA.VOTable-Parquet.content": described}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path.read_bytes()


def in_parts() -> pd.DataFrame:
    ra, dec = sexagesimal()["ra_deg"].str.split(":", expand=True), sexagesimal()["dec_deg"].str.split(":", expand=True)
    parts = dict(zip(("RA_h", "RA_m", "RA_s", "DEC_d", "DEC_m", "DEC_s"), (*ra.T.values, *dec.T.values), strict=True))
    return SKY.drop(columns=["ra_deg", "dec_deg"]).assign(**parts)


def superscript() -> pd.DataFrame:
    letters = {"ra_deg": "ʰᵐˢ", "dec_deg": "º′″"}
    written = {
        name: sexagesimal()[name].str.replace(r"(.+):(.+):(.+)", rf"\1{a}\2{b}\3{c}", regex=True)
        for name, (a, b, c) in letters.items()
    }
    return SKY.assign(**written)


def at_mysql() -> bytes:
    header, *rows = build.csv(SKY).decode().splitlines()
    rule = "+-" * len(SKY.columns) + "+"
    lines = [rule, *(f"| {line.replace(',', ' | ')} |" for line in (header,)), rule]
    lines += [*(f"| {line.replace(',', ' | ')} |" for line in rows), rule, f"{len(rows)} rows in set (0.00 sec)", ""]
    return "\n".join(lines).encode()


def joined() -> bytes:
    """Files put one behind the other, each with its header."""
    return build.csv(SKY[:10]) + build.csv(SKY[10:20]) + build.csv(SKY[20:])


UNITS = {"ra_deg": "deg", "dec_deg": "deg", "ra_err_arcsec": "arcsec", "flux_int_mjy": "mJy"}
SAMPLES: dict[str, Callable[[Path], bytes]] = {
    "our.parquet": parquet,
    "bars.txt": lambda path: build.csv(SKY, sep="|"),
    "blanks.txt": lambda path: build.csv(SKY, sep=" "),
    "commented.txt": lambda path: b"% by hand\n# with care\n" + build.csv(SKY),
    "marked.txt": lambda path: b"! by hand\n" + build.csv(SKY),
    "commented_header.txt": lambda path: b"# by hand\n# " + build.csv(SKY, sep=" "),
    "units.csv": lambda path: below(",".join(UNITS.get(name, "") for name in SKY), build.csv(SKY)),
    "bracketed.csv": lambda path: build.csv(SKY.rename(columns={n: f"{n} [{unit}]" for n, unit in UNITS.items()})),
    "capitals.csv": lambda path: build.csv(SKY.rename(columns=str.upper)),
    "quoted.txt": lambda path: build.csv(SKY.assign(component_id='"' + SKY["component_id"] + '"'), sep=" ").replace(
        b'"""', b'"'
    ),
    "carriage.csv": lambda path: b"\xef\xbb\xbf" + build.csv(SKY).replace(b"\n", b"\r\n"),
    "fk5.fits": lambda path: framed(path, "fk5", RADESYS="FK5", EQUINOX=2000.0),
    "fk4.fits": lambda path: framed(path, "fk4", RADESYS="FK4", EQUINOX=1950.0),
    "icrs.fits": lambda path: framed(path, "icrs", RADESYS="ICRS"),
    "sexagesimal.csv": lambda path: build.csv(sexagesimal()),
    "hours.csv": lambda path: build.csv(SKY.assign(ra_deg=SKY["ra_deg"] / 15).rename(columns={"ra_deg": "ra_deg (h)"})),
    "racs.csv": lambda path: build.csv(racs()),
    "cirada.csv": lambda path: build.csv(build.cirada_table(SKY)),
    "cirada_small.csv": lambda path: build.csv(build.cirada_table(SKY).rename(columns=str.lower)),
    "cirada.fits": lambda path: build.fits_bytes(build.cirada_table(SKY), path),
    "racs.fits": lambda path: build.fits_bytes(racs(), path),
    "model.txt": lambda path: sky_model(),
    "selavy.xml": lambda path: votable(build.finder_table(SKY, build.SELAVY)),
    "ids.xml": lambda path: with_ids(votable(build.finder_table(SKY, build.SELAVY))),
    "aegean_renamed.csv": lambda path: build.csv(
        build.aegean_table(SKY).assign(background=0.0).rename(columns={"ra": "RAJ2000", "dec": "DEJ2000"})
    ),
    "pybdsf.fits": lambda path: build.fits_bytes(build.pybdsf_table(SKY), path),
    "pybdsf_gaul.csv": lambda path: build.csv(build.pybdsf_table(SKY, True)),
    "our.csv": lambda path: build.csv(SKY),
    "semicolon.csv": lambda path: build.csv(SKY, sep=";"),
    "commas.csv": lambda path: commas(SKY, sep=";"),
    "quoted_commas.csv": lambda path: commas(SKY),
    "tab.txt": lambda path: build.csv(SKY, sep="\t"),
    "packed.csv.gz": lambda path: build.gzipped(build.csv(SKY)),
    "our.xml": lambda path: votable(SKY),
    "our.fits": lambda path: build.fits_bytes(SKY, path),
    "our.ecsv": ecsv,
    "our.sqlite": sqlite,
    "selavy.txt": lambda path: build.selavy_text(SKY),
    "selavy_plain.txt": lambda path: build.selavy_text(SKY, commented=False),
    "selavy.csv": lambda path: build.csv(build.finder_table(SKY, build.SELAVY)),
    "aegean.csv": lambda path: build.csv(build.aegean_table(SKY)),
    "aegean.fits": lambda path: build.fits_bytes(build.aegean_table(SKY), path),
    "pybdsf.csv": lambda path: build.csv(build.pybdsf_table(SKY)),
    "pybdsf_gaul.xml": lambda path: votable(build.pybdsf_table(SKY, True)),
    "pybdsf_comments.csv": lambda path: b"# Generated by PyBDSF\n\n# " + build.csv(build.pybdsf_table(SKY), sep=";"),
    "negative.csv": lambda path: build.csv(SKY.assign(ra_deg=SKY["ra_deg"] - 360 * (SKY["ra_deg"] > 180))),
    "utf16.csv": lambda path: build.csv(SKY).decode().encode("utf-16"),
    "utf16.xml": lambda path: declared("utf-16", votable(SKY)),
    "latin1.xml": lambda path: declared("iso-8859-1", votable(SKY.assign(component_id=SKY["component_id"] + "é"))),
    "latin1_comment.csv": lambda path: "# Göttingen, in µJy\n".encode("latin-1") + build.csv(SKY),
    "typeset.csv": lambda path: build.csv(SKY).replace(b"-", "−".encode()),
    "excel.csv": lambda path: b"sep=;\r\n" + build.csv(SKY, sep=";").replace(b"\n", b"\r\n") + b"\x1a",
    "delimiters_last.csv": lambda path: build.csv(SKY).replace(b"\n", b",\n").replace(b",\n", b"\n", 1),
    "markdown.md": lambda path: markdown(),
    "two_lines.txt": lambda path: written_by_astropy("ascii.fixed_width_two_line"),
    "our.rdb": lambda path: written_by_astropy("ascii.rdb"),
    "joined.csv": lambda path: joined(),
    "joined.txt": lambda path: joined().replace(b",", b" "),
    "restructured.txt": lambda path: written_by_astropy("ascii.rst"),
    "mysql.txt": lambda path: at_mysql(),
    "tst.txt": lambda path: build.csv(SKY, sep="\t") + b"[EOD]\n",
    "psql.txt": lambda path: build.csv(SKY, sep="|") + b"(30 rows)\n",
    "astropy.parquet": parquet_of_astropy,
    "topcat.parquet": parquet_of_topcat,
    "parts.csv": lambda path: build.csv(in_parts()),
    "superscript.csv": lambda path: build.csv(superscript()),
    "dashes.csv": lambda path: build.csv(SKY).replace(b"-", "–".encode()),
    "quoted_units.fits": lambda path: build.fits_bytes(SKY, path, {"ra_deg": "'deg'", "flux_int_mjy": "'mJy'"}),
    "radians.fits": lambda path: build.fits_bytes(
        SKY.assign(ra_deg=np.radians(SKY["ra_deg"]), dec_deg=np.radians(SKY["dec_deg"])),
        path,
        {"ra_deg": "RADIANS", "dec_deg": "rad"},
    ),
    "capitals.fits": lambda path: build.fits_bytes(SKY, path, {"ra_deg": "DEGREE", "flux_peak_mjy_beam": "mJy/BEAM"}),
}


MORE = {name: make for name, make in GOOD.items() if name not in SAMPLES}


@pytest.mark.parametrize("name", list(MORE))
def test_samples_of_other_tests_are_read_as_references_too(tmp_path: Path, name: str) -> None:
    folder = build.epoch_folder(tmp_path, MORE[name](tmp_path / "t"), name)
    detections = read_epoch(folder, "e1", Config(root=tmp_path)).detections.sort_values(["ra_deg", "dec_deg"])
    columns = {} if name.endswith(".txt") else {"flux_mjy": {"column": "flux_int_mjy"}}
    table = reference(folder / name, columns=columns).sort_values(["ra_deg", "dec_deg"])
    for theirs, ours in (("flux_mjy", "flux_int_mjy"), *((same, same) for same in VALUES[1:5])):
        np.testing.assert_allclose(table[theirs], detections[ours], rtol=1e-12, err_msg=theirs)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_delivery_is_read_as_a_reference_with_the_same_result(tmp_path: Path, name: str) -> None:
    folder = build.epoch_folder(tmp_path, SAMPLES[name](tmp_path / "t"), name)
    detections = read_epoch(folder, "e1", Config(root=tmp_path)).detections.sort_values(["ra_deg", "dec_deg"])
    assert len(detections) == len(SKY)
    # Floors and noise aside, which are of surveys.
    theirs = next((one for one in _names(folder / name) if one.lower().startswith("flux_int_mjy")), None)
    table = reference(folder / name, columns={} if theirs is None else {"flux_mjy": {"column": theirs}})
    table = table.sort_values(["ra_deg", "dec_deg"])
    for theirs, ours in (("flux_mjy", "flux_int_mjy"), *((same, same) for same in VALUES[1:5]), (VALUES[6], VALUES[6])):
        # Where nothing is known, an error of the configuration stands for it in a reference.
        given = detections[ours].notna().to_numpy()
        assert given.all() or "err" in theirs or "peak" in theirs
        np.testing.assert_allclose(table[theirs][given], detections[ours][given], rtol=1e-12, err_msg=theirs)
    true = SKY.sort_values(["ra_deg", "dec_deg"])
    np.testing.assert_allclose(detections["flux_int_mjy"], true["flux_int_mjy"], rtol=1e-6)
    places = SkyCoord(true["ra_deg"].to_numpy(), true["dec_deg"].to_numpy(), unit="deg")
    found = SkyCoord(detections["ra_deg"].to_numpy(), detections["dec_deg"].to_numpy(), unit="deg")
    assert found.separation(places).arcsec.max() < 1e-3


def commas(table: pd.DataFrame, **keywords: object) -> bytes:
    return build.csv(table, decimal=",", **keywords)


def test_decimal_commas_are_read_and_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(commas(SKY, sep=";"))
    found = inspect_file(tmp_path / "x.csv", Ingest())
    assert (found.read_as, found.kind) == ("detections", "text parted by semicolons, with decimal commas")
    assert not found.set_aside
    survey = SKY.rename(columns={"component_id": "name", "flux_int_mjy": "flux"})[["name", "ra_deg", "dec_deg", "flux"]]
    (tmp_path / "r.csv").write_bytes(commas(survey, sep=";"))
    assert inspect_file(tmp_path / "r.csv", Ingest()).kind == "text parted by semicolons, with decimal commas"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["A;10,500;-3,250;1,200", "B;11,500;-3,251;2,200"], "may be decimal ones or part thousands"),
        (["A;10.5;-3.25;1,25", "B;11.5;-3.26;2,5"], "'flux' has commas in its numbers (1,25), and 'ra' has points"),
        (["A;10.5;-3.25;1,25", "B;11.5;-3.26;2.5"], "'1,25' is not a number"),
        (["A;10,5;-3,25;1.200,5", "B;11,5;-3,26;2,5"], "'ra' has commas in its numbers (10,5), and 'flux' has"),
    ],
)
def test_commas_that_may_mean_something_else_are_refused(tmp_path: Path, rows: list[str], said: str) -> None:
    (tmp_path / "x.csv").write_text("\n".join(["name;ra;dec;flux", *rows, ""]))
    with pytest.raises(InputError) as error:
        reference(tmp_path / "x.csv")
    assert said in str(error.value)


def test_a_zero_that_leads_is_no_thousand(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("name;ra;dec;flux\nA;0,125;-0,250;1,200\n")
    got = reference(tmp_path / "x.csv").iloc[0]
    assert got[["ra_deg", "dec_deg", "flux_mjy"]].tolist() == [0.125, -0.25, 1.2]


def test_one_comma_among_points_sets_one_row_aside(tmp_path: Path) -> None:
    content = build.csv(SKY, sep=";").decode().splitlines()
    cells = content[3].split(";")
    at = list(SKY).index("flux_int_mjy")
    cells[at] = cells[at].replace(".", ",")
    content[3] = ";".join(cells)
    (tmp_path / "x.csv").write_text("\n".join([*content, ""]))
    assert inspect_file(tmp_path / "x.csv", Ingest()).set_aside == {"a number belongs here, not text": 1}


FLAGGED = pd.DataFrame(
    {"Duplicate_flag": [0.0, 1.0, 2.0, 0.0, 0.0, np.nan], "Quality_flag": [0.0, 4.0, 0.0, 2.0, 7.0, np.nan]}
)
"""Flags of six components; rows 3, 4 and 5 are no components of their own."""


@pytest.mark.parametrize("at_vizier", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_flags_of_vlass_set_the_same_rows_aside_in_deliveries_and_references(
    tmp_path: Path, small: bool, at_vizier: bool
) -> None:
    table = build.cirada_table(SKY[:6]).assign(**FLAGGED)
    # A duplicate is called as the row that it is a duplicate of.
    table.loc[2, "Component_name"] = table.loc[0, "Component_name"]
    if at_vizier:
        names = {"Component_name": "CompName", "RA": "RAJ2000", "DEC": "DEJ2000", "E_RA": "e_RAJ2000"}
        names |= {"E_DEC": "e_DEJ2000", "Total_flux": "Ftot", "Peak_flux": "Fpeak", "Isl_rms": "Islrms"}
        names |= {"Duplicate_flag": "DupFlag", "Quality_flag": "QualFlag", "E_Total_flux": "e_Ftot"}
        table = table.rename(columns=names)
    content = build.csv(table.rename(columns=str.lower) if small else table)
    folder = build.epoch_folder(tmp_path, content, "field.csv")
    epoch = read_epoch(folder, "e1", Config(root=tmp_path))
    kept = SKY[:6].drop(index=[2, 3, 4]).sort_values("ra_deg")
    got = epoch.detections.sort_values("ra_deg")
    same = ["component_id", "ra_deg", "dec_deg", "ra_err_arcsec", "dec_err_arcsec", "flux_int_mjy"]
    pd.testing.assert_frame_equal(got[same].reset_index(drop=True), kept[same].reset_index(drop=True), rtol=1e-9)
    rejected = epoch.rejected.sort_values("line")
    assert rejected["line"].tolist() == [4, 5, 6]
    assert [reason.split(" the row as ")[1].split(" of ")[0] for reason in rejected["reason"]] == [
        *("a duplicate", "a likely sidelobe or a bad fit", "a likely sidelobe or a bad fit")
    ]
    assert rejected["value"].tolist() == ["2", "2", "7"]
    assert not rejected["damaged"].any()
    settings = {} if not at_vizier else {"preset": "vlass", "position_err_floor_arcsec": 0.0}
    table = reference(folder / "field.csv", **settings).sort_values("ra_deg")
    assert table["catalog_source_id"].tolist() == got["component_id"].tolist()
    for theirs, ours in (
        ("flux_mjy", "flux_int_mjy"),
        *((name, name) for name in same[1:5]),
    ):
        assert table[theirs].tolist() == pytest.approx(got[ours].tolist(), rel=1e-12), theirs


def test_tables_of_surveys_in_small_letters_are_not_those_of_a_finder(tmp_path: Path) -> None:
    """PyBDSF's units are others: Jy, and deg for axes."""
    table = build.cirada_table(SKY).drop(columns=["Duplicate_flag", "Quality_flag"]).rename(columns=str.lower)
    (tmp_path / "x.csv").write_bytes(build.csv(table))
    found = inspect_file(tmp_path / "x.csv", Ingest())
    assert (found.read_as, found.format) == ("reference", "")


def _names(path: Path) -> list[str]:
    return inspect_file(path, Ingest()).columns["theirs"].tolist()


# --- what is said of a file ---------------------------------------------------------------------------------------


def test_inspect_says_what_is_taken_and_what_is_not_there(tmp_path: Path) -> None:
    table = build.pybdsf_table(SKY).drop(columns="E_Maj")
    table.loc[0, "Maj"] = -1.0
    (tmp_path / "x.csv").write_bytes(build.csv(table))
    found = inspect_file(tmp_path / "x.csv", Ingest())
    assert (found.read_as, found.format, found.kind, found.n_rows) == (
        "detections",
        "pybdsf",
        "text parted by commas",
        30,
    )
    columns = found.columns.set_index("ours")
    assert columns.loc["flux_int_mjy", ["theirs", "unit", "unit_from", "converted"]].tolist() == [
        *("Total_flux", "Jy", "pybdsf", "x 1000 to mJy")
    ]
    assert found.missing["bmaj_err_arcsec"] == ("E_Maj",)
    assert found.set_aside == {"the value -1 of PyBDSF: the fit failed": 1}
    assert len(found.first) == 5
    assert found.ignored == ("S_Code",)


def test_inspect_of_a_reference_says_why_it_is_no_delivery(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(SURVEYS["gleam"][0])
    found = inspect_file(tmp_path / "x.csv", Ingest())
    assert (found.read_as, found.format) == ("reference", "gleam")
    assert "no column is known as component_id" in found.refused
    assert found.columns.set_index("ours").loc["flux_mjy", ["theirs", "unit", "unit_from"]].tolist() == [
        *("int_flux_wide", "Jy", "gleam")
    ]


def test_a_preset_that_names_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("NVSS,RAJ2000,DEJ2000\nA,10.5,-3.25\n")
    config = CatalogConfig(preset="nvss", path=tmp_path / "x.csv")
    found = inspect_reference(tmp_path / "x.csv", config)
    assert "the preset nvss names columns that the file lacks: e_RAJ2000 for ra_err_arcsec" in found.warnings[0]
    assert "no flux density was found: nothing is tied to its flux scale" in found.warnings


def test_a_table_of_several_is_chosen(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        for name in ("one", "two"):
            SKY.assign(flux_int_mjy=1.0 if name == "one" else 2.0).to_sql(name, connection, index=False)
    connection.close()
    assert set(inspect_file(tmp_path / "x.db", Ingest(table="two")).first["flux_int_mjy"]) == {2.0}
    with pytest.raises(InputError, match="no table 'three'; there are one, two"):
        inspect_file(tmp_path / "x.db", Ingest(table="three"))


def test_pages_of_a_list_begin_with_a_form_feed(tmp_path: Path) -> None:
    """As the whole catalog of VLSSr has them; distances may be capped, limits of sizes end in a point."""
    head = '   RA(2000)  Dec(2000) Dist(") Flux  Major Minor  PA  Res Field    X_pix  Y_pix\n'
    head += " h  m    s    d  m   s   Ori      Jy\n"
    first = "00 42  0.00 -03 15  0.0 14549   0.92 <143. <82.9 -62.8    0000-050 2039.87 2269.30\n"
    first += "       0.60         7.0  -180   0.15\n"
    second = "00 43  0.00 +68 10 23.7 99999   1.36 <52.5 <52.5 -38.1    0000+750 2039.94  405.48\n"
    second += "       0.82         4.5     0   0.19\n"
    (tmp_path / "all.text").write_text(f"#VLSSr\n{head}{first}\f NVSS catalog list page number      2\n{head}{second}")
    got = reference(tmp_path / "all.text").sort_values("ra_deg")
    assert got["ra_deg"].tolist() == pytest.approx([10.5, 10.75])
    assert got["dec_deg"].tolist() == pytest.approx([-3.25, 68.17325])
    assert got["flux_mjy"].tolist() == pytest.approx([920.0, 1360.0])


@pytest.mark.parametrize("distance", ["", " 99999"])
@pytest.mark.parametrize("size", [" 93.7", "<93.7"])
def test_a_flux_too_large_for_its_column_is_whole(tmp_path: Path, distance: str, size: str) -> None:
    """Cygnus A, in the list of VLSSr."""
    ori = "" if not distance else "  -180"
    rows = [
        f"00 42  0.00 -03 15  0.0{distance}   0.92 <143. <82.9 -62.8    0000-050 2039.87 2269.30",
        f"       0.60         7.0{ori}   0.15",
        f"19 59 26.40 +40 43 57.7{distance}  17190 {size}  58.0 -84.6 P* 2000+450 2065.46 1016.84",
        f"       0.41         3.2{ori}   2063   2.8   1.7   0.1",
        f"20 42  0.00 -03 15  0.0{distance}   1.36 <52.5 <52.5 -38.1    0000+750 2039.94  405.48",
        f"       0.82         4.5{ori}   0.19",
    ]
    (tmp_path / "list.txt").write_text("\n".join([" h  m    s    d  m   s     Jy", *rows, ""]))
    got = reference(tmp_path / "list.txt").sort_values("ra_deg")
    assert got["flux_mjy"].tolist() == pytest.approx([920.0, 17.19e6, 1360.0])
    assert got["flux_err_mjy"].tolist() == pytest.approx([150.0, 2.063e6, 190.0])


@pytest.mark.parametrize("order", [1, -1])
def test_warnings_of_first_are_in_some_rows_only(tmp_path: Path, order: int) -> None:
    rows = [
        "00 42 00.000 -03 15 00.00       3.10      3.50   0.140   5.00   4.00  10.0   6.00   5.00  10.0 00420-03150E",
        "00 43 00.000 -03 15 00.00 W     1.10      1.50   0.130   5.00   4.00  10.0   6.00   5.00  10.0 00420-03150E",
    ]
    (tmp_path / "it.txt").write_text("\n".join([*rows[::order], ""]))
    got = reference(tmp_path / "it.txt", preset="first").sort_values("ra_deg")
    assert got["ra_deg"].tolist() == pytest.approx([10.5, 10.75])
    assert got["flux_mjy"].tolist() == [3.5, 1.5]
    assert got["flux_peak_mjy_beam"].tolist() == [3.1, 1.1]


def test_cirada_can_be_stated(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(build.csv(build.cirada_table(SKY)))
    stated = Ingest.model_validate({"default_format": "cirada", "formats": {"mine": {"on": "cirada"}}})
    for name in (None, "cirada", "mine"):
        assert inspect_file(tmp_path / "x.csv", stated, name).format == "cirada"


def test_the_spectral_index_of_gleam_x_at_vizier(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "GLEAM-X,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,Fpwide,Fintwide,e_Fintwide,alpha-SP\nJ0,10.5,-3.25,1,1,1,1,0.1,-0.7\n"
    )
    for settings in ({}, {"preset": "gleam-x"}):
        assert reference(tmp_path / "x.csv", **settings)["spectral_index"].tolist() == [-0.7]


def test_gleam_x_as_its_authors_write_it(tmp_path: Path) -> None:
    """Columns, and -1 for an error that Aegean has none of, as in `catalogue_names.py` of drII_plotting."""
    (tmp_path / "x.csv").write_text(
        "Name,background_wide,local_rms_wide,ra_str,dec_str,RAJ2000,err_RAJ2000,DEJ2000,err_DEJ2000,peak_flux_wide,"
        "err_peak_flux_wide,int_flux_wide,err_int_flux_wide,int_flux_076,sp_int_flux_fit_200,sp_alpha,csp_alpha\n"
        "GLEAM-X J0,0,0.001,00:42:00,-03:15:00,10.5,0.0005,-3.25,0.0005,0.11,0.01,0.12,0.01,0.3,0.121,-0.8,-0.9\n"
        "GLEAM-X J1,0,0.001,00:43:00,-03:15:00,10.75,-1,-3.25,-1,0.11,-1,0.12,-1,0.3,,,\n"
    )
    got = (
        reference(tmp_path / "x.csv", preset="gleam-x").set_index("catalog_source_id").loc[["GLEAM-X J0", "GLEAM-X J1"]]
    )
    assert inspect_file(tmp_path / "x.csv", Ingest()).format == "gleam-x"
    assert got["flux_mjy"].tolist() == pytest.approx([120.0, 120.0])
    assert got["flux_err_mjy"].tolist() == pytest.approx([10.0, np.nan], nan_ok=True)
    assert got["spectral_index"].tolist() == pytest.approx([-0.8, np.nan], nan_ok=True)
    # Of the second, what the preset says, with the noise.
    assert got["ra_err_arcsec"].tolist() == pytest.approx([1.8, np.hypot(2.0, 0.5 * 75.0 * 1.3 / 120.0)])


def test_positions_of_3c_are_of_1950(tmp_path: Path) -> None:
    """VizieR's VIII/1/3cr calls them so."""
    (tmp_path / "x.csv").write_text("3CR,RA1950,DE1950,S178MHz\n1,00 42 00.0,-03 15 00\n2,00 43 00.0,+03 15 00\n")
    with pytest.raises(InputError, match="line 2"):
        reference(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("3CR,RA1950,DE1950,S178MHz\n1,00 42 00.0,-03 15 00,9\n2,00 43 00.0,+03 15 00,9\n")
    got = reference(tmp_path / "x.csv").sort_values("ra_deg")
    true = SkyCoord([10.5, 10.75], [-3.25, 3.25], unit="deg", frame="fk4").icrs
    found = SkyCoord(got["ra_deg"].to_numpy(), got["dec_deg"].to_numpy(), unit="deg")
    assert found.separation(true).arcsec.max() < 1e-4


def test_islands_that_nothing_was_fitted_to_are_no_fault_of_a_delivery(tmp_path: Path) -> None:
    """So are 22 of CIRADA's first 99 rows (`CIRADA_VLASS1QL_table1_components_v1_head100.csv` of kowalski)."""
    table = build.cirada_table(SKY).assign(S_Code="S")
    empty = table.index % 4 == 0
    zero = ["E_RA", "E_DEC", "Total_flux", "E_Total_flux", "E_Peak_flux", "Maj", "Min"]
    table.loc[empty, "S_Code"] = "E"
    table.loc[empty, [name for name in zero if name in table]] = 0.0
    (tmp_path / "x.csv").write_bytes(build.csv(table))
    found = inspect_file(tmp_path / "x.csv", Ingest())
    assert found.set_aside == {cirada.NOTHING_FITTED: int(empty.sum())}
    assert cirada.NOTHING_FITTED in cirada.BY_FLAGS
    assert len(reference(tmp_path / "x.csv", preset="vlass")) == int((~empty).sum())


def test_a_preset_of_another_survey_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(SURVEYS["lotss"][0])
    told = inspect_file(tmp_path / "x.csv", Ingest(), preset="tgss").warnings
    assert "its columns are those of lotss, and the preset is tgss" in " ".join(told)
    (tmp_path / "x.csv").write_text(SURVEYS["racs-mid of CASDA"][0])
    assert "the preset is" not in " ".join(inspect_file(tmp_path / "x.csv", Ingest(), preset="racs-high").warnings)
    with pytest.raises(InputError, match=r"no preset 'fist' \(is 'first' meant\?\); there are first"):
        inspect_file(tmp_path / "x.csv", Ingest(), preset="fist")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("images.csv", "image,catalogue,mjd_mid,ra_deg,dec_deg\na,a.csv,60000,10,-3\n", "this is a manifest"),
        ("notes.txt", "observed\nall of it\n", "this is no table: its header line is one name, 'observed'"),
        ("it.json", '[\n {"ra": 10.5}\n]\n', "this is JSON"),
    ],
)
def test_what_is_no_catalog_is_said_to_be_what_it_is(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    for look in (lambda path: inspect_file(path, Ingest()), reference):
        with pytest.raises(InputError, match=said):
            look(tmp_path / name)


# --- a delivery of the CDS ----------------------------------------------------------------------------------------

CDS_IN_PARTS = {"component_id": {"column": "MRC"}, "flux_int_mjy": {"column": "S408"}}


def deliver_of_cds(folder: Path, epoch: str = "J2000") -> Config:
    """An epoch whose catalog has no header, but a ReadMe beside it."""
    folder.mkdir()
    (folder / "ReadMe").write_text(README.replace("EPOCH", epoch))
    (folder / "mrcj2000.dat").write_text("0039-003 00 42 00.0 -00 15 00  1.20\n0040 003 00 43 00.0  00 15 00  0.70\n")
    (folder / "images.csv").write_text(
        "image,catalogue,mjd_mid,ra_deg,dec_deg,radius_deg,bmaj_arcsec,bmin_arcsec,bpa_deg,freq_mhz,rms_mjy_beam\n"
        "one,mrcj2000.dat,60000,10.6,0,2,45,45,0,408,50\n"
    )
    return Config.model_validate({"root": folder.parent, "ingest": {"column_map": CDS_IN_PARTS}})


@pytest.mark.parametrize("epoch", ["J2000", "B1950"])
def test_a_delivery_follows_the_readme_beside_it_as_a_reference_does(tmp_path: Path, epoch: str) -> None:
    config = deliver_of_cds(tmp_path / "a", epoch)
    read = read_epoch(tmp_path / "a", "a", config)
    got = read.detections.set_index("component_id").loc[["0039-003", "0040 003"]]
    same = reference(tmp_path / "a" / "mrcj2000.dat", preset="mrc").set_index("catalog_source_id").loc[got.index]
    np.testing.assert_allclose(got[["ra_deg", "dec_deg"]], same[["ra_deg", "dec_deg"]], rtol=0, atol=1e-12)
    assert got["flux_int_mjy"].tolist() == same["flux_mjy"].tolist() == pytest.approx([1200.0, 700.0])
    assert abs(got["dec_deg"].iloc[0] - (-0.25 if epoch == "J2000" else 0.0)) < 0.3
    assert read.unlisted_files == ()


def test_a_changed_readme_makes_a_delivery_another(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    config = deliver_of_cds(folder)
    versions = [delivery_version(folder)]
    assert [file.name for file in delivered_files(folder)] == ["images.csv", "mrcj2000.dat", "ReadMe"]
    for text in ("Of another file.", README.replace("EPOCH", "B1950")):
        (folder / "ReadMe").write_text(text)
        versions.append(delivery_version(folder))
    (folder / "ReadMe").unlink()
    versions.append(delivery_version(folder))
    assert versions[1] == versions[3]
    assert len(set(versions)) == 3
    with pytest.raises(InputError, match="a file of the CDS is read with its ReadMe beside it"):
        read_epoch(folder, "a", config)


def test_a_readme_that_is_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    config = deliver_of_cds(folder)
    (folder / "ReadMe").rename(tmp_path / "elsewhere")
    (folder / "ReadMe").symlink_to(tmp_path / "elsewhere")
    (folder / "README.old").symlink_to(tmp_path / "nowhere")
    assert [file.name for file in delivered_files(folder)] == ["images.csv", "mrcj2000.dat"]
    said = r"the ReadMe here does not describe mrcj2000\.dat, or is a link that leads out of the folder"
    with pytest.raises(InputError, match=said):
        read_epoch(folder, "a", config)


# --- what a file says of its values ---------------------------------------------------------------------------------


def test_values_that_parquet_of_astropy_masks_are_missing(tmp_path: Path) -> None:
    """astropy writes a number under the mask as well, and the mask as a column of its own."""
    table = Table.from_pandas(SKY[["component_id", "ra_deg", "dec_deg"]])
    table["flux_int_mjy"] = MaskedColumn(SKY["flux_int_mjy"], mask=SKY.index == 3)
    table.write(tmp_path / "t.parquet")
    got = reference(tmp_path / "t.parquet", columns={"flux_mjy": {"column": "flux_int_mjy"}})
    assert got["flux_mjy"].isna().sum() == 1
    found = read_delivered(tmp_path / "t.parquet", None, Ingest()).rows.numbers["flux_int_mjy"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]


def test_what_is_missing_in_scaled_columns_of_fits(tmp_path: Path) -> None:
    """TNULL is the number in the file, before TSCAL and TZERO."""
    columns = [fits.Column("component_id", "3A", array=["a", "b", "c"])]
    columns += [fits.Column(name, "D", array=[10.0, 11.0, 12.0]) for name in ("ra_deg", "dec_deg")]
    columns += [fits.Column("flux_int_mjy", "J", array=np.array([40, -999, 6]), null=-999)]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header.update(TSCAL4=0.25, TZERO4=2.0)
    hdu.writeto(tmp_path / "t.fits")
    found = read_delivered(tmp_path / "t.fits", None, Ingest()).rows.numbers["flux_int_mjy"]
    np.testing.assert_array_equal(found, [12.0, np.nan, 3.5])


@pytest.mark.parametrize("kind", ["ascii.ecsv", "fits"])
def test_positions_that_astropy_keeps_as_one_object(tmp_path: Path, kind: str) -> None:
    table = QTable({"flux": [3.0, 4.0], "coord": SkyCoord([10.5, 11.0], [-3.25, 4.0], unit="deg").fk4})
    table["seen"] = Time([60000.0, 60001.0], format="mjd")
    table.write(tmp_path / "t", format=kind)
    got = reference(tmp_path / "t").sort_values("ra_deg")
    np.testing.assert_allclose(got[["ra_deg", "dec_deg"]], [[10.5, -3.25], [11.0, 4.0]], atol=1e-8)


def test_columns_of_another_frame_are_converted_in_deliveries_too(tmp_path: Path) -> None:
    there = PLACES.galactic
    (tmp_path / "t.csv").write_bytes(build.csv(SKY.assign(GLON=there.l.deg, GLAT=there.b.deg, ra_deg=0, dec_deg=0)))
    mapped = Ingest.model_validate({"column_map": {"ra_deg": {"column": "GLON"}, "dec_deg": {"column": "GLAT"}}})
    found = read_delivered(tmp_path / "t.csv", None, mapped)
    assert found.frame == "galactic by the column 'GLON', converted to ICRS"
    np.testing.assert_allclose(found.rows.numbers["ra_deg"], SKY["ra_deg"], atol=1e-9)
    np.testing.assert_allclose(found.rows.numbers["dec_deg"], SKY["dec_deg"], atol=1e-9)


def test_a_column_of_arrays_is_named_where_a_number_is_missing(tmp_path: Path) -> None:
    table = Table.from_pandas(SKY[["component_id", "ra_deg", "dec_deg"]])
    table["flux_int_mjy"] = np.ones((len(SKY), 2))
    table.write(tmp_path / "t.fits")
    with pytest.raises(InputError, match="columns with several values in each cell are not read: flux_int_mjy"):
        read_delivered(tmp_path / "t.fits", None, Ingest())


def test_what_a_server_says_of_its_answer(tmp_path: Path) -> None:
    def answer(status: str) -> Path:
        info = f'<INFO name="QUERY_STATUS" value="{status}">no such table</INFO><TABLE>'
        (tmp_path / "t.xml").write_bytes(votable(SKY).replace(b"<TABLE>", info.encode()))
        return tmp_path / "t.xml"

    with pytest.raises(InputError, match=r"this is no catalog but a server's error \(no such table\)"):
        inspect_file(answer("ERROR"), Ingest())
    assert "rows are missing" in inspect_file(answer("OVERFLOW"), Ingest()).warnings[0]
    assert not inspect_file(answer("OK"), Ingest()).warnings


def test_a_database_with_two_catalogs_is_no_delivery(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        for name in ("east", "west"):
            SKY.to_sql(name, connection, index=False)
    connection.close()
    with pytest.raises(InputError, match="2 of its tables are catalogs"):
        read_delivered(path, None, Ingest())
    assert len(read_delivered(path, None, Ingest(table="west")).rows) == len(SKY)


def test_bytes_in_a_database_are_the_text_that_they_are(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.sqlite") as connection:
        SKY.assign(component_id=SKY["component_id"].str.encode("utf-8")).to_sql("t", connection, index=False)
    connection.close()
    found = read_delivered(tmp_path / "t.sqlite", None, Ingest()).rows.texts["component_id"]
    assert found.to_pylist() == SKY["component_id"].tolist()


def test_a_column_that_a_person_names_may_be_in_other_letters_and_in_the_finders_unit(tmp_path: Path) -> None:
    """As in deliveries: a factor of a thousand lies between the finder's unit and ours."""
    (tmp_path / "t.csv").write_bytes(build.csv(build.pybdsf_table(SKY)))
    got = reference(tmp_path / "t.csv", columns={"flux_mjy": {"column": "PEAK_flux"}}).sort_values("ra_deg")
    np.testing.assert_allclose(got["flux_mjy"], SKY.sort_values("ra_deg")["flux_peak_mjy_beam"])
