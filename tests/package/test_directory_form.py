"""Drawbridge's directory form, against what Enarx's own client publishes."""

import hashlib
import json
from pathlib import Path

import pytest

from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Entry, directory_json, entry_of, media_type

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "drawbridge-directory-golden.json"
GOLDEN_SHA256 = "sha256:25c75ffd0d2ead979dffd74abbd201abf06d5881dcbd21a5b2b516912d51c7e1"


def golden_entries() -> dict[str, Entry]:
    return {name: Entry(**entry) for name, entry in json.loads(GOLDEN.read_bytes()).items()}


def test_the_golden_entries_give_the_golden_bytes() -> None:
    assert directory_json(golden_entries()) == GOLDEN.read_bytes()


def test_the_order_in_which_entries_come_does_not_matter() -> None:
    backwards = dict(reversed(golden_entries().items()))
    assert directory_json(backwards) == GOLDEN.read_bytes()


def test_the_golden_directory_has_its_published_digest() -> None:
    entry = entry_of(GOLDEN.read_bytes(), DIRECTORY_TYPE)
    assert entry.sha256 == GOLDEN_SHA256
    assert entry.digest["sha-256"] == "Jcdf/Q0urZed/9dKu9IBq/BtWIHcvSGlsrUWkS1Rx+E="
    assert entry.digest["sha-224"] == "ipv22ZRLXTRv4MypL2IVaZypKHb91PgAqWXG6w=="
    assert entry.digest["sha-384"] == "f52Mxw0vy4KHhk4MAKzfo3xfvi1sM+YpMhBaQvHMB2vGs378nyAADtEYxPlUnUoI"
    assert entry.length == 707


def test_the_golden_manifest_has_its_golden_entry() -> None:
    data = (DATA / "drawbridge-golden-Enarx.toml").read_bytes()
    assert entry_of(data, media_type("Enarx.toml")) == golden_entries()["Enarx.toml"]


def test_a_digest_is_written_as_records_write_it() -> None:
    assert entry_of(b"abc", "x").sha256 == f"sha256:{hashlib.sha256(b'abc').hexdigest()}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("main.wasm", "application/wasm"),
        ("Enarx.toml", "application/toml"),
        ("model.bin", "application/octet-stream"),
        ("wasm", "application/octet-stream"),
        ("main.WASM", "application/octet-stream"),
    ],
)
def test_the_name_decides_the_media_type(name: str, expected: str) -> None:
    assert media_type(name) == expected


def test_an_empty_directory_is_an_empty_object() -> None:
    assert directory_json({}) == b"{}"
