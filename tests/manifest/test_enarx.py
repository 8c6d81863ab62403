"""A manifest of Enarx 0.7.1 means here what it means there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import MAX_BYTES, Connect, Listen, Null, Stderr, Stdin, Stdout, load, parse

CORPUS = Path(__file__).parent / "corpus"
STDIO = (Stdin(), Stdout(), Stderr())

VALID = {
    "codex-chat-server": (*STDIO, Listen(name="ingest", prot="tcp", port=50000)),
    "codex-fibonacci": STDIO,
    "codex-mio-echo-tcp": (*STDIO, Listen(name="TEST_TCP_LISTEN", prot="tcp", port=10000)),
    "codex-std-tcp-client": (*STDIO, Connect(name="CONNECT", prot="tcp", host="127.0.0.1", port=10010)),
    "codex-tokio-echo-tcp": (*STDIO, Listen(name="LISTEN", prot="tcp", port=10010)),
    "codex-tokio-http": (*STDIO, Listen(name="TCP_LISTEN", prot="tcp", port=10020)),
    "enarx-client-test-wasm-example": STDIO,
    "enarx-config-init-template": STDIO,
    "steward": (*STDIO, Listen(name="ingest", prot="tcp", port=8443)),
}


@pytest.mark.parametrize("name", VALID)
def test_a_manifest_in_the_wild_loads_as_it_stands(name):
    path = CORPUS / f"{name}.toml"
    loaded = load(path)
    assert loaded.manifest.files == VALID[name]
    assert loaded.text == path.read_bytes()
    assert loaded.path == path
    assert loaded.warnings == []


def test_the_corpus_is_tested_in_full():
    assert {path.stem for path in CORPUS.glob("*.toml")} == {*VALID, "codex-chat-client-listen-with-host"}


def test_the_other_keys_of_the_corpus():
    assert load(CORPUS / "codex-fibonacci.toml").manifest.args == ("7", "21")
    assert load(CORPUS / "codex-tokio-http.toml").manifest.steward == "https://attest.profian.com"


def test_a_listen_with_the_key_of_a_connect_is_refused():
    path = CORPUS / "codex-chat-client-listen-with-host.toml"
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert str(caught.value) == f'{path}:22:1: unknown key `host` in `files[4]` (kind "listen")'
    assert caught.value.hint == '`host` is a key of kind "connect"; "listen" takes: name, prot, addr, port'
    assert len(caught.value.problems) == 1


def test_the_template_of_config_init_with_every_line_uncommented():
    text = (CORPUS / "enarx-config-init-template.toml").read_text()
    manifest = parse(re.sub("(?m)^# ", "", text).encode(), "Enarx.toml").manifest
    assert manifest.steward == "https://steward.example"
    assert manifest.files[3:] == (
        Listen(name="LISTEN", prot="tls", port=12345),
        Connect(name="CONNECT", prot="tls", host="localhost", port=23456),
    )
    assert manifest.env == {"VAR1": "var1", "VAR2": "var2"}


def test_no_file_is_the_three_standard_streams():
    loaded = load(None)
    assert loaded.manifest.files == STDIO
    assert loaded.path is None
    assert loaded.warnings == []
    assert parse(loaded.text, "Enarx.toml").manifest == loaded.manifest


@pytest.mark.parametrize("text", ["", "# nothing\n", 'args = ["x"]\n'])
def test_a_file_without_files_opens_none_and_says_so(text):
    loaded = parse(text.encode(), "Enarx.toml")
    assert loaded.manifest.files == ()
    assert loaded.warnings == [
        "Enarx.toml: no [[files]]: the workload gets no open files, not even stdin, stdout and stderr"
    ]


def test_an_empty_list_of_files_is_meant():
    assert parse(b"files = []", "Enarx.toml").warnings == []


def test_defaults_of_names_and_ports(read):
    manifest = read("""
        files = [
            { kind = "null" }, { kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" },
            { kind = "listen", name = "a", prot = "tls" }, { kind = "listen", name = "b", prot = "tcp" },
            { kind = "connect", host = "c.example", prot = "tls" },
            { kind = "connect", host = "d.example", prot = "tcp" },
        ]""")
    assert [file.name for file in manifest.files] == [
        *("null", "stdin", "stdout", "stderr", "a", "b", "c.example", "d.example")
    ]
    assert [(file.addr, file.port) for file in manifest.files[4:6]] == [("::", 443), ("::", 80)]
    assert [(file.host, file.port) for file in manifest.files[6:]] == [("c.example", 443), ("d.example", 80)]


def test_port_zero_is_any_free_port(read):
    text = '[[files]]\nkind = "listen"\nname = "a"\nprot = "tls"\nport = 0'
    assert read(text).files[0].port == 0


def test_the_environment_begins_with_the_descriptors(read):
    manifest = read("""
        args = ["one"]
        files = [{ kind = "stdout" }, { kind = "null" }, { kind = "connect", host = "db", prot = "tcp" }]
        [env]
        B = "2"
        A = "1"
        FD_COUNT = "9"
        """)
    assert manifest.files[0] == Stdout()
    assert manifest.files[1] == Null()
    assert manifest.argv() == ["main.wasm", "one"]
    assert manifest.environ() == [
        ("FD_COUNT", "3"),
        ("FD_NAMES", "stdout:null:db"),
        ("B", "2"),
        ("A", "1"),
        ("FD_COUNT", "9"),
    ]


def test_names_that_enarx_allows(read):
    manifest = read("""
        files = [
            { kind = "stdin", name = "" }, { kind = "stdout", name = "out" }, { kind = "stderr", name = "out" },
            { kind = "listen", name = "a b=c.d", prot = "tcp" },
        ]""")
    assert [file.name for file in manifest.files] == ["", "out", "out", "a b=c.d"]


def test_a_byte_order_mark_is_passed_over_and_kept():
    text = b"\xef\xbb\xbffiles = []\n"
    assert parse(text, "Enarx.toml").text == text


# The faults of Enarx's own error table, each with the place that a user is pointed at.
REFUSED = {
    "listen with host": ('kind="listen"\nname="a"\nprot="tls"\nhost="b"', 5, "unknown key `host`"),
    "no prot": ('kind="listen"\nname="a"', 1, "lacks `prot`"),
    "no name": ('kind="listen"\nprot="tls"', 1, "lacks `name`"),
    "no host": ('kind="connect"\nprot="tls"', 1, "lacks `host`"),
    "no kind": ('name="a"', 1, "lacks `kind`"),
    "bad kind": ('kind="bogus"', 2, '`files[0].kind` must be "null", "stdin"'),
    "kind of a wrong type": ("kind=1", 2, '`files[0].kind` must be "null", "stdin"'),
    "bad prot": ('kind="listen"\nname="a"\nprot="udp"', 4, '`files[0].prot` must be "tcp" or "tls", not "udp"'),
    "stdin with another key": ('kind="stdin"\nfoo="a"', 3, "unknown key `foo`"),
    "colon in a name": ('kind="stdin"\nname="a:b"', 3, "`files[0].name` must be a name without ':'"),
    "port too large": ('kind="connect"\nhost="h"\nprot="tls"\nport=70000', 5, "an integer from 0 to 65535, not 70000"),
    "port below zero": ('kind="connect"\nhost="h"\nprot="tls"\nport=-1', 5, "an integer from 0 to 65535, not -1"),
    "port in quotes": ('kind="connect"\nhost="h"\nprot="tls"\nport="80"', 5, 'an integer from 0 to 65535, not "80"'),
    "port as a float": ('kind="connect"\nhost="h"\nprot="tls"\nport=80.0', 5, "an integer from 0 to 65535, not 80.0"),
    "port as a truth": ('kind="connect"\nhost="h"\nprot="tls"\nport=true', 5, "an integer from 0 to 65535, not true"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_faulty_file_entry_is_refused_at_its_line(problems, fault):
    entry, line, words = REFUSED[fault]
    (problem,) = problems(f"[[files]]\n{entry}\n")
    assert problem.startswith(f"Enarx.toml:{line}:")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('steward = "foo"', "Enarx.toml:1:11: `steward` must be an absolute https:// URL"),
        ('args = "x"', 'Enarx.toml:1:8: `args` must be an array of strings, not "x" (an array is written in brackets'),
        ('args = ["a", 1]', "Enarx.toml:1:14: `args[1]` must be a string, not 1 (a string is written in quotes"),
        ("env.A = 1", "Enarx.toml:1:9: `env.A` must be a string, not 1"),
        ("[files]", "Enarx.toml:1:1: `files` must be an array of tables, not a table (an array of tables is written"),
    ],
)
def test_a_faulty_value_at_the_top_is_refused(problems, text, message):
    (problem,) = problems(f"{text}\n")
    assert problem.startswith(message)


def test_a_misspelt_table_is_an_error_where_enarx_is_silent(problems):
    assert problems('stewart = "https://a"\n\n[[file]]\nkind = "stdin"\n') == [
        "Enarx.toml:1:1: unknown key `stewart` (did you mean `steward`?)",
        "Enarx.toml:3:3: unknown key `file` (did you mean `files`?)",
    ]


def test_a_name_taken_from_a_host_must_not_join_names(problems):
    (problem,) = problems('[[files]]\nkind = "connect"\nprot = "tcp"\nhost = "::1"\n')
    words = "Enarx.toml:4:8: `files[0]` is named by its host \"::1\", and ':' joins the names in FD_NAMES"
    assert problem == words + ' (add `name = "..."` to it)'


def test_the_largest_manifest():
    comment = b"files = []\n#"
    assert parse(comment.ljust(MAX_BYTES, b"x"), "Enarx.toml").manifest.files == ()
    with pytest.raises(ManifestError, match=r"Enarx.toml: is longer than 1,000,000 bytes"):
        parse(comment.ljust(MAX_BYTES + 1, b"x"), "Enarx.toml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"Enarx.toml: cannot be read: No such file or directory"):
        load(tmp_path / "Enarx.toml")


def test_a_folder_is_no_manifest(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_larger_than_the_limit_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "Enarx.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file, which would not fit into memory
    with pytest.raises(ManifestError, match="is longer than"):
        load(path)
