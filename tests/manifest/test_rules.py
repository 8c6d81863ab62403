"""What must hold between keys, and what is allowed with a warning."""

from __future__ import annotations

import pytest

from enarx_deploy.manifest import parse

LISTEN = '[[files]]\nkind = "listen"\nname = "web"\nprot = "tls"\n'
CONNECT = '[[files]]\nkind = "connect"\nhost = "db.example"\nprot = "tls"\n'

REFUSED = {
    "sockets of one name": (
        LISTEN + '[[files]]\nkind = "connect"\nhost = "a"\nname = "web"\nprot = "tcp"\n',
        'Enarx.toml:8:8: `files[1]` has the name "web", as `files[0]` has (give it another `name`',
    ),
    "sockets named by one host": (
        CONNECT + CONNECT + "port = 1\n",
        'Enarx.toml:7:8: `files[1]` has the name "db.example", as `files[0]` has (give it another `name`',
    ),
    "two listen on one port": (
        LISTEN + '[[files]]\nkind = "listen"\nname = "api"\nprot = "tcp"\nport = 443\n',
        "Enarx.toml:9:8: `files[1]` listens on the address and port 443 of `files[0]` (give one of them another",
    ),
    "two listen on one port by default": (
        LISTEN + '[[files]]\nkind = "listen"\nname = "api"\nprot = "tls"\n',
        "Enarx.toml:5:1: `files[1]` listens on the address and port 443 of `files[0]`",
    ),
    "tls of no socket": (
        LISTEN + "[tls.wed]\n",
        'Enarx.toml:5:6: `tls.wed` is no socket of `files` (did you mean "web"?)',
    ),
    "a secret that is nowhere": (
        '[[secrets]]\nname = "a"\n',
        "Enarx.toml:1:1: `secrets[0]` is nowhere (add `file` or `env`: where the workload finds it)",
    ),
    "a secret that is a directory": (
        '[[secrets]]\nname = "a"\nfile = "/"\n',
        "Enarx.toml:3:8: `secrets[0].file` is a directory",
    ),
    "secrets of one name": (
        'secrets = [{ name = "a", env = "A" }, { name = "a", env = "B" }]\n',
        'Enarx.toml:1:48: `secrets[1].name` is "a", as in `secrets[0]` (give it another `name`)',
    ),
    "a secret where an asset is": (
        'secrets = [{ name = "a", file = "/a" }]\n[[package.assets]]\nsource = "b"\nguest = "/a"\n',
        'Enarx.toml:1:33: `secrets[0].file` is "/a", as in `package.assets[0]`',
    ),
    "a secret in a variable that is set": (
        'secrets = [{ name = "a", env = "A" }]\n[env]\nA = "b"\n',
        'Enarx.toml:1:32: `secrets[0].env` is "A", as in `env`',
    ),
    "a secret in a variable of the Keep's own": (
        'secrets = [{ name = "a", env = "FD_COUNT" }]\n',
        "must be a variable's name",
    ),
    "no names for ACME": (
        '[attest]\nissuer = "acme"\n',
        'Enarx.toml:2:10: `attest.issuer` is "acme", and no names are listed for its certificate (add `names',
    ),
    "a wildcard for ACME": (
        '[acme]\nnames = ["*.example.org"]\n',
        "must be a DNS name in small letters, without wildcards",
    ),
    "secrets with ACME": (
        'secrets = [{ name = "a", env = "A" }]\n[attest]\nissuer = "acme"\n[acme]\nnames = ["a.example"]\n',
        'Enarx.toml:1:11: `secrets` are released by a Steward, and `attest.issuer` is "acme"',
    ),
    "secrets by Enarx's protocol": (
        'secrets = [{ name = "a", env = "A" }]\n[attest]\nprotocol = "enarx"\n',
        "Enarx.toml:1:11: `secrets` are not released by Enarx's protocol",
    ),
    "tls of stdin": ('files = [{ kind = "stdin" }]\ntls.stdin = {}\n', "Enarx.toml:2:5: `tls.stdin` is no socket"),
    "roots where clients are not asked": (
        LISTEN + '[tls.web]\nroots = ["steward"]\n',
        "Enarx.toml:6:1: `tls.web.roots` has no meaning: clients are not asked for certificates (remove it, or add",
    ),
    "peers where clients are not asked": (
        LISTEN + '[tls.web]\nclient_auth = "none"\npeers = ["a.example"]\n',
        "Enarx.toml:7:1: `tls.web.peers` has no meaning: clients are not asked for certificates",
    ),
    "a server's name where clients come": (
        LISTEN + '[tls.web]\nserver_name = "a.example"\n',
        "Enarx.toml:6:1: `tls.web.server_name` has no meaning: this one listens",
    ),
    "asking the server as a client": (
        CONNECT + '[tls."db.example"]\nclient_auth = "require"\n',
        'Enarx.toml:6:1: `tls."db.example".client_auth` has no meaning: this one connects',
    ),
    "another way to ask": (
        LISTEN + '[tls.web]\nclient_auth = "required"\n',
        'must be "none", "request" or "require", not "required" (did you mean "require"?)',
    ),
    "no peers at all": (CONNECT + '[tls."db.example"]\npeers = []\n', "must be an array of strings that is not empty"),
    "a peer that is a pattern": (
        CONNECT + '[tls."db.example"]\npeers = ["*.example"]\n',
        "must be a name of a certificate",
    ),
    "a protocol without a name": (LISTEN + '[tls.web]\nalpn = [""]\n', "must be the name of a protocol"),
    "a server's name with a space": (
        CONNECT + '[tls."db.example"]\nserver_name = "a b"\n',
        "must be a DNS name or an IP address",
    ),
    "no roots at all": (
        CONNECT + '[tls."db.example"]\nroots = []\n',
        'Enarx.toml:6:9: `tls."db.example".roots` must be',
    ),
    "roots that are no path": (CONNECT + '[tls."db.example"]\nroots = ["sytem"]\n', 'must be "system", "steward", or'),
    "handshake without end": (
        CONNECT + '[tls."db.example"]\nhandshake_timeout = 0\n',
        "an integer from 1 to 300, not 0",
    ),
    "http elsewhere": ('steward = "http://steward.example"\n', "`steward` must be an absolute https:// URL (http://"),
    "http to a name that looks local": ('steward = "http://localhost.evil.example"\n', "`steward` must be an absolute"),
    "http to a user named localhost": (
        'steward = "http://localhost:80@evil.example/"\n',
        "`steward` must be an absolute",
    ),
    "http to no address": ('steward = "http://127.0.0.999"\n', "`steward` must be an absolute URL, not"),
    "another scheme": ('steward = "ftp://steward.example"\n', "`steward` must be an absolute https:// URL"),
    "a port that is none": ('steward = "https://steward.example:99999"\n', "`steward` must be an absolute URL, not"),
    "a port that is no number": ('steward = "https://steward.example:x"\n', "`steward` must be an absolute URL, not"),
    "a host that is none": ('steward = "https://[::1"\n', "`steward` must be an absolute URL, not"),
    "a URL with a space": ('steward = "https://steward.example/a b"\n', "`steward` must be an absolute https:// URL"),
    "an asset from outside": (
        'package.assets = [{ source = "../key.pem", guest = "/key.pem" }]\n',
        "Enarx.toml:1:30: `package.assets[0].source` must be a path inside the project: relative, without '..'",
    ),
    "the project itself as an asset": ('package.assets = [{ source = "./", guest = "/" }]\n', "not the project itself"),
    "an asset by absolute path": (
        'package.assets = [{ source = "/etc", guest = "/etc" }]\n',
        "a path inside the project",
    ),
    "an asset at no absolute path": (
        'package.assets = [{ source = "a", guest = "a/../b" }]\n',
        "`package.assets[0].guest` must be an absolute path without '.', '..'",
    ),
    "assets at one path": (
        'package.assets = [{ source = "a", guest = "/x" }, { source = "b", guest = "/x" }]\n',
        'Enarx.toml:1:75: `package.assets[1]` is at "/x", as `package.assets[0]` is (give it another `guest`)',
    ),
    "a size of no unit": (
        'resources.memory = "256 MB"\n',
        "`resources.memory` must be a number of bytes, or a size such",
    ),
    "a size with a newline": ('resources.memory = "1 GiB\\n"\n', "`resources.memory` must be a number of bytes"),
    "less than a page": ("resources.memory = 65535\n", "`resources.memory` must be from 64 KiB (a page) to 4 GiB"),
    "more than 32 bits address": ('resources.memory = "5 GiB"\n', "`resources.memory` must be from 64 KiB (a page) to"),
    "more files than memory": ('resources.filesystem = "65 GiB"\n', "`resources.filesystem` must be at most 64 GiB"),
    "a size beyond 64 bits": (f"resources.memory = {10**30}\n", "`resources.memory` must be a number of bytes"),
    "too many connections": ("resources.connections = 16385\n", "an integer from 1 to 16384, not 16385"),
    "a name for no file system": ('deploy.a.name = "../x"\n', "`deploy.a.name` must be 1 to 63 letters, digits"),
    "a line break in a name": (
        'files = [{ kind = "stdin", name = "a\\n" }]\n',
        "`files[0].name` must be a name without",
    ),
    "a socket without a name": ('files = [{ kind = "listen", name = "", prot = "tcp" }]\n', "a name that is not empty"),
    "a host with a space": (
        'files = [{ kind = "connect", host = "a b", prot = "tcp" }]\n',
        "a host name or an IP address",
    ),
    "NUL in an argument": ('args = ["a\\u0000b"]\n', "`args[0]` must be a string without NUL characters"),
    "NUL in the environment": ('env.A = "\\u0000"\n', "`env.A` must be a string without NUL characters"),
    "NUL in a name of the environment": (
        'env."\\u0000" = "a"\n',
        'Enarx.toml:1:5: the key "\\u0000" in `env` must be a',
    ),
}


