"""The JSON Schema agrees with the loader."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest
import tomli

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import Manifest, parse, schema

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.toml"))
LISTEN = 'files = [{ kind = "listen", name = "web", prot = "tls" }]\n'
CONNECT = 'files = [{ kind = "connect", host = "h", prot = "tls" }]\n'


@pytest.fixture(scope="module")
def validator():
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus(validator, path):
    valid = "with-host" not in path.stem
    assert validator.is_valid(tomli.loads(path.read_text())) is valid
    assert loads(path.read_text()) is valid


AGREED = {
    "": True,
    LISTEN: True,
    CONNECT: True,
    LISTEN + "tls.web.handshake_timeout = 300": True,
    CONNECT + 'tls.h.roots = ["system", "ca.pem"]': True,
    'files = [{ kind = "stdin", name = "" }]': True,
    'files = [{ kind = "stdin", name = "a:b" }]': False,
    'files = [{ kind = "stdin", name = "a\\n" }]': False,
    'files = [{ kind = "stdin", prot = "tls" }]': False,
    'files = [{ kind = "file" }]': False,
    'files = [{ name = "a" }]': False,
    'files = [{ kind = "listen", name = "", prot = "tls" }]': False,
    'files = [{ kind = "listen", name = "a" }]': False,
    'files = [{ kind = "connect", prot = "tls" }]': False,
    'files = [{ kind = "connect", host = "h", prot = "udp" }]': False,
    'files = [{ kind = "connect", host = "h", prot = "tcp", port = 0 }]': True,
    'files = [{ kind = "connect", host = "h", prot = "tcp", port = 65536 }]': False,
    'files = [{ kind = "connect", host = "h", prot = "tcp", port = "80" }]': False,
    "files = {}": False,
    'file = [{ kind = "stdin" }]': False,
    'steward = "https://a.example/x?y"': True,
    'steward = "http://[::1]:8080"': True,
    'steward = "http://a.example"': False,
    'steward = "a.example"': False,
    'args = ["a\\nb"]': True,
    'args = ["a\\u0000b"]': False,
    "args = [1]": False,
    'env.A = ""': True,
    "env.A = 1": False,
    'env."\\u0000" = "a"': False,
    'build = { toolchain = "c", source = "a", output = "b", args = ["-O2"] }': True,
    'build.source = ""': False,
    'package.assets = [{ source = "a", guest = "/a", writable = true }]': True,
    'package.assets = [{ source = "a", guest = "/a", writable = 1 }]': False,
    'package.assets = [{ source = "../a", guest = "/a" }]': False,
    'package.assets = [{ source = "a", guest = "/a/" }]': False,
    'package.assets = [{ source = "a" }]': False,
    'attest.protocol = "v2"': False,
    'attest.issuer = "mine"': True,
    CONNECT + "tls.h.roots = []": False,
    CONNECT + 'tls.h.roots = ["sytem"]': False,
    CONNECT + "tls.h.handshake_timeout = 301": False,
    'deploy.prod = { target = "ssh", backend = "snp", minimum = "snp", name = "a-1" }': True,
    'deploy.prod.name = "-a"': False,
    'deploy.prod = { host = "deploy@prod-1.example", replicas = 3, kubernetes = { namespace = "x" } }': True,
    'deploy.prod.host = "ssh://a@[::1]:22"': True,
    'deploy.prod.host = "-oProxyCommand=x"': False,
    'deploy.prod.host = "a@-b"': False,
    'deploy.prod.host = "a b"': False,
    "deploy.prod.replicas = 0": False,
    'deploy.prod.kubernetes = "x"': False,
    'deploy.prod.backend = ""': False,
    "resources = { memory = 65536, filesystem = 0, connections = 1 }": True,
    'resources.memory = "1GiB"': True,
    'resources.memory = "1 GB"': False,
    "resources.memory = -1": False,
    "resources.connections = 0": False,
    "resources.memory = true": False,
}


@pytest.mark.parametrize(("text", "valid"), AGREED.items(), ids=range(len(AGREED)))
def test_schema_and_loader_agree(validator, text, valid):
    assert (loads(text), validator.is_valid(tomli.loads(text))) == (valid, valid)


BETWEEN_KEYS = [
    LISTEN + "tls.wed = {}",
    LISTEN + "tls.web.roots = ['steward']",
    'files = [{ kind = "connect", host = "::1", prot = "tcp" }]',
    "resources.memory = 1",
]


@pytest.mark.parametrize("text", BETWEEN_KEYS, ids=range(len(BETWEEN_KEYS)))
def test_what_holds_between_keys_is_left_to_the_loader(validator, text):
    assert (loads(text), validator.is_valid(tomli.loads(text))) == (False, True)


def test_every_object_is_closed_and_every_key_described():
    definitions = schema()["$defs"]
    assert set(definitions) >= {"Manifest", "Listen", "Connect", "Tls", "Deploy", "Resources", "Asset"}
    for name, definition in definitions.items():
        assert definition["additionalProperties"] is False or name == "Deploy", name
        assert definition["description"], name
        for key, value in definition["properties"].items():
            assert key == "kind" or value["description"], f"{name}.{key}"


def test_defaults_are_those_of_the_types():
    assert schema()["$defs"]["Manifest"]["properties"]["resources"]["default"] == msgspec.to_builtins(
        Manifest().resources
    )
    # These depend on another key, and a schema cannot say so.
    assert "default" not in schema()["$defs"]["Listen"]["properties"]["port"]
    assert "default" not in schema()["$defs"]["Connect"]["properties"]["name"]


def loads(text: str) -> bool:
    try:
        parse(text.encode(), "Enarx.toml")
    except ManifestError:
        return False
    return True
