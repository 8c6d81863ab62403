"""Whatever the bytes, the loader answers with a manifest or a ManifestError, as strict as msgspec and the schema."""

from __future__ import annotations

import jsonschema
import msgspec
import pytest
import tomli
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import Manifest, parse, schema, shape

WORDS = [
    *("steward", "args", "files", "env", "build", "package", "attest", "tls", "deploy", "resources", "kind", "name"),
    *("prot", "host", "addr", "port", "source", "guest", "assets", "roots", "memory", "default", "target", "a:b", "x"),
]
KEYS = st.sampled_from(WORDS) | st.text(max_size=4)
SCALARS = (
    st.sampled_from(["listen", "connect", "stdin", "tls", "tcp", "system", "1 GiB", "https://a.example", "/a", "v1"])
    | st.text(max_size=8)
    | st.integers()
    | st.booleans()
    | st.floats()
    | st.dates()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=10
)


@st.composite
def near_manifests(draw: st.DrawFn) -> dict[str, object]:
    """A table that has the right shape in most places."""

    def some(strategy):
        return strategy if draw(st.integers(0, 9)) else VALUES

    def table(**keys):
        return st.fixed_dictionaries({}, optional={key: some(value) for key, value in keys.items()})

    text, port, prot = st.text(max_size=6), st.integers(-1, 65537), st.sampled_from(["tls", "tcp", "udp"])
    listen = st.fixed_dictionaries(
        {"kind": st.just("listen"), "name": some(text), "prot": some(prot)}, optional={"port": some(port)}
    )
    connect = st.fixed_dictionaries(
        {"kind": st.just("connect"), "host": some(text), "prot": some(prot)},
        optional={"name": some(text), "port": some(port)},
    )
    stdio = st.fixed_dictionaries({"kind": st.sampled_from(["null", "stdin", "stdout"])}, optional={"name": text})
    size = st.sampled_from(["1 GiB", "64KiB", 65536, "1 XB"])
    return draw(
        table(
            steward=st.sampled_from(["https://a.example", "http://localhost", "http://a.example"]),
            args=st.lists(text),
            files=st.lists(some(listen | connect | stdio), max_size=4),
            env=st.dictionaries(text, some(text), max_size=3),
            build=table(toolchain=text, source=text, args=st.lists(text)),
            package=table(assets=st.lists(table(source=text, guest=st.sampled_from(["/a", "/b", "c"])), max_size=2)),
            attest=table(issuer=text, protocol=st.sampled_from(["v1", "enarx"])),
            tls=st.dictionaries(text, table(handshake_timeout=st.integers(0, 301)), max_size=1),
            deploy=st.dictionaries(text, table(target=text, name=text), max_size=2),
            resources=table(memory=size, filesystem=size, connections=st.integers(0, 20000)),
        )
    )


VALIDATOR = jsonschema.Draft202012Validator(schema())


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"[files]\n[[files]]")
@example(b"a=[" * 3000)
@example(b"a." * 3000 + b"a=1")
@example(b"[" + b"a." * 3000 + b"a]")
def test_any_bytes(data):
    manifest_or_problems(data)


@settings(max_examples=300)
@given(near_manifests() | st.dictionaries(KEYS, VALUES, max_size=5), st.lists(st.text(max_size=20), max_size=2))
def test_any_table_and_any_override(table, overrides):
    manifest_or_problems(tomli_w.dumps(table).encode(), *overrides)


@given(
    near_manifests(),
    st.lists(
        st.tuples(st.lists(KEYS.map(msgspec.json.encode), min_size=1, max_size=3), VALUES), min_size=1, max_size=3
    ),
)
def test_any_override_of_any_place(table, settings_):
    arguments = [
        ".".join(key.decode() for key in keys) + "=" + tomli_w.dumps({"v": value}).partition("=")[2]
        for keys, value in settings_
    ]
    manifest_or_problems(tomli_w.dumps(table).encode(), *arguments)


@settings(max_examples=500)
@given(near_manifests())
def test_the_shape_is_what_msgspec_takes(table):
    try:
        msgspec.convert(table, Manifest)
    except msgspec.ValidationError:
        taken = False
    else:
        taken = True
    assert taken is (not list(shape.faults(table)))


@settings(max_examples=300)
@given(near_manifests())
def test_what_the_loader_takes_the_schema_takes(table):
    text = tomli_w.dumps(table)
    if isinstance(manifest_or_problems(text.encode()), Manifest):
        assert VALIDATOR.is_valid(tomli.loads(text))


@settings(max_examples=300)
@given(near_manifests(), st.text(max_size=10))
def test_the_effective_manifest_loads_as_the_same(table, value):
    try:
        loaded = parse(tomli_w.dumps(table).encode(), "Enarx.toml", [f"env.A={value}"])
    except ManifestError:
        return
    assert parse(loaded.text, "Enarx.toml").manifest == loaded.manifest


def manifest_or_problems(data, *overrides):
    """What the loader answers; every problem is one line with a hint, and has its place."""
    try:
        return parse(data, "Enarx.toml", overrides).manifest
    except ManifestError as error:
        problems = error.problems
    lines = data.decode(errors="replace").removeprefix("\ufeff").split("\n")
    assert problems
    for problem in problems:
        assert str(problem).isprintable()
        assert problem.hint
        if problem.line:
            assert problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        elif problem.file == "Enarx.toml":
            assert problem.message.startswith(("is ", "holds "))
    return problems


@pytest.mark.parametrize("parts", [100, 900, 200_000])
def test_a_key_of_many_parts_does_not_take_long(parts):
    key = b"a." * parts + b"a"
    manifest_or_problems(b"\n".join([key + b" = 1", b"[b." + key + b"]"] * (900_000 // len(key) // 2 + 1))[:900_000])
