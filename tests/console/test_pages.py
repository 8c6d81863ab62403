"""The console's pages, when every word on them is a stranger's."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.console import pages
from enarx_deploy.console.pages import Shown
from enarx_deploy.models import Endpoint, KeepStatus, Usage
from enarx_deploy.verification import Check, Report

MARKUP = "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<!--"
KNOWN_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "nav", "section", "article", "header", "div", "form"),
    *("h1", "h2", "h3", "p", "a", "ol", "ul", "li", "dl", "dt", "dd", "pre", "code", "span", "strong", "time"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "label", "input", "button"),
}
"""What the pages are made of: nothing that runs, loads or frames anything."""


class Read(HTMLParser):
    """The tags and attributes of a page, as a browser's parser comes by them, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.comments = 0
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def told(words: str) -> Report:
    """A report whose every text says these words."""
    check = Check(id="certificate.chain", ok=False, detail=words, hint=words)
    certificate = dict.fromkeys(("key", "issuer", "not_after", "tls_version", "tls_cipher", words), words)
    hardware = dict.fromkeys(("status", "measurement", "tee", words), words)
    return Report(
        ok=False, reachable=True, endpoint=words, from_whom=words, for_how_long=words, where=words,
        checks=[check, Check(id=words, ok=False, detail=words, hint=words)],
        certificate={**certificate, "names": [words]},
        claims={"backend": words, words: words}, hardware={**hardware, "links": [words], "claims": {words: words}},
    )  # fmt: skip


def shown(words: str) -> Shown:
    """A Keep whose every text says these words."""
    texts = {field.name: words for field in msgspec.structs.fields(KeepStatus) if field.type is str}
    endpoint = Endpoint(name=words, host=words, port=1, prot="tls")
    status = msgspec.structs.replace(
        KeepStatus(**{**texts, "state": "failed", "endpoints": [endpoint]}), limits=[words], health_failure=words
    )
    return Shown(status, Usage(), 1, 1)


def made_of(words: str) -> Iterator[bytes]:
    keep = shown(words)
    yield pages.listing([keep], [words])
    yield pages.keep(keep, told(words), "")
    yield pages.keep(keep, None, words)
    yield pages.logs(keep.status, "all", words, True)
    yield pages.sign_in(words)
    yield pages.fault(words, words)


@pytest.mark.parametrize("number", range(6), ids=["listing", "keep", "unasked", "logs", "sign-in", "fault"])
def test_markup_in_any_word_stays_a_word(number: int) -> None:
    read = Read(list(made_of(MARKUP))[number])
    assert read.tags <= KNOWN_TAGS
    assert MARKUP in read.text
    assert read.comments == 0


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_no_word_adds_an_element_an_attribute_or_a_link_elsewhere(words: str) -> None:
    for page, plain in zip(made_of(words), made_of("word"), strict=True):
        read = Read(page)
        assert read.tags <= KNOWN_TAGS
        assert {name for name, _ in read.attributes} == {name for name, _ in Read(plain).attributes}
        assert all(value.startswith(("/", "#")) for name, value in read.attributes if name in ("href", "action"))
        assert not any(value.startswith("//") for name, value in read.attributes if name == "href")


def test_what_turns_text_around_or_moves_a_cursor_is_spelt_out_in_a_log() -> None:
    page = pages.logs(shown("word").status, "all", "a\u202eb\x1b[2Jc\x00\td\r\ne\rf", False).decode()
    assert "a\\x202eb\\x1b[2Jc\\x00\td\ne\\x0df" in page
