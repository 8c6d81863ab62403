"""`up REFERENCE@DIGEST`: the certificate comes before the package, and the package to the Keep alone."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

from enarx_deploy import attest_first
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.reference import parse

from .conftest import MANIFEST, MARKER

SECRETS = b'[[secrets]]\nname = "both"\nenv = "TOKEN"\nfile = "/secrets/key"\n'


def words(steward, registry, reference: str) -> list[str]:
    return [
        *("up", "--json", reference),
        *("--registry-roots", str(registry.roots), "--set", f"steward={steward.url}"),
    ]


def holds(pid: int, wanted: bytes) -> bool:
    """Whether the writable memory of a process has these bytes."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if " rw" not in line[:60]:
                continue
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            memory.seek(start)
            try:
                if wanted in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def test_a_service_whose_package_the_host_never_sees(cli, steward, registry, echo_module, tmp_path) -> None:
    module = echo_module.read_bytes()
    digest = registry.publish("1.0.0", {"main.wasm": module, "Enarx.toml": MANIFEST % (MARKER, 0)})
    reference = registry.reference("1.0.0", digest)
    assert registry.server.client().get("testuser/private/_tag/1.0.0/tree").status_code == 401, "it is private"
    up = cli(*words(steward, registry, reference))
    assert up.returncode == 0, up.stderr
    record = json.loads(up.stdout)
    (endpoint,) = record["endpoints"]
    assert (endpoint["name"], endpoint["prot"], record["deployment"]["package"]) == ("echo", "tls", digest)

    context = ssl.create_default_context(cafile=steward.root)
    with (
        socket.create_connection(("127.0.0.1", endpoint["port"]), 120) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"hello\n")
        assert client.recv(6) == b"hello\n"
        names = [name for kind, name in client.getpeercert()["subjectAltName"] if kind == "URI"]
    assert names == [f"spiffe://localhost/package/{digest.replace(':', '/')}"]

    (keep,) = json.loads(cli("keeps", "--json").stdout)
    assert keep["endpoints"] == [{"name": "echo", "host": "localhost", "port": endpoint["port"], "prot": "tls"}]
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert MARKER not in content, path
            assert module[-512:] not in content, path
    assert not holds(keep["pid"], MARKER), "the host process relays ciphertext"
    (child,) = Path(f"/proc/{keep['pid']}/task/{keep['pid']}/children").read_text().split() or ["0"]
    assert child == "0" or holds(int(child), module[-512:]), "and this look would have found it"
    assert cli("renew").returncode == 0


def test_a_package_of_another_digest_is_not_run_and_the_cause_is_told(cli, steward, registry, echo_module) -> None:
    registry.publish("1.0.1", {"main.wasm": echo_module.read_bytes(), "Enarx.toml": MANIFEST % (MARKER, 0)})
    refused = cli(*words(steward, registry, registry.reference("1.0.1", f"sha256:{'00' * 32}")))
    assert refused.returncode == 1
    why = f"the package cannot be fetched from localhost port {registry.port}: "
    assert why in refused.stderr
    assert "it does not serve this package to this Keep" in refused.stderr
    (keep,) = json.loads(cli("keeps", "--json").stdout)
    assert keep["state"] == "failed"
    assert keep["reason"].startswith(why)
    assert "--fetch-here has this machine fetch it" in refused.stderr


def test_a_program_gets_its_secrets_when_it_has_been_fetched(cli, steward, registry, program, tmp_path) -> None:
    manifest = MANIFEST.partition(b'[[files]]\nkind = "listen"')[0] % MARKER + SECRETS
    digest = registry.publish("3.0.0", {"main.wasm": program("secrets").read_bytes(), "Enarx.toml": manifest})
    (tmp_path / "secret").write_bytes(b"drawn back")
    (tmp_path / "secret").chmod(0o600)
    rule = f'[[secret]]\nname = "both"\nfile = "{tmp_path / "secret"}"\nkinds = ["nil"]\npackages = ["{digest}"]\n'
    run = ["run", "--attest-first", registry.reference("3.0.0", digest), "--registry-roots", str(registry.roots)]
    run += ["--set", f"steward={steward.url}"]
    refused = cli(*run)
    assert refused.returncode == 3
    assert "secret.granted" in refused.stderr
    assert refused.stdout == ""
    steward.accept(rule)
    try:
        ran = cli(*run)
    finally:
        steward.accept("")
    assert (ran.returncode, ran.stdout) == (0, "kcab nward\n" * 2), ran.stderr
    refused = cli(*run, "argument")
    assert refused.returncode == 2
    assert "not for a package that this machine does not see" in refused.stderr


