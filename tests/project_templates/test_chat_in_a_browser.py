"""The chat as people use it: two pages in a real browser, which trusts the Keep's certificate by its root alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser import Browser, start

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> & \u2713"


@pytest.fixture(scope="module")
def chat(cli: Any, make_project: Callable[[str], Path]) -> dict[str, Any]:
    started = cli("up", "--json", "-C", str(make_project("chat")), "--set", "files.web.port=0")
    assert started.returncode == 0, started.stderr
    return json.loads(started.stdout)


@pytest.fixture
def browser(chat: dict[str, Any], tmp_path: Path) -> Iterator[Browser]:
    """A browser whose only authority, beside its own, is the Steward's root."""
    browser = start(tmp_path, Path(chat["steward"]["root_pem_path"]))
    yield browser
    browser.close()


def test_what_is_typed_in_one_page_is_read_in_the_other(chat: dict[str, Any], browser: Browser) -> None:
    url = f"https://localhost:{chat['endpoints'][0]['port']}/"
    ann, bob = browser.open(url), browser.open(url)
    lines = "JSON.stringify([...document.querySelectorAll('#said li')].map(line => line.textContent))"
    for page in (ann, bob):
        page.until("document.getElementById('state')?.textContent", "connected")
    ann("document.getElementById('name').value = 'Ann'")
    ann(f"document.getElementById('text').value = {json.dumps(HOSTILE)}")
    ann("document.querySelector('button').click()")
    for page in (ann, bob):
        page.until(lines, json.dumps([f"Ann: {HOSTILE}"], ensure_ascii=False, separators=(",", ":")))
    ann.until("document.getElementById('text').value", "")
    assert bob("document.title") == "Chat in a Keep"
    assert bob("document.querySelectorAll('#said img').length") == 0
    late = browser.open(url)
    late.until(lines, json.dumps([f"Ann: {HOSTILE}"], ensure_ascii=False, separators=(",", ":")))
