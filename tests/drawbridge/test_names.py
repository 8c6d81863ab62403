"""Names, Content-Digest and listings: what is read and what is refused, for anything that could come."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_drawbridge import content_digest, names
from enarx_drawbridge.content_digest import MalformedDigest
from enarx_drawbridge.directory_form import directory_json, entry_of
from enarx_drawbridge.errors import Malformed
from enarx_drawbridge.reading import ENTRY_TYPE, read_directory, read_tag

GOOD_TAGS = [
    "0.0.0",
    "1.2.3",
    "1.2.3-test",
    "1.0.0-alpha.1",
    "1.0.0--",
    "1.0.0+001",
    "1.0.0-0A.is.legal",
    "1.0.0-rc.1+b-5",
]
BAD_TAGS = [
    "",
    "v1.2.3",
    "1",
    "1.2",
    "1.2.3.4",
    "01.2.3",
    "1.2.3-",
    "1.2.3-01",
    "1.2.3+",
    "1.2.3-a..b",
    "1.2.3 ",
    "1.2.3\n",
    "\u0661.0.0",
]
KINDS = {"user": names.USER, "repository": names.REPOSITORY, "tag": names.TAG, "node": names.NODE}
NODE = st.from_regex(r"[0-9A-Za-z._:-]{1,40}", fullmatch=True).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize("tag", GOOD_TAGS)
def test_a_version_is_a_tag(tag):
    assert names.check(tag, names.TAG) == tag


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_what_is_no_version_is_no_tag(tag):
    with pytest.raises(Malformed):
        names.check(tag, names.TAG)


@given(st.text(max_size=20), st.sampled_from(sorted(KINDS)))
def test_a_name_that_is_taken_has_no_character_that_means_anything_in_a_path(name, kind):
    try:
        names.check(name, KINDS[kind])
    except Malformed:
        return
    assert re.fullmatch(r"[0-9A-Za-z._:+-]+", name)
    assert name not in (".", "..")


@given(st.lists(NODE, max_size=20))
def test_a_path_is_its_names(path):
    assert names.tree_path(["", *path, "", ""]) == tuple(path)


digests = st.binary(max_size=20).map(lambda data: entry_of(data, "").digest)


@given(digests, st.data())
def test_a_header_that_is_written_is_read(found, data):
    some = data.draw(st.sets(st.sampled_from(sorted(found)), min_size=1))
    chosen = {algorithm: found[algorithm] for algorithm in content_digest.SIZES if algorithm in some}
    header = content_digest.render(chosen)
    assert content_digest.parse(header) == chosen
    assert content_digest.parse(header.replace(",", ", ")) == chosen


@given(st.text(alphabet="sha-256=:,AQ+/ \t;", max_size=80))
def test_a_header_is_read_or_refused(header):
    try:
        found = content_digest.parse(header)
    except MalformedDigest:
        return
    assert found
    assert content_digest.parse(content_digest.render(found)) == found


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "sha-256",
        "sha-256=",
        "sha-256=::",
        "sha-256=:AAAA:",
        "sha-256=AAAA",
        "md5=:AAAA:",
        f"sha-256=:{'A' * 43}=:,",
        "a" * 3000,
    ],
)
def test_a_header_without_a_digest_is_refused(header):
    with pytest.raises(MalformedDigest):
        content_digest.parse(header)


def test_a_header_that_contradicts_itself_is_refused():
    one, other = (entry_of(data, "").digest["sha-256"] for data in (b"1", b"2"))
    with pytest.raises(MalformedDigest, match="twice"):
        content_digest.parse(f"sha-256=:{one}:,SHA-256=:{other}:")


@given(
    st.dictionaries(NODE, st.binary(max_size=20), max_size=10).filter(lambda d: len({n.lower() for n in d}) == len(d))
)
def test_a_directory_that_is_written_is_read(files):
    entries = {name: entry_of(data, "application/octet-stream") for name, data in files.items()}
    assert read_directory(directory_json(entries)) == entries


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["digest", "length", "type", "a", ".."]), inner)
    ),
    max_leaves=12,
)


@given(json_values)
def test_a_listing_and_a_tag_are_read_or_refused(value):
    body = json.dumps(value).encode()
    for read in (read_directory, lambda data: read_tag(data, ENTRY_TYPE)):
        try:
            read(body)
        except Malformed:
            continue


def test_the_golden_directory_of_enarx_is_read_and_written_as_it_is():
    body = (Path(__file__).parents[1] / "package/data/drawbridge-directory-golden.json").read_bytes()
    entries = read_directory(body)
    assert directory_json(entries) == body
    assert len(body) == 707
    assert entries["main.wasm"].length == 53_966
    assert base64.b64decode(entries["Enarx.toml"].digest["sha-256"]).hex() == entries["Enarx.toml"].hex
