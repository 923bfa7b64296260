"""The built-in corpus: what is taken from code and metadata, the same on each call, and not done twice."""

import sys
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path

import pytest

from gte_ray.data import builtin
from gte_ray.data.builtin import environment_stamp, package_files, prepare_builtin
from gte_ray.data.builtin_text import LONGEST_DOCUMENT, distribution_pairs, file_pairs, topic_pairs
from gte_ray.data.ids import Ids
from gte_ray.readers.spec import TASKS
from tests.data.conftest import make_pairs

CODE = '''
import this_module_does_not_exist

def load_rows(path, limit):
    """Reads the rows of a table from a file on disk.

    The file is opened once and closed again, whatever happens in between.

    :param limit: how many rows are read at most before reading comes to an end
    """
    # Opening may fail when the file is not there,
    # which the caller has to know about.
    handle = open(path)
    rows = handle.readlines()

    return rows[:limit]

class RowReader:
    """Reads rows one after another, unlike :func:`load_rows`."""

    def next_row(self):
        """Gives the next row of the table, or nothing at its end."""
        row = self.handle.readline()
        return row or None
'''


def pairs_of(source: str, code: str = CODE) -> list[tuple[str, str]]:
    return [(pair.query, pair.document) for pair in file_pairs(code) if pair.source == source]


def test_functions_are_code_without_its_docstring():
    (query, document), (second, _) = pairs_of("functions")
    assert query == "Reads the rows of a table from a file on disk."
    assert document.startswith("def load_rows(path, limit):\n")
    assert "rows = handle.readlines()" in document
    assert "Reads the rows" not in document
    assert "closed again" not in document
    assert second == "Gives the next row of the table, or nothing at its end."


def test_docstrings_comments_names_parameters_and_references():
    ((summary, body),) = pairs_of("docstrings")
    assert (summary, body.split(",")[0]) == (
        "Reads the rows of a table from a file on disk.",
        "The file is opened once and closed again",
    )
    comment = "Opening may fail when the file is not there, which the caller has to know about."
    assert pairs_of("comments") == [(comment, "handle = open(path)\nrows = handle.readlines()")]
    assert ("function row reader next row", "Gives the next row of the table, or nothing at its end.") in (
        pairs_of("names")
    )
    ((parameter, description),) = pairs_of("parameters")
    assert parameter == "limit of load rows"
    assert description == "how many rows are read at most before reading comes to an end"
    ((sentence, target),) = pairs_of("references")
    assert sentence == "Reads rows one after another, unlike load_rows."
    assert target.startswith("Reads the rows of a table")


def test_a_document_does_not_hold_its_query_and_is_not_without_end():
    long = CODE.replace("    rows = handle.readlines()\n", "    rows = handle.readlines()\n" * 500)
    for pair in file_pairs(long):
        assert pair.query not in pair.document
        assert len(pair.document) <= LONGEST_DOCUMENT
    assert max(len(pair.document) for pair in file_pairs(long)) == LONGEST_DOCUMENT


@pytest.mark.parametrize("text", ["def broken(:\n", "\x00", "(" * 5_000, "print 'python 2'\n", ""])
def test_files_that_are_no_python_give_nothing(text):
    assert list(file_pairs(text)) == []


class Package:
    """What is used of a distribution."""

    def __init__(self, summary: str, description: str):
        self.metadata = Message()
        self.metadata["Name"], self.metadata["Summary"] = "sample", summary
        self.metadata.set_payload(description)


def test_metadata_gives_summaries_and_sections():
    text = "It does many things, all of them with care and at its ease. " * 4
    readme = f"# Sample\n\n{text}\n\n## How to install it\n\nRun the installer, then wait until it is done.\n"
    pairs = list(distribution_pairs(Package("A sample of what a package is", readme)))
    assert ("packages", "sample: A sample of what a package is", text.strip()) in pairs
    section = "Run the installer, then wait until it is done."
    assert ("readmes", "sample: How to install it", section) in pairs


def test_help_topics():
    topics = list(topic_pairs())
    assert len(topics) > 300
    assert {topic.source for topic in topics} == {"help"}


def test_files_are_in_a_fixed_order_without_tests_and_without_this_package():
    files = package_files()
    assert files == package_files()
    names = [name for group in files for name in group]
    assert len(set(names)) == len(names) > 1_000
    assert not [name for name in names if "/tests/" in name or "/gte_ray/" in name]
    assert max(map(len, files)) <= builtin.PACKAGE_FILES


def test_the_readme_of_this_package_is_no_part_of_its_corpus(monkeypatch):
    own = [found for found in distributions() if found.metadata["Name"].replace("-", "_") == "gte_ray"]
    assert own and list(distribution_pairs(own[0]))
    monkeypatch.setattr(builtin, "distributions", lambda: own)
    assert list(builtin.metadata_pairs()) == list(topic_pairs())


def test_sources_are_of_many_tasks():
    assert len(builtin.TASK_OF) >= 6
    assert set(builtin.TASK_OF.values()) <= set(TASKS)
    assert len(set(builtin.TASK_OF.values())) >= 4


def test_the_stamp_changes_with_the_environment(monkeypatch):
    stamp = environment_stamp()
    assert stamp == environment_stamp()
    monkeypatch.setattr(builtin, "distributions", list)
    assert environment_stamp() != stamp


def test_the_corpus_is_prepared_once(ray_local, tmp_path, monkeypatch):
    """On a few files, in place of all that are installed."""
    folder = tmp_path / "package"
    folder.mkdir()
    for number, (query, _) in enumerate(make_pairs(60)):
        code = CODE.replace("table", f"table of {query}")
        (folder / f"{number}.py").write_text(code, encoding="utf-8")
    groups = [[str(path)] for path in sorted(folder.glob("*.py"))]
    monkeypatch.setattr(builtin, "package_files", lambda: groups)
    monkeypatch.setattr(builtin, "TASK_FILES", 25)
    calls: list[str] = []
    uri = str(tmp_path / "store")
    ids = Ids(vocabulary=300, max_length=16)
    store = prepare_builtin(uri, ids, lambda phase, pairs: calls.append(phase))
    functions = store.source("functions")
    assert functions.task == "code"
    assert functions.rows + functions.held_out == 120
    assert store.source("packages").rows > 50
    assert store.manifest.held_out_share == 0.05
    assert "reading installed packages" in calls
    calls.clear()
    again = prepare_builtin(uri, ids, lambda phase, pairs: calls.append(phase))
    assert calls == []
    assert again.manifest == store.manifest
    assert not [path.name for path in Path(uri).iterdir() if path.name.startswith(".")]
    assert "this_module_does_not_exist" not in sys.modules
