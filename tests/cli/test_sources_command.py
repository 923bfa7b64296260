"""`python -m gte_ray.sources`: the catalogue as a person reads it."""

import sys

import pytest

from gte_ray.cli.console import run_command
from gte_ray.readers.source_file import read_source_file
from gte_ray.sources import main


@pytest.fixture
def said(monkeypatch, capsys):
    """Runs the command; what it prints, and its exit code."""

    def run(*arguments: str) -> tuple[str, int]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["sources", *arguments])
        code = 0
        try:
            run_command(main)
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return captured.out + captured.err, code

    return run


def test_the_list_has_groups_with_their_sources(said):
    text, code = said()
    lines = text.splitlines()
    (group,) = [number for number, line in enumerate(lines) if "Social Media (2)" in line]
    assert code == 0 and "327,000,000" in lines[group]
    assert "reddit-title-body" in lines[group + 1] and "127,445,911" in lines[group + 1]


def test_a_source_is_shown_with_the_pairs_of_its_rows(said):
    text, code = said("medi")
    assert code == 0
    assert 'split_by = "task_id"' in text and "licence: Apache-2.0" in text
    (row,) = [line for line in text.splitlines() if "medi.7" in line]
    assert "who drew the map" in row and "Old maps: Ada Vale drew it." in row and "1: Maps are drawn." in row


def test_the_template_is_read_as_it_is_printed(said, tmp_path):
    text, code = said("--template")
    (tmp_path / "sources.toml").write_text(text)
    assert code == 0 and len(read_source_file(str(tmp_path / "sources.toml"))) == 44


def test_what_there_is_not_is_told(said):
    assert said("gooak") == (
        "error: there is no source 'gooak'; 'gooaq' is nearest; python -m gte_ray.sources lists them\n",
        2,
    )
    assert said("medi", "--template") == ("error: --template is of all sources; it takes no names\n", 2)
