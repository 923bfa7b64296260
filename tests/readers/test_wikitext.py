"""Wiki markup becomes the text that a reader of the page sees."""

import bz2
import sys

import pytest

from gte_ray.errors import UsageError
from gte_ray.readers import wikitext as module
from gte_ray.readers.paths import Path
from gte_ray.readers.reading import Reading
from gte_ray.readers.wikitext import wikitext
from tests.readers.reading import read_as


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Larch''' is a ''conifer''.", "Larch is a conifer."),
        ("It's Ada's map", "It's Ada's map"),
        ("[[Larix|Larches]] of the [[Alps]]", "Larches of the Alps"),
        ("in [[Larix#Uses|its '''uses''']] and [[bus]]es", "in its uses and buses"),
        ("[[File:a.jpg|thumb|A [[larch]] in '''May''']]Text", "Text"),
        ("[[Image: a.jpg|left|x]][[Datei:a.jpg|mini]][[Kategorie:Baum]][[Category:Trees|Larch]]Text", "Text"),
        ("[[:Category:Trees|trees]] and [[Kafka: A Life]]", "trees and Kafka: A Life"),
        ("[[Re:Zero]], [[3:2]] and [[ISO:9001]][[de:Lärche]][[zh-yue:a]]", "Re:Zero, 3:2 and ISO:9001"),
        ("<nowiki>''a''</nowiki> <code>__init__</code> &#xD800;b", "''a'' __init__ b"),
        ("Needles<ref name=a>Vale {{p|3}}</ref> fall<ref name=a />.", "Needles fall."),
        ("A{{cite|x={{y}}}} b{{{c}}}", "A b"),
        ("Larch ({{IPA|x}}, {{lang|la|Larix}}) is. Larch ({{IPA|x}}; a tree)", "Larch is. Larch (a tree)"),
        ("See [https://a.example the '''map'''], [https://b.example], https://c.example", "See the map, , https://c.example"),
        ("== Uses ==\n\n\nMasts\n=== Old ===\nShips", "Uses\nMasts\nOld\nShips"),
        ("* a\n** b\n# c\n: d\n----\ne", "a\nb\nc\nd\ne"),
        ("{| class=x\n! head\n|-\n| cell || [[b]]\n|}\nText", "Text"),
        ("a&nbsp;&eacute; b &amp; c &#8364;", "a é b & c €"),
        ("x<sup>2</sup> <!-- a note -->y<br />z <math>\\frac{a}{b}</math>__NOTOC__", "x2 y\nz"),
        ("<nowiki>[[a]]</nowiki> b", "[[a]] b"),
        ("東京は[[日本]]の首都", "東京は日本の首都"),
        ("[[unclosed and {{open", "[[unclosed and {{open"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_a_reader_sees(markup, text):
    assert wikitext(markup) == text


DUMP = """<mediawiki><siteinfo><sitename>A</sitename></siteinfo>
<page><title>Larch</title><ns>0</ns><id>1</id><revision><id>7</id>
<text xml:space="preserve">'''Larch''' is a [[conifer]].{{stub}}</text></revision></page>
<page><title>Larix</title><ns>0</ns><redirect title="Larch" /><revision><text>#REDIRECT [[Larch]]</text></revision></page>
<page><title>Talk:Larch</title><ns>1</ns><revision><text>Is it?</text></revision></page>
</mediawiki>"""


def test_a_dump_of_a_wiki(tmp_path):
    """In two streams, as dumps have many."""
    path = tmp_path / "enwiki-pages-articles.xml.bz2"
    content = DUMP.encode()
    path.write_bytes(bz2.compress(content[:300]) + bz2.compress(content[300:]))
    reading = Reading("title", "revision.text|wikitext", rows="page", where="ns == 0 and not redirect")
    found = read_as(path, reading)
    assert found.pairs == [("Larch", "Larch is a conifer.", [])]
    assert found.dropped == {"not as where says": 2}


def test_what_it_needs_is_told(monkeypatch):
    module.parser.cache_clear()
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    with pytest.raises(
        UsageError, match=r"wikitext needs the package mwparserfromhell .*'gte_ray\[wikitext\]'"
    ):
        Path("text|wikitext")
    module.parser.cache_clear()


def test_what_is_no_text_stays():
    assert Path("a|wikitext")({"a": ["'''b'''", None, 3]}) == ["b", None, 3]
