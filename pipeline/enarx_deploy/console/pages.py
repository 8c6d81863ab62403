"""The console's pages: built as trees, whose writer escapes all text, since half of the words are strangers'.

They have no script, and work in any browser; what is on them was true when they were made, which each one tells.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

from enarx_deploy.sizes import size
from enarx_deploy.verification import page
from enarx_deploy.verification.page_style import STYLE

if TYPE_CHECKING:
    from enarx_deploy.models import KeepStatus, Usage
    from enarx_deploy.verification import Report

STREAMS: Final = ("all", "stdout", "stderr", "host")
_OWN_STYLE: Final = """
nav { display: flex; gap: 1.25rem; align-items: center; flex-wrap: wrap; margin-bottom: 1.5rem; }
nav form { margin-left: auto; }
a { color: inherit; text-underline-offset: 0.2em; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--card); padding: 0.5rem; }
caption { text-align: left; color: var(--soft); padding: 0.25rem 0; }
.keeps td:nth-child(2) { width: auto; }
.keeps tbody th { color: var(--ink); }
.state { font-weight: 700; white-space: nowrap; }
.state.running { color: var(--good); }
.state.failed, .state.crashed { color: var(--bad); }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 0.9rem; margin: 0.75rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font: 0.82rem/1.5 ui-monospace, Menlo, "DejaVu Sans Mono", monospace;
}
button, input { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--soft); }
button, input { border-radius: 8px; padding: 0.4rem 0.8rem; }
label { display: block; font-weight: 600; margin: 1rem 0 0.35rem; }
input { width: 100%; max-width: 34rem; margin-bottom: 1rem; display: block; }
.problem { color: var(--bad); font-weight: 600; margin: 1rem 0; }
.keeps th { overflow-wrap: anywhere; }
@media (max-width: 44rem) {
  .keeps tr, .keeps tbody th { display: block; border: 0; }
  .keeps tr { border-bottom: 1px solid var(--line); }
  .keeps td { display: grid; grid-template-columns: 9rem 1fr; }
  .keeps td::before { content: attr(data-title); color: var(--soft); }
}
"""
_ALL_STYLE: Final = STYLE + _OWN_STYLE
_HASH: Final = base64.b64encode(hashlib.sha256(_ALL_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of every page: nothing is loaded, no script runs, nobody frames it."""
_HEAD: Final = (
    *("Name", "Replica", "Version", "State", "Backend", "Target"),
    *("Endpoints", "Connections", "Memory", "Certificate until"),
)


class Shown(NamedTuple):
    """A Keep, and what it uses; negative numbers are not known. It is one of so many of its deployment, 0 when it has
    ended."""

    status: KeepStatus
    usage: Usage
    replica: int
    replicas: int


def listing(keeps: Sequence[Shown], problems: Sequence[str] = ()) -> bytes:
    """All Keeps, below what there may be beside them."""
    root, main = _page("Keeps")
    _text(main, "h1", "Keeps")
    _made(main)
    for line in problems:
        _text(main, "p", line, "problem")
    if not keeps:
        _text(main, "p", "There is none. `enarx-deploy up` in a project starts one.")
        return _written(root)
    table = SubElement(main, "table", {"class": "keeps"})
    _text(table, "caption", "Those that run, and the last of each name. A name leads to its chain of trust and logs.")
    head = SubElement(SubElement(table, "thead"), "tr")
    for title in _HEAD:
        _text(head, "th", title, scope="col")
    rows = SubElement(table, "tbody")
    for keep in keeps:
        _row(rows, keep)
    return _written(root)


def keep(shown: Shown, report: Report | None, why_not: str) -> bytes:
    """One Keep: what is known of it, and what a client that verifies it would be told; or why there is no such."""
    status = shown.status
    root, main = _page(status.name)
    _text(main, "h1", status.name)
    _made(main)
    _facts(main, shown)
    written = SubElement(SubElement(main, "section"), "h2")
    _text(written, "a", "What it wrote", href=f"{_place(status)}/logs")
    if report is None:
        _text(main, "p", why_not, "problem")
    else:
        _text(main, "h2", "What a client is told that verifies it")
        page.outcome(main, "div", report)
        page.sections(main, report)
    return _written(root)


def logs(status: KeepStatus, stream: str, text: str, cut: bool) -> bytes:
    """The end of what a Keep wrote."""
    root, main = _page(f"Logs of {status.name}")
    _text(main, "h1", f"Logs of {status.name}")
    _made(main)
    streams = SubElement(main, "nav", {"aria-label": "Streams"})
    for name in STREAMS:
        current = {"aria-current": "page"} if name == stream else {}
        _text(streams, "a", name, href=f"{_place(status)}/logs?stream={name}", **current)
    _text(streams, "a", "the Keep", href=_place(status))
    if cut:
        _text(main, "p", f"The end of it; `enarx-deploy logs {status.id}` shows all.")
    SubElement(main, "pre", {"tabindex": "0", "aria-label": "Log"}).text = _visible(text) or "Nothing."
    return _written(root)


