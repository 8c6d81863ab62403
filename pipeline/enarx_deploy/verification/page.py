"""A report as one page of HTML that needs nothing but itself: no script, no font, no picture from elsewhere.

Half of its words are a stranger's. Hence the page is built as a tree, whose writer escapes all text, and is never put
together of strings; and its own Content-Security-Policy lets a browser load nothing, and apply no style but this one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from . import chain_of_trust
from .certificate import moment
from .chain_of_trust import Link
from .page_style import STYLE

if TYPE_CHECKING:
    from . import Check, Report

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""The page's Content-Security-Policy."""
_STATES: Final = {
    "holds": ("✓", "checked"),
    "broken": ("✗", "failed"),
    "aside": ("○", "not relied upon"),
    "absent": ("∅", "not there"),
}
_OUTCOMES: Final = {"passed": ("✓", "passed"), "failed": ("✗", "failed"), "skipped": ("○", "not asked")}


def render(report: Report, at: datetime) -> bytes:
    """The page, in UTF-8."""
    page = Element("html", {"lang": "en"})
    _head(SubElement(page, "head"), report)
    body = SubElement(page, "body")
    main = SubElement(body, "main")
    _verdict(main, report, at)
    sections(main, report)
    return b"<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html").encode() + b"\n"


def sections(main: Element, report: Report) -> None:
    """All of a report but its verdict, below an element of this page or of another one with its style."""
    _answers(main, report)
    _chain(main, report)
    _failures(main, report)
    _checks(main, report)
    _facts(main, report)


def _head(head: Element, report: Report) -> None:
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": POLICY})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "meta", {"name": "color-scheme", "content": "light dark"})
    SubElement(head, "meta", {"name": "referrer", "content": "no-referrer"})
    _text(head, "title", f"{'Passed' if report.ok else 'Refused'}: {report.endpoint}")
    SubElement(head, "style").text = STYLE


def _verdict(main: Element, report: Report, at: datetime) -> None:
    header = outcome(main, "header", report)
    _text(header, "h1", report.endpoint)
    word = "a Steward, whose root is pinned" if report.trust == "steward" else "the vendor of the hardware alone"
    _text(header, "p", f"Looked at {moment(at)}, on the word of {word}.", "when")


def outcome(parent: Element, tag: str, report: Report) -> Element:
    """An element that says in one line whether it passed, in the colour of that."""
    count = len(report.failed)
    said = f"Refused: {count} check{'' if count == 1 else 's'} failed"
    if report.ok:
        # Green alone would be read as more than there is to a Keep whose machine sees all of it.
        said = "Every check passed; no hardware protects this Keep" if _unprotected(report) else "Every check passed"
    tone = "failed" if not report.ok else "unprotected" if _unprotected(report) else "passed"
    element = SubElement(parent, tag, {"class": f"verdict {tone}"})
    _text(element, "p", said, "said")
    return element


def _unprotected(report: Report) -> bool:
    return report.hardware is None and not (report.claims or {}).get("hardware")


def _answers(main: Element, report: Report) -> None:
    section = _section(main, "Three answers", "answers")
    for question, answer in (
        ("From whom", report.from_whom),
        ("For how long", report.for_how_long),
        ("Where", report.where),
    ):
        card = SubElement(section, "article")
        _text(card, "h3", question)
        _text(card, "p", answer)


def _chain(main: Element, report: Report) -> None:
    drawn = chain_of_trust.draw(report)
    section = _section(main, "Chain of trust", "chain")
    columns = SubElement(section, "div", {"class": "columns"})
    _links(columns, "On the word of hardware", drawn.hardware)
    _links(columns, "On the word of a Steward", drawn.steward)
    _text(section, "p", "meet in", "joint")
    _links(section, "", [drawn.connection])
    legend = SubElement(section, "p", {"class": "legend"})
    for state, (mark, word) in _STATES.items():
        _text(legend, "span", f"{mark} {word}", state)


def _links(parent: Element, title: str, links: Iterable[Link]) -> None:
    column = SubElement(parent, "div", {"class": "links"})
    if title:
        _text(column, "h3", title)
    items = SubElement(column, "ol")
    for link in links:
        mark, word = _STATES[link.state]
        item = SubElement(items, "li", {"class": link.state})
        head = SubElement(item, "p", {"class": "title"})
        SubElement(head, "span", {"class": "mark", "title": word}).text = mark
        _text(head, "span", link.title)
        _text(item, "p", link.detail, "detail")


def _failures(main: Element, report: Report) -> None:
    if report.ok:
        return
    section = _section(main, "What to do", "failures")
    items = SubElement(section, "ul")
    for check in report.failed:
        item = SubElement(items, "li")
        _text(item, "code", check.id)
        _text(item, "p", check.detail)
        _text(item, "p", check.hint, "hint")


def _checks(main: Element, report: Report) -> None:
    section = _section(main, "Every check", "checks")
    table = SubElement(section, "table")
    head = SubElement(SubElement(table, "thead"), "tr")
    for title in ("", "Check", "Found", "Asked by"):
        _text(head, "th", title)
    rows = SubElement(table, "tbody")
    for check in report.checks:
        _row(rows, check)


def _row(rows: Element, check: Check) -> None:
    mark, word = _OUTCOMES[check.outcome]
    row = SubElement(rows, "tr", {"class": check.outcome})
    SubElement(row, "td", {"class": "mark", "title": word}).text = mark
    _text(SubElement(row, "td"), "code", check.id)
    _text(row, "td", check.detail)
    _text(row, "td", check.reference, "reference")


def _facts(main: Element, report: Report) -> None:
    groups = {"Certificate": report.certificate, "Claims of the Steward": report.claims, "Evidence": _plain(report)}
    section = _section(main, "Details", "facts")
    for title, facts in groups.items():
        if facts is None:
            continue
        _text(section, "h3", title)
        listed = SubElement(section, "dl")
        for name, value in facts.items():
            _text(listed, "dt", name.replace("_", " "))
            _text(listed, "dd", _shown(value))


def _plain(report: Report) -> dict[str, object] | None:
    """The facts of the evidence, and its claims among them instead of below them."""
    if report.hardware is None:
        return None
    facts = {name: value for name, value in report.hardware.items() if name not in ("claims", "links")}
    claims = report.hardware["claims"]
    return facts | claims if isinstance(claims, dict) else facts


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not said" if value is None else str(value)


def _section(main: Element, title: str, name: str) -> Element:
    section = SubElement(main, "section", {"class": name})
    _text(section, "h2", title)
    return section


def _text(parent: Element, tag: str, text: str, name: str = "") -> Element:
    element = SubElement(parent, tag, {"class": name} if name else {})
    # A browser drops what cannot be seen, or turns the direction of writing by it.
    element.text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return element
