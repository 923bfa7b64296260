"""CSV and TSV in the dialects that programs write, against what was written."""

import csv
import io

import pytest

from gte_ray.errors import RunError
from gte_ray.readers.reading import Reading
from tests.readers.reading import read, read_as

PAIRS = [
    ("what is, a river", "water; that | flows"),
    ('a "quoted" one', "it's\ttab"),
    ("plain", r"C:\new"),
    ("two\nlines", "e"),
]


def written(rows, **dialect) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue()


DIALECTS = {
    "comma.csv": {},
    "all-quoted.csv": {"quoting": csv.QUOTE_ALL},
    "semicolon.csv": {"delimiter": ";"},
    "pipe.csv": {"delimiter": "|"},
    "tab-named.csv": {"delimiter": "\t"},
    "excel.tsv": {"delimiter": "\t"},
    "all-quoted.tsv": {"delimiter": "\t", "quoting": csv.QUOTE_ALL},
    "backslash.csv": {"quoting": csv.QUOTE_ALL, "doublequote": False, "escapechar": "\\"},
    "single.csv": {"quotechar": "'", "quoting": csv.QUOTE_ALL},
    "unix.csv": {"lineterminator": "\n"},
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(name, tmp_path):
    (tmp_path / name).write_text(written([("query", "document"), *PAIRS], **DIALECTS[name]), newline="")
    found = read(tmp_path / name)
    assert [pair[:2] for pair in found.pairs] == PAIRS
    assert not found.dropped


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_the_line_by_which_excel_names_its_delimiter(delimiter, tmp_path):
    rows = written([("query", "document"), *PAIRS], delimiter=delimiter)
    (tmp_path / "file.csv").write_text(f"sep={delimiter}\r\n{rows}", newline="")
    assert [pair[:2] for pair in read(tmp_path / "file.csv").pairs] == PAIRS


def test_a_space_after_each_comma(tmp_path):
    (tmp_path / "file.csv").write_text('query, document\nq, "a, b"\n')
    assert read(tmp_path / "file.csv").pairs == [("q", "a, b", [])]


def test_texts_with_backslashes_are_left_as_they_are(tmp_path):
    """One that is before a quote is none of the text; LaTeX and paths keep theirs."""
    (tmp_path / "file.csv").write_text('"query","document"\n"say \\"hi\\"","\\frac{a}{b} of C:\\new"\n')
    assert read(tmp_path / "file.csv").pairs == [('say "hi"', "\\frac{a}{b} of C:\\new", [])]


def test_a_space_before_quotes_and_a_comma_in_a_name(tmp_path):
    (tmp_path / "space.csv").write_text('query,document\nq, "a, b"\nr, "c"\n')
    assert read(tmp_path / "space.csv").pairs == [("q", "a, b", []), ("r", "c", [])]
    (tmp_path / "comma.csv").write_text('"query";"document";"source, year"\nq;d;x\n')
    assert read(tmp_path / "comma.csv").pairs == [("q", "d", [])]


def test_a_carriage_return_within_a_line_is_part_of_the_text(tmp_path):
    (tmp_path / "file.tsv").write_bytes(b"query\tdocument\r\nq\tone\rtwo\r\n")
    assert read(tmp_path / "file.tsv").pairs == [("q", "one\rtwo", [])]
    (tmp_path / "old.csv").write_bytes(b"query,document\rq,d\rr,e\r")
    assert len(read(tmp_path / "old.csv").pairs) == 2


@pytest.mark.parametrize("rows", [1, 3_000])
def test_a_quote_that_is_not_closed_does_not_swallow_what_follows(rows, tmp_path):
    lines = ["query,document", *(f"q{i},d{i}" for i in range(rows)), 'q,"open', "r,e"]
    (tmp_path / "file.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(
        RunError, match=rf"file.csv: line {rows + 3} cannot be read .*a quote is written twice"
    ):
        read(tmp_path / "file.csv")


def test_a_file_without_a_line_of_names_is_refused(tmp_path):
    for name, content in (("c.tsv", "0\tfirst passage\n1\tsecond\n"), ("c.csv", "how tall is it,ten feet\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(RunError, match="a CSV or TSV file without a line of names needs `columns`"):
            read(tmp_path / name)


def test_columns_that_are_not_read_are_told(tmp_path):
    (tmp_path / "file.csv").write_text(",query,document,document_id\n0,q,d,7\n1,r,e,8\nshort\n")
    found = read(tmp_path / "file.csv")
    assert (found.unused, found.dropped) == ({"": 2, "document_id": 2}, {"not a pair": 1})


@pytest.mark.parametrize("name", ["file.csv", "file.tsv"])
def test_empty_lines_before_the_names(name, tmp_path):
    delimiter = "," if name.endswith("csv") else "\t"
    (tmp_path / name).write_text(f"\n \nquery{delimiter}document\n\nq{delimiter}d\n")
    assert read(tmp_path / name).pairs == [("q", "d", [])]
    (tmp_path / name).write_text("\n\n")
    assert read(tmp_path / name).pairs == []


def test_a_first_line_that_is_no_line_of_names(tmp_path):
    """Of any length, and with a carriage return within it: one sentence, none of csv's own errors."""
    for first in ("a" * 200_000 + ",b", "query\rx,document", '"open,document'):
        (tmp_path / "file.csv").write_bytes(f"{first}\nq,d\n".encode())
        with pytest.raises(RunError):
            read(tmp_path / "file.csv")


def test_named_columns_tell_the_delimiter(tmp_path):
    (tmp_path / "file.csv").write_text("left;right;place, year\nq;d, e;x\n")
    assert read(tmp_path / "file.csv", ("left", "right")).pairs == [("q", "d, e", [])]


@pytest.mark.parametrize("row", ['"Hello" he said,foo', '"a" ,b'])
def test_a_row_that_is_quoted_wrongly_changes_no_other_row(tmp_path, row):
    (tmp_path / "x.csv").write_text(f'question,answer\n"a ""b""",c\n{row}\n')
    with pytest.raises(RunError, match=r"x\.csv: line 3 cannot be read"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_file_without_names_is_split_where_it_has_as_many_fields_as_names(delimiter, suffix, tmp_path):
    rows = [(str(i), f"how, {i} are | you", f"fine; {i} thanks") for i in range(5)]
    rows = [tuple(field.replace(delimiter, " ") for field in row) for row in rows]
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    (tmp_path / f"file.{suffix}").write_text(text)
    found = read_as(tmp_path / f"file.{suffix}", Reading("q", "a", columns=("id", "q", "a")))
    assert found.pairs == [(q, a, []) for _, q, a in rows]
    assert (found.dropped, found.unused) == ({}, {"id": 5})


def test_a_delimiter_that_is_given_is_taken_whatever_the_lines(tmp_path):
    (tmp_path / "file.csv").write_text("1;a;b\n2;c;d\n")
    found = read_as(tmp_path / "file.csv", Reading("q", "a", columns=("id", "q", "a"), delimiter=","))
    assert (found.pairs, found.dropped) == ([], {"not a pair": 2})
