"""Files that say how to cite the project, how to work on it, and what changed."""

from __future__ import annotations

import re
import tomllib
from datetime import date

import yaml

from contimg_assets_tests.docs import DOCS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_is_complete_and_agrees_with_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "what the format 1.2.0 asks for"
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert all(set(author) & {"name", "family-names"} for author in citation["authors"])
    assert citation["license"] == PROJECT["license"]
    assert str(citation["version"]) == PROJECT["version"]
    assert set(citation["keywords"]) == set(PROJECT["keywords"])


def test_the_changelog_is_dated_newest_first_and_in_known_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"(?m)^## (.*)$", text)
    assert heads[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", head) for head in heads[1:]]
    assert all(released)
    days = [date.fromisoformat(one.group(2)) for one in released if one]
    assert days and days == sorted(days, reverse=True)
    assert next(one.group(1) for one in released if one) == PROJECT["version"]
    sections = set(re.findall(r"(?m)^### (.*)$", text))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_hooks_before_a_commit_are_local() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in configuration["repos"]} == {"local"}
    hooks = {hook["id"]: hook for repository in configuration["repos"] for hook in repository["hooks"]}
    assert {"ruff", "ruff-format", "mypy"} <= set(hooks)
    assert {hook["language"] for hook in hooks.values()} == {"system"}, "another language would download something"


def test_contributing_names_only_folders_and_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:/|\.py))`", text))
    assert len(named) > 20
    places = (ROOT, ROOT / "contimg_assets", ROOT / "contimg_assets_tests")
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


def test_every_folder_of_the_package_has_its_storey_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (ROOT / "contimg_assets").glob("*/__init__.py")]
    # Kept for the files of old projects, which name it.
    assert [folder for folder in sorted(folders) if f"`{folder}/`" not in text and folder != "automation"] == []


def test_the_site_shows_these_files() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "contributing.md" in navigation and "changelog.md" in navigation
    assert not (DOCS / "contributing.md").exists(), "there is one such file, at the top"