def test_a_steward_that_asks_for_signatures_has_those_that_the_registry_shows(
    cli, steward, registry, provider, echo_module, tmp_path
) -> None:
    key = json.loads(cli("key", "generate", "release.key", "--no-passphrase", "--json").stdout)
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.wasm").write_bytes(echo_module.read_bytes())
    (project / "Enarx.toml").write_bytes(MANIFEST % (MARKER, 0))
    for name, public in {"open": True, "private": False}.items():
        registry.owner.register(repository=name, public=public)
    place = f"localhost:{registry.port}"
    login = {
        "ENARX_INSECURE_AUTH_TOKEN": provider.token(),
        "ENARX_REGISTRY": place,
        "ENARX_CA_BUNDLE": str(registry.roots),
    }
    publish = ["publish", "-C", str(project), "--sign", str(cli.directory / "release.key")]
    references = {}
    for name in ("open", "private"):
        published = cli(*publish, f"{place}/testuser/{name}:4.0.0", env=login)
        assert published.returncode == 0, published.stderr
        references[name] = published.stdout.strip()
    steward.accept(f"[[packages.signers]]\nname = 'release team'\nkey = '''{key['pem']}'''\n")
    try:
        refused = cli(*words(steward, registry, references["private"]))
        assert refused.returncode == 3
        assert "packages.signed" in refused.stderr, "the registry shows this host no signature, so none came"
        without_tag = references["open"].replace(":4.0.0", "")
        up = cli(*words(steward, registry, without_tag))
        assert up.returncode == 0, up.stderr
        assert cli("renew").returncode == 0
    finally:
        steward.accept("")
    trust = cli("key", "trust", str(cli.directory / "release.key.pub"), "--name", "release team")
    assert trust.returncode == 0, trust.stderr
    unseen = cli(*words(steward, registry, references["private"]))
    assert (unseen.returncode, "nobody whom you trust is seen to have signed it" in unseen.stderr) == (3, True)
    assert "--allow-unsigned" in unseen.stderr
    seen = cli(*words(steward, registry, references["open"]), "--set", "env.A=b")
    assert "only steward, attest, deploy can be set" in seen.stderr, "a key that is trusted did sign it"


def test_what_cannot_be_fetched_by_a_keep_is_said_before_anything_starts(cli, steward) -> None:
    digest = f"sha256:{'ab' * 32}"
    for reference, why in {
        f"oci://localhost:1/a:1@{digest}": "a Keep fetches from a Drawbridge by TLS",
        f"drawbridge+http://localhost:1/a/b:1.0.0@{digest}": "a Keep fetches by TLS",
        "drawbridge://localhost:1/a/b:1.0.0": "does not say which package it is",
    }.items():
        refused = cli("up", "--attest-first", reference, "--set", f"steward={steward.url}")
        assert refused.returncode == 2, refused.stderr
        assert why in refused.stderr
        assert "--fetch-here" in refused.stderr
        here = cli("up", reference)
        told = "this machine fetches the package, not the Keep: " in here.stderr
        assert (here.returncode, told) == (1, "@" in reference), here.stderr
        assert "this machine fetches" not in cli("up", "--fetch-here", reference).stderr
    good = f"localhost:1/a/b:1.0.0@{digest}"
    assert parse(good).scheme == "drawbridge"
    for asked in ((), ("--attest-first",)):
        refused = cli("up", *asked, good, "--set", "env.A=b")
        assert refused.returncode == 2
        assert "only steward, attest, deploy can be set" in refused.stderr
    assert "for a reference" in cli("up", "--attest-first").stderr
    assert cli("key", "generate", "a.key", "--no-passphrase").returncode == 0
    assert cli("key", "trust", "a.key.pub", "--name", "somebody").returncode == 0
    for command in ("up", "run"):
        refused = cli(command, "--attest-first", good)
        assert (refused.returncode, "nobody whom you trust is seen" in refused.stderr) == (3, True)
    allowed = cli("up", good, "--allow-unsigned", "--set", "env.A=b")
    assert "only steward, attest, deploy can be set" in allowed.stderr
    assert json.loads(cli("keeps", "--json").stdout) == []


def test_a_target_whose_keeps_do_not_fetch_gets_the_package_sent_along() -> None:
    plugins = PluginManager.from_environment()
    reference = parse(f"localhost:1/a/b:1.0.0@sha256:{'ab' * 32}")
    assert attest_first.objection(reference, plugins, plugins.get("target", "local")) == ""
    assert "do not fetch their package themselves" in attest_first.objection(reference, plugins, Elsewhere())


class Elsewhere:
    """A target of before there was `keeps_fetch`."""

    name = "elsewhere"
