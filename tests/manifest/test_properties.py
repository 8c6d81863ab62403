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
from enarx_deploy.manifest import Manifest, Tls, parse, schema, shape
from enarx_keep import manifest as manifest_of_the_keep

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


NAMES = st.sampled_from(["web", "db.example", "a b", "x=y"])
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=6)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
SIZES = st.sampled_from(["1 GiB", "64KiB", "100000B", 65536, 1 << 31])


@st.composite
def near_manifests(draw: st.DrawFn) -> dict[str, object]:
    """A table of which half are good manifests, but for rules between keys, and half have something else somewhere."""
    spoilt = draw(st.booleans())

    def some(strategy):
        return VALUES if spoilt and not draw(st.integers(0, 9)) else strategy

    def table(required=(), **keys):
        fields = {key: some(value) for key, value in keys.items()}
        return st.fixed_dictionaries(
            {key: value for key, value in fields.items() if key in required},
            optional={key: value for key, value in fields.items() if key not in required},
        )

    port, prot = st.integers(0, 65535), st.sampled_from(["tls", "tcp"])
    stdio = table(["kind"], kind=st.sampled_from(["null", "stdin", "stdout", "stderr"]), name=NAMES)
    addr = st.sampled_from(["::1", "127.0.0.1"])
    listen = table(["kind", "name", "prot"], kind=st.just("listen"), name=NAMES, prot=prot, addr=addr, port=port)
    connect = table(
        ["kind", "host", "prot"], kind=st.just("connect"), host=st.just("h"), prot=prot, name=NAMES, port=port
    )
    tls = table(
        roots=st.lists(st.sampled_from(["system", "steward", "ca.pem"]), min_size=1),
        client_auth=st.sampled_from(["none", "request", "require"]),
        peers=st.lists(st.sampled_from(["spiffe://a/b", "a.example"]), min_size=1),
        server_name=st.sampled_from(["a.example", "::1"]),
        alpn=st.lists(st.sampled_from(["h2", "http/1.1"]), min_size=1),
        handshake_timeout=st.integers(1, 300),
    )
    asset = table(
        ["source", "guest"], source=st.just("a/b"), guest=st.sampled_from(["/a", "/b", "/"]), writable=st.booleans()
    )
    files = draw(some(st.lists(some(listen | connect | stdio), max_size=4)))
    entries = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    names = [name for entry in entries if isinstance(name := entry.get("name", entry.get("host")), str)]
    return draw(
        table(
            ["files", "env", "package", "tls", "resources"],
            steward=st.sampled_from(["https://a.example", "http://localhost"]),
            args=st.lists(TEXTS),
            files=st.just(files),
            env=st.dictionaries(TEXTS, some(TEXTS), min_size=1, max_size=3),
            build=table(toolchain=LINES, source=LINES, args=st.lists(TEXTS)),
            package=table(["assets"], assets=st.lists(asset, max_size=2)),
            attest=table(issuer=LINES, protocol=st.sampled_from(["v1", "enarx"])),
            tls=st.dictionaries(st.sampled_from([*names, "w"]) if names else NAMES, tls, max_size=2),
            deploy=st.dictionaries(
                TEXTS, table(target=LINES, backend=LINES, minimum=LINES, name=st.just("a")), max_size=2
            ),
            resources=table(
                memory=SIZES,
                filesystem=SIZES,
                connections=st.integers(1, 16384),
                descriptors=st.integers(1, 65536),
                time=st.integers(1, 1 << 31),
                cpu_time=st.integers(1, 1 << 31),
            ),
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
    assert parse(loaded.text, "Enarx.toml").manifest == msgspec.structs.replace(loaded.manifest, deploy={})


@settings(max_examples=300)
@given(near_manifests())
def test_the_keep_reads_what_the_loader_takes_and_reads_the_same(table):
    text = tomli_w.dumps(table).encode()
    ours = manifest_or_problems(text)
    if not isinstance(ours, Manifest):
        return
    theirs = manifest_of_the_keep.read(text)
    assert theirs.argv() == ours.argv()
    assert theirs.environ() == [f"{name}={value}" for name, value in ours.environ()]
    assert (theirs.memory_bytes, theirs.filesystem_bytes) == (
        ours.resources.memory_bytes,
        ours.resources.filesystem_bytes,
    )
    limits = ("descriptors", "time", "cpu_time")
    assert [getattr(theirs, name) for name in limits] == [getattr(ours.resources, name) for name in limits]
    assert [(asset.guest, asset.writable) for asset in theirs.assets] == [
        (asset.guest, asset.writable) for asset in ours.package.assets
    ]
    for one, other in zip(theirs.files, ours.files, strict=True):
        tls = ours.tls.get(other.name, Tls())
        prot = getattr(other, "prot", "")
        assert (one.kind, one.tls is not None) == (msgspec.to_builtins(other)["kind"], prot == "tls")
        assert one.host == getattr(other, "host", "")
        if one.tls is not None:
            assert msgspec.structs.astuple(tls) == (
                one.tls.roots,
                one.tls.client_auth,
                one.tls.peers,
                one.tls.server_name or None,
                one.tls.alpn,
                one.tls.handshake_timeout,
            )


def test_the_keep_passes_over_a_byte_order_mark_too():
    text = b'\xef\xbb\xbffiles = [{ kind = "stdin" }]'
    assert [file.name for file in manifest_of_the_keep.read(text).files] == ["stdin"]
    assert [file.name for file in parse(text, "Enarx.toml").manifest.files] == ["stdin"]


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