REFUSED |= {
    "a destination without a port": ('network.connect = ["a.example"]', '`network.connect[0]` must be "HOST:PORT", or'),
    "a destination of another protocol": (
        'network.connect = ["udp://a.example:53"]',
        'must be "HOST:PORT", or "tcp://',
    ),
    "any destination": ('network.connect = ["*:443"]', 'must be "HOST:PORT", or'),
    "any port": ('network.connect = ["a.example:0"]', 'must be "HOST:PORT", or'),
    "a destination with a path": ('network.connect = ["a.example:443/x"]', 'must be "HOST:PORT", or'),
    "a destination with a line break": ('network.connect = ["a.example:443\\n"]', 'must be "HOST:PORT", or'),
    "a port that there is not": (
        'network.connect = ["a.example:65536"]',
        "Enarx.toml:1:20: `network.connect[0]` has a port above 65535",
    ),
    "a destination twice": (
        'network.connect = ["a.example:443", "tcp://A.example:443"]',
        'Enarx.toml:1:37: `network.connect[1]` is "A.example:443", as `network.connect[0]` is',
    ),
    "no connections": ("network.connections = 0", "an integer from 1 to 1024, not 0"),
    "asking a destination as a client": (
        'network.connect = ["a.example:443"]\ntls."a.example:443".client_auth = "require"',
        "has no meaning: this one connects",
    ),
    "tls of no destination": (
        'network.connect = ["a.example:443"]\ntls."b.example:443" = {}',
        '`tls."b.example:443"` is no socket of `files`',
    ),
    "more streams than a block holds": (
        LISTEN + "[resources]\nconnections = 16000\n[network]\nconnections = 400\n",
        "`resources.connections` and `network.connections` are more than 16384 together",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_manifest_that_breaks_one_rule_has_one_problem(problems, fault):
    text, words = REFUSED[fault]
    (problem,) = problems(text)
    assert words in problem


ALLOWED = {
    "destinations of every sort": 'network.connect = ["a.example:443", "127.0.0.1:1", "[::1]:65535", "tcp://b.example:80"]\n'
    'tls."a.example:443" = { roots = ["steward"], peers = ["spiffe://a/b"] }',
    "http to this machine": 'steward = "http://localhost:8080/"',
    "http to the loopback": 'steward = "HTTP://127.0.0.1"',
    "http to the loopback of IPv6": 'steward = "http://[::1]:80"',
    "any port of one kind on any free one": "files = ["
    '{ kind = "listen", name = "a", prot = "tls", port = 0 }, { kind = "listen", name = "b", prot = "tls", port = 0 }]',
    "one port on two addresses": "files = ["
    '{ kind = "listen", name = "a", prot = "tls", addr = "127.0.0.1" }, { kind = "listen", name = "b", prot = "tls" }]',
    "roots of every sort": 'files = [{ kind = "connect", host = "h", prot = "tls" }]\n'
    'tls.h.roots = ["system", "steward", "ca.pem", "certs/ca"]',
    "an asset at the root": 'package.assets = [{ source = "./.a", guest = "/" }, { source = "a..b", guest = "/.a" }]',
    "the least and the most": "resources = { memory = 65536, filesystem = 0, connections = 16384 }",
    "an issuer of a plugin": 'attest = { issuer = "mine", protocol = "enarx" }',
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed(read, name):
    read(ALLOWED[name])


def test_sizes_in_bytes(read):
    resources = read('resources = { memory = "256 MiB", filesystem = "3KiB" }').resources
    assert (resources.memory_bytes, resources.filesystem_bytes) == (256 * 1024 * 1024, 3072)
    assert read("resources.memory = 65536").resources.memory_bytes == 65536
    assert read("").resources.memory_bytes == 4 * 1024**3


WARNED = {
    "FD_COUNT": ('env.FD_COUNT = "1"', "Enarx.toml:1:16: `env.FD_COUNT` is not seen by getenv: the Keep sets FD_COUNT"),
    "no name": ('env."" = "1"', 'Enarx.toml:1:10: the name "" in `env` is not one that getenv can find'),
    "= in a name": ('env."A=B" = "1"', 'Enarx.toml:1:13: the name "A=B" in `env` is not one that getenv can find'),
    "credentials": ('steward = "https://u:p@a.example"', "Enarx.toml:1:11: `steward` holds credentials, and whoever"),
    "an idle steward": (
        'steward = "https://a.example"\nattest.issuer = "selfsigned"',
        "Enarx.toml:1:11: `steward` is not asked",
    ),
    "a destination in clear": (
        'network.connect = ["a.example:443", "tcp://b.example:80"]',
        "Enarx.toml:1:37: `network.connect[1]` is plain TCP: the host and the network see and change all of it",
    ),
    "tls of tcp": (
        "tls.web.handshake_timeout = 1",
        "Enarx.toml:1:5: `tls.web` does nothing: `prot` of that socket is tcp",
    ),
}


def test_clients_of_any_name_are_warned_of():
    text = f'{LISTEN}[tls.web]\nclient_auth = "request"\n'
    (warning,) = parse(text.encode(), "Enarx.toml").warnings
    assert warning.startswith("Enarx.toml:6:15: `tls.web` has no `peers`: every client with a certificate under its")
    assert parse(f'{text}peers = ["a.example"]\n'.encode(), "Enarx.toml").warnings == []


@pytest.mark.parametrize("name", WARNED)
def test_what_is_seldom_meant_is_warned_of(name):
    text, words = WARNED[name]
    files = 'files = [{ kind = "listen", name = "web", prot = "tcp" }]'
    (warning,) = parse(f"{text}\n{files}".encode(), "Enarx.toml").warnings
    assert warning.startswith(words)


def test_all_problems_are_found_in_the_order_of_the_file(problems):
    found = problems("""\
stewart = 1
[[files]]
kind = "listen"
name = "web"
port = "80"
[[files]]
kind = "conect"
[build]
toolchian = "c"
args = "x"
[resources]
memory = 1
[deploy.default]
traget = "local"
name = 7
""")
    assert [problem.partition(" (")[0].partition(", not ")[0] for problem in found] == [
        "Enarx.toml:1:1: unknown key `stewart`",
        "Enarx.toml:2:1: `files[0]`",
        "Enarx.toml:5:8: `files[0].port` must be an integer from 0 to 65535",
        'Enarx.toml:7:8: `files[1].kind` must be "null", "stdin", "stdout", "stderr", "listen" or "connect"',
        "Enarx.toml:9:1: unknown key `toolchian` in `build`",
        "Enarx.toml:10:8: `build.args` must be an array of strings",
        "Enarx.toml:12:10: `resources.memory` must be from 64 KiB",
        "Enarx.toml:14:1: unknown key `traget` in `deploy.default`",
        "Enarx.toml:15:8: `deploy.default.name` must be a string",
    ]


def test_a_fault_in_files_is_not_told_again_of_tls(problems):
    (problem,) = problems(LISTEN + "prt = 1\n[tls.web]\n")
    assert problem.startswith("Enarx.toml:5:1: unknown key `prt`")


def test_a_password_in_a_url_is_not_printed(problems):
    (problem,) = problems('steward = "http://user:hunter2@steward.example"')
    assert "hunter2" not in problem
    assert "//...@steward.example" in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a = "x"\nb = = 1\n', 'Enarx.toml:2:5: not TOML: Invalid value (text is written in quotes: name = "web")'),
        ("steward = https://a.example\n", "Enarx.toml:1:11: not TOML: Invalid value"),
        ('[env]\nA = "x\n', "Enarx.toml:2:7: not TOML: Illegal character"),
        ('[env]\nA = "1"\nA = "2"\n', "Enarx.toml:3:8: not TOML: Cannot overwrite a value"),
        (b'args = ["\xc3\xa9\xff"]\n', "Enarx.toml:1:11: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        (b"# a\n\xff", "Enarx.toml:2:1: byte 0xff is not UTF-8"),
        ("a = " + "[" * 5000 + "]" * 5000, "Enarx.toml: is nested too deeply"),
        ("a = " + "9" * 5000, "Enarx.toml: holds a number that is too long"),
        (
            "env = { A = '1',\n}",
            "Enarx.toml:1:17: TOML 1.1, and a Keep reads TOML 1.0 (put an inline table on one line",
        ),
        ('args = ["\\e"]', "TOML 1.1, and a Keep reads TOML 1.0"),
        ("files = [[]]", "Enarx.toml:1:10: `files[0]` must be a table, not an array"),
        (
            f"resources.connections = 0x{'f' * 5000}",
            "`resources.connections` must be an integer from 1 to 16384, not a",
        ),
    ],
)
def test_what_is_not_toml_is_pointed_at(problems, text, message):
    (problem,) = problems(text)
    assert message in problem
