"""The text of wiki markup, as dumps of Wikipedia have it. mwparserfromhell parses; here is what a reader would see."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from gte_ray.runtime.imports import of_extra

UNSHOWN = frozenset(
    [
        "ref",
        "references",
        "table",
        "gallery",
        "math",
        "chem",
        "timeline",
        "score",
        "imagemap",
        "templatestyles",
    ]
)
"""Elements that are no running text."""
AS_IT_STANDS = frozenset(["nowiki", "pre", "code", "syntaxhighlight", "source"])
_ASIDE = frozenset(
    [
        "file",
        "image",
        "media",
        "category",
        "datei",
        "bild",
        "kategorie",
        "fichier",
        "catégorie",
        "archivo",
        "imagen",
        "categoría",
        "ficheiro",
        "imagem",
        "categoria",
        "immagine",
        "bestand",
        "categorie",
        "plik",
        "kategoria",
        "файл",
        "категория",
        "категорія",
        "fil",
        "kategori",
        "tiedosto",
        "luokka",
        "αρχείο",
        "κατηγορία",
        "ファイル",
        "カテゴリ",
        "文件",
        "檔案",
        "分类",
        "分類",
        "파일",
        "분류",
        "ملف",
        "تصنيف",
        "קובץ",
        "קטגוריה",
        "चित्र",
        "श्रेणी",
        "dosya",
        "berkas",
    ]
)
"""Names of the spaces for media and categories in the larger wikis, in lower case."""
_LANGUAGE = re.compile(r"\s*[a-z]{2,3}(-[a-z]+)*:\S")
"""The beginning of a link to the same page in another language."""
_NAMESPACE = re.compile(r"\s*([^\s:|]+):\s*\S")
_MEDIA = re.compile(r"\.(jpe?g|png|gif|svg|tiff?|webp|og[gv]|webm|pdf|djvu|wav|mp3|mid)\s*$", re.IGNORECASE)
_STYLE = re.compile(r"'{2,}|__[A-Z]+__")
_EMPTY = re.compile(r"[ \xa0]?\([\s,;:\xa0]*\)")
_MARK = re.compile(r"^[*#:;]+\s*|^-{4,}\s*")
_BEGINNING = re.compile(r"\(\s*[,;]\s*")
_SPACES = re.compile(r"[ \t\xa0]+")


def wikitext(markup: str) -> str:
    """Paragraphs, headings and items of lists, a line each.

    Without templates, tables, notes, formulas, media and categories.
    """
    text = "".join(_shown(parser().parse(markup, skip_style_tags=True)))
    text = _BEGINNING.sub("(", _EMPTY.sub("", text))
    lines = (_MARK.sub("", _SPACES.sub(" ", line).strip()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _shown(code: Any) -> Iterator[str]:
    nodes = parser().nodes
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield _STYLE.sub("", node.value)
        elif isinstance(node, nodes.Wikilink):
            yield from _link(node)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from _shown(node.title)
            elif not node.brackets:
                yield str(node.url)
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize().encode(errors="ignore").decode()
        elif isinstance(node, nodes.Heading):
            yield "\n"
            yield from _shown(node.title)
            yield "\n"
        elif isinstance(node, nodes.Tag):
            yield from _element(node)


def _link(link: Any) -> Iterator[str]:
    title = str(link.title)
    space = _NAMESPACE.match(title)
    if space and (space[1].lower() in _ASIDE or _MEDIA.search(title)):
        return
    if link.text is None and _LANGUAGE.match(title):
        return
    if link.text is None:
        yield title.lstrip(":")
    else:
        yield from _shown(link.text)


def _element(tag: Any) -> Iterator[str]:
    name = str(tag.tag).strip().lower()
    if name in ("br", "hr"):
        yield "\n"
    elif name in AS_IT_STANDS and tag.contents is not None:
        yield str(tag.contents)
    elif name not in UNSHOWN and tag.contents is not None:
        yield from _shown(tag.contents)


@lru_cache(maxsize=1)
def parser() -> Any:
    """The package. Raises UsageError if it is missing."""
    with of_extra("wikitext", "wikitext needs the package mwparserfromhell"):
        import mwparserfromhell
    return mwparserfromhell
