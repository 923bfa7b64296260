"""XML files: rows of any element, whole to the end, nothing that grows without bound; and the text of HTML."""

import bz2
import gzip
import io

import pytest

from gte_ray.errors import RunError
from gte_ray.readers.plain import plain
from gte_ray.readers.reading import Reading
from gte_ray.readers.xml_rows import CHUNK_BYTES, xml_values
from tests.readers.reading import read_as

POSTS = """<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="4" PostTypeId="1" Score="5" Title="Why does tea cool?" Body="&lt;p&gt;I poured &amp;amp; waited.&lt;/p&gt;" />
  <row Id="9" PostTypeId="2" ParentId="4" Score="7" Body="&lt;p&gt;It meets the air.&lt;/p&gt;" />
  <row Id="5" PostTypeId="1" Score="-2" Title="A bad question" Body="&lt;p&gt;?&lt;/p&gt;" />
</posts>
"""
PAGES = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en">
  <siteinfo><sitename>Wikipedia</sitename></siteinfo>
  <page><title>Larch</title><ns>0</ns><id>3</id>
    <revision><id>8</id><text bytes="9" xml:space="preserve">'''Larch''' is a tree.</text></revision></page>
  <page><title>Larix</title><ns>0</ns><id>4</id><redirect title="Larch" />
    <revision><id>9</id><text xml:space="preserve">#REDIRECT [[Larch]]</text></revision></page>
  <page><title>Talk:Larch</title><ns>1</ns><id>5</id><revision><text>Hello.</text></revision></page>
