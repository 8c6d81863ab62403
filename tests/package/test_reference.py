"""How packages in registries are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import UsageError
from enarx_deploy.reference import LIMIT, Reference, is_version, names_a_registry, parse

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("h.example/user/repo:1.2.3", ("drawbridge", "h.example", "user/repo", "1.2.3", "")),
        ("localhost:5000/user/repo:1.2.3-rc.1+b", ("drawbridge", "localhost:5000", "user/repo", "1.2.3-rc.1+b", "")),
        (f"h/user/repo@{DIGEST}", ("drawbridge", "h", "user/repo", "", DIGEST)),
        (f"drawbridge://h/user/repo:1.2.3@{DIGEST}", ("drawbridge", "h", "user/repo", "1.2.3", DIGEST)),
        ("oci://h:1/a/b/c:latest", ("oci", "h:1", "a/b/c", "latest", "")),
        ("oci://[::1]:5000/a", ("oci", "[::1]:5000", "a", "", "")),
        ("oci+http://h/a:1", ("oci+http", "h", "a", "1", "")),
        (f"dir:./a b@c@{DIGEST}", ("dir", "", "dir:./a b@c", "", DIGEST)),
        ("file:///a/b", ("file", "", "file:///a/b", "", "")),
        ("https://h/a:1", ("https", "", "https://h/a:1", "", "")),
        ("attic:anything", ("attic", "", "attic:anything", "", "")),
    ],
)
def test_a_reference_has_these_parts_and_is_written_from_them(text: str, parts: tuple[str, ...]) -> None:
    reference = parse(text)
    assert reference == Reference(*parts)
    assert parse(str(reference)) == reference
    assert names_a_registry(text)


@pytest.mark.parametrize(
    ("host", "whole"),
    [
        ("h.example", "drawbridge://h.example/user/repo:1.2.3"),
        ("oci://h.example/", "oci://h.example/user/repo:1.2.3"),
        ("oci://h.example/team", "oci://h.example/team/user/repo:1.2.3"),
    ],
)
def test_a_slug_without_a_host_is_looked_for_where_the_user_says(host: str, whole: str) -> None:
    assert str(parse("user/repo:1.2.3", host)) == whole
    assert parse("other/user/repo:1.2.3", host).host == "other"


def test_no_host_is_built_in() -> None:
    with pytest.raises(UsageError, match="does not say in which registry it is") as caught:
        parse("user/repo:1.2.3")
    assert "--host or in ENARX_REGISTRY" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a reference"),
        ("hello.wasm", "is not a reference"),
        ("user/repo:1.2.3\n", "is not a reference"),
        ("a" * (LIMIT + 1), "is not a reference"),
        ("h/user/repo:v1", "v1 is not a version"),
        ("h/user/repo:01.2.3", "01.2.3 is not a version"),
        ("oci://h/a@sha256:abc", "'sha256:abc' is no digest"),
        (f"oci://h/a@{DIGEST.upper()}", "is no digest"),
        ("oci://user:password@h/a", "^a reference holds no user name and no password$"),
        ("oci://user@h/a", "^a reference holds no user name and no password$"),
        (f"https://user:password@h/a@{DIGEST}", "^a reference holds no user name and no password$"),
        ("oci:///a", "'' is not a host"),
        ("oci://-h/a", "'-h' is not a host"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


@pytest.mark.parametrize("text", ["hello.wasm", "my-echo", "a/b", "./x", "/a/b:c"])
def test_what_may_be_a_path_is_none(text: str) -> None:
    assert not names_a_registry(text)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_and_means_the_same_when_written_out(text: str) -> None:
    try:
        reference = parse(text)
    except UsageError:
        return
    assert parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "name"), [("oci://h/a/b:1", "b"), ("dir:./my packages", "my-packages"), ("dir:/", "package")]
)
def test_a_keep_is_called_after_its_package(text: str, name: str) -> None:
    assert parse(text).name == name


@pytest.mark.parametrize(
    ("tag", "version"), [("1.2.3", True), ("1.2.3-rc.1+build.5", True), ("1.2", False), ("latest", False)]
)
def test_only_a_version_names_one_package_for_ever(tag: str, version: bool) -> None:
    assert is_version(tag) is version