def sign_in(problem: str = "") -> bytes:
    """The form for the token."""
    root, main = _page("Sign in", inside=False)
    _text(main, "h1", "Sign in")
    if problem:
        _text(main, "p", problem, "problem", role="alert")
    form = SubElement(main, "form", {"method": "post", "action": "/sign-in"})
    _text(form, "label", "Token", **{"for": "token"})
    attributes = {"id": "token", "name": "token", "type": "password", "required": "", "autocomplete": "off"}
    SubElement(form, "input", attributes)
    _text(form, "button", "Sign in", type="submit")
    _text(main, "p", "It is in the file that `enarx-deploy console` named when it started.")
    return _written(root)


def fault(title: str, what: str) -> bytes:
    """Something that cannot be shown."""
    root, main = _page(title)
    _text(main, "h1", title)
    _text(main, "p", what, "problem")
    return _written(root)


def _page(title: str, *, inside: bool = True) -> tuple[Element, Element]:
    root = Element("html", {"lang": "en"})
    head = SubElement(root, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "meta", {"name": "color-scheme", "content": "light dark"})
    _text(head, "title", f"{title} · enarx-deploy")
    SubElement(head, "style").text = _ALL_STYLE
    body = SubElement(root, "body")
    _text(body, "a", "To the content", "skip", href="#content")
    main = SubElement(body, "main", {"id": "content"})
    if inside:
        bar = SubElement(main, "nav", {"aria-label": "Console"})
        _text(bar, "a", "All Keeps", href="/")
        _text(SubElement(bar, "form", {"method": "post", "action": "/sign-out"}), "button", "Sign out", type="submit")
    return root, main


def _made(main: Element) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = SubElement(main, "p", {"class": "when"})
    line.text = "As it was at "
    _text(line, "time", now, datetime=now).tail = "; load the page again for later."


def _row(rows: Element, shown: Shown) -> None:
    status, usage = shown.status, shown.usage
    row = SubElement(rows, "tr")
    _text(SubElement(row, "th", {"scope": "row"}), "a", status.name, href=_place(status))
    cells = {
        "Replica": _replica(shown),
        "Version": str(status.version) if status.version else "not counted",
        "State": status.state,
        "Backend": status.backend,
        "Target": status.target,
        "Endpoints": _endpoints(status),
        "Connections": _number(usage.connections_open),
        "Memory": _size(usage.memory),
        "Certificate until": status.certificate_not_after or "none",
    }
    for title, text in cells.items():
        cell = SubElement(row, "td", {"data-title": title})  # on a phone, where the head of the table is not shown
        _text(cell, "span", text, f"state {text}" if title == "State" else "")


def _facts(main: Element, shown: Shown) -> None:
    status, usage = shown.status, shown.usage
    section = SubElement(main, "section", {"class": "facts"})
    _text(section, "h2", "What the host knows of it")
    listed = SubElement(section, "dl")
    facts = {
        "id": status.id,
        "replica": _replica(shown),
        "version": str(status.version) if status.version else "",
        "state": status.state,
        "why": status.reason,
        "health": status.health_failure,
        "started again": f"{status.restarts} times" if status.restarts else "",
        "backend": status.backend,
        "target": status.target,
        "package": status.package,
        "endpoints": _endpoints(status),
        "started": status.created,
        "certificate until": status.certificate_not_after,
        "renewal failed": status.renewal_failure,
        "limits met": "; ".join(status.limits),
        "connections": _known(usage.connections, f"{usage.connections_open:,} open, {usage.connections:,} in all"),
        "bytes": _known(
            usage.bytes_in, f"{size(usage.bytes_in)} in, {size(usage.bytes_out)} out, as they cross the host"
        ),
        "memory": _size(usage.memory),
    }
    for name, value in facts.items():
        if value:
            _text(listed, "dt", name)
            _text(listed, "dd", value)


def _place(status: KeepStatus) -> str:
    """Its page. Another machine has said the id."""
    return f"/keeps/{quote(status.id, safe='')}"


def _replica(shown: Shown) -> str:
    return f"{shown.replica} of {shown.replicas}" if shown.replica else "none"


def _endpoints(status: KeepStatus) -> str:
    return ", ".join(f"{one.name}: {one.prot} on {one.host} port {one.port}" for one in status.endpoints) or "none"


def _number(number: int) -> str:
    return _known(number, f"{number:,}")


def _size(number: int) -> str:
    return _known(number, size(number))


def _known(number: int, text: str) -> str:
    """A text that is made of numbers which are known or not known together."""
    return "not known" if number < 0 else text


def _visible(text: str) -> str:
    """A log as it can be read: lines, and nothing that moves, hides or turns around what is beside it."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else f"\\x{ord(character):02x}"
        for character in text.replace("\r\n", "\n")
    )


def _text(parent: Element, tag: str, text: str, name: str = "", **attributes: str) -> Element:
    element = SubElement(parent, tag, ({"class": name} if name else {}) | attributes)
    element.text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return element


def _written(root: Element) -> bytes:
    return b"<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html").encode() + b"\n"