</mediawiki>
"""
PUBMED = """<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN" "https://dtd.nlm.nih.gov/x.dtd">
<PubmedArticleSet>
<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">1</PMID><Article><ArticleTitle>On <i>Larix</i> wood.</ArticleTitle>
<Abstract><AbstractText Label="METHODS">We measured H<sub>2</sub>O.</AbstractText><AbstractText Label="RESULTS">It was wet.</AbstractText></Abstract>
<Language>eng</Language></Article></MedlineCitation></PubmedArticle>
<PubmedArticle><MedlineCitation><PMID Version="1">2</PMID><Article><ArticleTitle>One part.</ArticleTitle>
<Abstract><AbstractText>Alone.</AbstractText></Abstract><Language>eng</Language></Article></MedlineCitation></PubmedArticle>
<DeleteCitation><PMID Version="1">7</PMID></DeleteCitation>
</PubmedArticleSet>
"""


def values(text: str | bytes, name: str) -> list[dict]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(xml_values(io.BufferedReader(io.BytesIO(content)), name, "x.xml"))


def test_questions_of_stackexchange(tmp_path):
    (tmp_path / "Posts.xml").write_text(POSTS)
    reading = Reading("Title", "Body|plain", rows="row", where="PostTypeId == 1 and Score >= 0")
    found = read_as(tmp_path / "Posts.xml", reading)
    assert found.pairs == [("Why does tea cool?", "I poured & waited.", [])]
    assert found.dropped == {"not as where says": 2}


def test_pages_of_wikipedia_in_a_dump_of_several_streams(tmp_path):
    cut = PAGES.index("  <page><title>Larix")
    content = bz2.compress(PAGES[:cut].encode()) + bz2.compress(PAGES[cut:].encode())
    (tmp_path / "enwiki-pages-articles.xml.bz2").write_bytes(content)
    reading = Reading("title", "revision.text", rows="page", where="ns == 0 and not redirect")
    found = read_as(tmp_path / "enwiki-pages-articles.xml.bz2", reading)
    assert found.pairs == [("Larch", "'''Larch''' is a tree.", [])]


def test_articles_of_pubmed_with_inline_tags_and_abstracts_in_parts(tmp_path):
    (tmp_path / "pubmed25n0001.xml.gz").write_bytes(gzip.compress(PUBMED.encode()))
    article = "MedlineCitation.Article"
    reading = Reading(
        f"{article}.ArticleTitle",
        f"{{{article}.Abstract.AbstractText}}",
        rows="PubmedArticle",
        where=f"{article}.Language == 'eng'",
    )
    assert read_as(tmp_path / "pubmed25n0001.xml.gz", reading).pairs == [
        ("On Larix wood.", "We measured H2O. It was wet.", []),
        ("One part.", "Alone.", []),
    ]


def test_values_of_elements():
    text = "<a><r/><r>  </r><r k='v'/><r k='v'>t</r><r><c/><c>1</c><c>2</c><d><e>x</e></d></r><b><r>in</r></b></a>"
    assert values(text, "r") == [
        {"value": ""},
        {"value": "  "},
        {"k": "v"},
        {"value": "t"},
        {"c": ["", "1", "2"], "d": {"e": "x"}},
        {"value": "in"},
    ]


def test_a_text_that_is_marked_up_from_end_to_end():
    text = (
        "<r><a><t><i>Larix</i></t><t><b>Of <sub>2</sub></b><i> woods</i></t><u>x</u><v><i>y</i></v></a></r>"
    )
    assert values(text, "a") == [{"t": ["Larix", "Of 2 woods"], "u": "x", "v": "y"}]
    rows = "<r><a><i>Larix</i></a><a n='4'><i>x</i></a><a><t n='4'><i>x</i></t></a></r>"
    assert values(rows, "a") == [{"i": "Larix"}, {"n": "4", "i": "x"}, {"t": {"n": "4", "i": "x"}}]


def test_other_encodings_and_chunks_that_cut_a_row():
    assert values("<?xml version='1.0' encoding='latin-1'?><a><r>é</r></a>".encode("latin-1"), "r") == [
        {"value": "é"}
    ]
    latin = b"<?xml version='1.0' encoding='utf-8'?><a><r>\xe9</r></a>"
    stream = io.BufferedReader(io.BytesIO(latin))
    assert list(xml_values(stream, "r", "x.xml", "iso-8859-1")) == [{"value": "é"}]
    long = "é" * CHUNK_BYTES
    assert values(f"<a><r k='1'>{long}</r><r k='2'><c>{long}</c></r></a>", "r") == [
        {"value": long},
        {"k": "2", "c": long},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POSTS[:-40], "is not XML to its end: "),
        ("", "is not XML to its end: no element found"),
        ("<a><r></a>", "is not XML to its end: mismatched tag"),
        ("no xml", "is not XML to its end: "),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a><r>&b;</r></a>', "declares an entity, 'b', which is refused"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a><r>&b;</r></a>',
            "declares an entity, 'b'",
        ),
        ("<a>" + "<r>" * 2_000 + "</r>" * 2_000 + "</a>", "has more than 1,000 elements around each other"),
    ],
)
def test_what_is_not_whole_or_not_safe_is_told(text, message, tmp_path):
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        read_as(tmp_path / "x.xml", Reading("value", "k", rows="r"))
    assert str(caught.value).startswith(str(tmp_path / "x.xml"))


def test_the_name_of_the_rows_is_needed(tmp_path):
    (tmp_path / "x.xml").write_text(POSTS)
    with pytest.raises(RunError, match="rows is not set; an XML file needs the name of the elements"):
        read_as(tmp_path / "x.xml", Reading("Title", "Body"))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One &amp; two</p>\n\n<p>three<br>four</p>", "One & two\nthree\nfour"),
        ("<pre><code>if a &lt; b:\n    c</code></pre>", "if a < b:\n    c"),
        ("<script>x = '<p>'</script>a<style>b {}</style>", "a"),
        ("a < b and c > d", "a < b and c > d"),
        ("a&nbsp;b &#233; <b>bold</b>face", "a b é boldface"),
        ("<ul><li>x<li>y</ul>", "x\ny"),
        ("<p>a line\nthat goes on</p>", "a line that goes on"),
        ("", ""),
    ],
)
def test_the_text_of_html(html, text):
    assert plain(html) == text
