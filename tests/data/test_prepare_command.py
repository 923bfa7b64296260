"""`python -m gte_ray.prepare` as a person runs it: one sentence for bad input, a table at the end."""

import json
import sys
from itertools import count

import pyarrow as pa
import pytest

from gte_ray import prepare as command
from gte_ray import show
from gte_ray.cli import console
from gte_ray.data.hashing import seeded, text_hashes
from tests.data.conftest import write_lines

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "either --source (once or more) or --builtin is needed"),
        (["--builtin", "--source", "a=b:code"], 2, "either --source (once or more) or --builtin is needed"),
        (["--source", "a=b:poems"], 2, "task is 'poems'; allowed are web-page"),
        (["--source", "a=b:code", "--vocabulary", "5"], 2, "--vocabulary is 5; allowed is at least 100"),
        (["--source", "a=b:code", "--tokenizer", "x", "--vocabulary", "500"], 2, "exclude each other"),
        (["--source", "a=b:code", "--held-out", "2"], 2, "--held-out is 2.0"),
        (["--source", "a=/missing/*.csv:code"], 1, "source a: no file matches /missing/*.csv"),
    ],
)
def test_the_command_ends_with_one_sentence(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prepare", str(tmp_path / "store"), *arguments])
    with pytest.raises(SystemExit) as caught:
        console.run_command(command.main)
    assert caught.value.code == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert message in error[0]


def test_the_command_prepares_and_tells(source, tmp_path, monkeypatch, capsys):
    drawn = (f"query {i}" for i in count())
    set_aside = next(q for q in drawn if seeded(text_hashes(pa.array([q])), 3)[0] < 2**63)
    empty = write_lines(tmp_path / "empty.jsonl", [{"query": set_aside, "document": "d", "[id]": 1}])
    flags = ["--source", f"pairs={source.glob}:code", "--source", f"nothing={empty}:news"]
    triples = write_lines(
        tmp_path / "t.jsonl", [{"query": f"q {i}", "document": f"d {i}"} for i in range(20)]
    )
    (tmp_path / "more.toml").write_text(
        f'[sources.triples]\nfiles = "{triples}"\ntask = "code"\nquery = "query"\ndocument = "document"\n'
        'negatives = "misspelt"\n'
    )
    flags += ["--held-out", "0.5", "--seed", "3", "--sources", str(tmp_path / "more.toml")]
    monkeypatch.setattr(sys, "argv", ["prepare", str(tmp_path / "store"), *flags])
    monkeypatch.setenv("COLUMNS", "160")
    command.main()
    told = capsys.readouterr().out
    assert "100 duplicate" in told
    assert "warning: no pair to train on in nothing" in told
    assert "nothing: not read: [id] (1 rows)" in told
    assert "warning: triples: no row has negatives by 'misspelt'" in told
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert (manifest["seed"], manifest["held_out_share"]) == (3, 0.5)
    monkeypatch.setattr(sys, "argv", ["show", str(tmp_path / "store"), "--sources", "pairs"])
    show.main()
    shown = capsys.readouterr().out
    assert "pairs: dropped: 100 duplicate" in shown and "nothing: not read: [id] (1 rows)" in shown
