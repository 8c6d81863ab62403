"""Certificates by ACME, from Debian's Pebble: real orders, real validation, and what clients are told of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from tests.ports import free_port

pytestmark = pytest.mark.skipif(
    not (shutil.which("pebble") and shutil.which("pebble-challtestsrv")),
    reason="Pebble, an ACME server for tests, is not installed",
)
NAME, OTHER = "app.example.test", "www.example.test"
EAB_KID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass
class Pebble:
    """A Pebble, with a DNS server of its own that answers 127.0.0.1 for every name."""

    directory: str
    root: Path
    other_root: Path
    server_root: Path
    http_port: int
    dns_management: str

    def register(self, cli: Any, *how: str, root: Path | None = None, agree: bool = True) -> Any:
        words = ["acme", "register", "--directory", self.directory, "--server-root", str(self.server_root)]
        words += ["--root", str(root or self.root), *(["--agree-to-terms"] if agree else [])]
        return cli(*words, *(how or ("--http-01", f"127.0.0.1:{self.http_port}")))


@pytest.fixture(scope="module")
def start_pebble(authority: Callable, tmp_path_factory: pytest.TempPathFactory, eventually: Callable) -> Iterator[Any]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**changes: Any) -> Pebble:
        own = authority("pebble")
        folder = tmp_path_factory.mktemp("pebble")
        listen, management, http, dns, dns_management = (free_port() for _ in range(5))
        config = {
            "listenAddress": f"127.0.0.1:{listen}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(own.certificate),
            "privateKey": str(own.key),
            "httpPort": http,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        (folder / "config.json").write_text(json.dumps({"pebble": config | changes}))
        names = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
        names += ["-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}"]
        # A fifth of all nonces are refused, hardly ever ten in a row, and authorizations are not remembered.
        odds = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}
        environment = os.environ | odds | {"PEBBLE_ALTERNATE_ROOTS": "1"}
        server = ["pebble", "-strict", "-config", str(folder / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"]
        with (folder / "log").open("wb") as log:
            for words in (["pebble-challtestsrv", *names], server):
                started.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
        directory, roots = f"https://localhost:{listen}/dir", f"https://localhost:{management}/roots"
        context = ssl.create_default_context(cafile=own.root)

        def root(number: int) -> Path:
            path = folder / f"root-{number}.pem"
            path.write_text(httpx.get(f"{roots}/{number}", verify=context, timeout=120).text)
            return path

        def is_up() -> bool:
            try:
                socket.create_connection(("127.0.0.1", dns_management), timeout=120).close()
                asked = [httpx.get(url, verify=context, timeout=120) for url in (directory, f"{roots}/1")]
            except (httpx.TransportError, OSError):
                return False
            return all(one.status_code == 200 for one in asked)

        eventually(is_up, f"Pebble: {(folder / 'log').read_text()}")
        return Pebble(directory, root(0), root(1), own.root, http, f"http://127.0.0.1:{dns_management}")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def pebble(start_pebble: Callable[..., Pebble]) -> Pebble:
    return start_pebble()


def manifest(*names: str, more: str = "") -> str:
    return f'[attest]\nissuer = "acme"\n[acme]\nnames = {json.dumps(names)}\n{more}'


def served(port: int, root: Path, name: str) -> x509.Certificate:
    """What a client sees that trusts a root of the web and asks for a name."""
    context = ssl.create_default_context(cafile=root)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=120) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        return x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"")


def names_of(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))


def test_a_keep_serves_a_certificate_of_the_web_for_the_names_of_its_manifest(cli, pebble, echo_project, up) -> None:
    assert pebble.register(cli).returncode == 0
    echo = up(echo_project(extra=manifest(NAME, OTHER)))
    certificate = served(echo.port, pebble.root, NAME)
    assert names_of(certificate) == names_of(served(echo.port, pebble.root, OTHER)) == {NAME, OTHER}
    assert echo.record["steward"] == {
        "url": pebble.directory,
        "root_pem_path": str(echo.root),
        "appraised": False,
    }

    # The key was born in the Keep, and a renewal brings another.
    assert cli("renew", echo.id).returncode == 0
    renewed = served(echo.port, pebble.root, NAME)
    assert renewed.public_key() != certificate.public_key()
    assert names_of(renewed) == {NAME, OTHER}

    # Whoever deploys it is told what it is worth, and is not sent to verify what cannot be.
    said = " ".join(cli("up", "-C", str(echo.project)).stdout.split())
    assert "It looked at no evidence, so that a client cannot tell this Keep from any other program" in said
    assert "check it" not in said

    # Nothing was left open.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", pebble.http_port), timeout=120)

    # And so is whoever verifies it.
    root = ["--root", str(pebble.root), "--accept", "nil", "--any-workload", "--server-name", NAME]
    refused = cli("verify", f"127.0.0.1:{echo.port}", *root)
    assert refused.returncode == 3
    assert "the certificate does not say that anything was attested" in refused.stderr
    assert "says who controls the name, and nothing of a Keep" in refused.stdout
    answer = " ".join(refused.stdout.split())
    assert "from nobody, as far as this check can tell: claims.present failed. The certificate is a good one" in answer
    assert "Nobody looked at evidence of a Keep" in answer


def test_the_account_is_for_its_user_alone(cli, pebble) -> None:
    first = json.loads(pebble.register(cli, "--http-01", "127.0.0.1:1", "--json").stdout)
    state = Path(cli.environment["ENARX_DEPLOY_STATE_DIR"]) / "acme"
    (file,) = state.glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    key = json.loads(file.read_text())["key_pem"]
    shown = cli("acme", "show", "--json")
    assert "PRIVATE" in key
    assert "PRIVATE" not in shown.stdout + cli("acme", "show").stdout

    # To say another thing of it makes no second account.
    second = json.loads(pebble.register(cli, "--http-01", "127.0.0.1:2", "--json").stdout)
    assert second == first | {"by": "127.0.0.1:2"}
    assert json.loads(cli("acme", "show", "--json").stdout) == [second]


def test_dns_is_changed_by_the_users_command(cli, pebble, echo_project, up, tmp_path, eventually) -> None:
    hook, log = tmp_path / "change dns", tmp_path / "log"
    hook.write_text("#!/bin/sh\necho 'no such zone' >&2\nexit 3\n")
    hook.chmod(0o700)
    assert pebble.register(cli, "--dns-01", f"'{hook}'").returncode == 0
    project = echo_project(extra=manifest(NAME))
    refused = cli("up", "-C", str(project))
    assert refused.returncode == 1
    assert "present ended with status 3: no such zone" in refused.stderr

    hook.write_text(
        f"#!{sys.executable}\n"
        "import json, sys, urllib.request\n"
        "verb, name, text = sys.argv[1:]\n"
        "path, body = {'present': ('set-txt', {'host': name, 'value': text}),\n"
        "              'cleanup': ('clear-txt', {'host': name})}[verb]\n"
        f"urllib.request.urlopen('{pebble.dns_management}/' + path, json.dumps(body).encode()).close()\n"
        f"open({str(log)!r}, 'a').write(verb + ' ' + name + '\\n')\n"
    )
    echo = up(project)
    assert names_of(served(echo.port, pebble.root, NAME)) == {NAME}
    record = f"_acme-challenge.{NAME}."
    assert log.read_text().splitlines() == [f"present {record}", f"cleanup {record}"]

    # A renewal under way holds up nobody who stops the Keep, and ends with it.
    hook.write_text(f"#!/bin/sh\necho $$ > '{log}.new' && mv '{log}.new' '{log}.pid'\nexec sleep 1000\n")
    cli.start("renew", echo.id)
    eventually(Path(f"{log}.pid").exists, "the command for DNS has begun", 120)
    assert cli("stop", echo.id).returncode == 0
    eventually(lambda: not is_alive(int(Path(f"{log}.pid").read_text())), "the command has ended", 120)


def test_the_chain_is_the_one_that_leads_to_the_users_root(cli, pebble, echo_project, up) -> None:
    assert pebble.register(cli, root=pebble.other_root).returncode == 0
    echo = up(echo_project(extra=manifest(NAME)))
    served(echo.port, pebble.other_root, NAME)
    with pytest.raises(ssl.SSLCertVerificationError):
        served(echo.port, pebble.root, NAME)

    assert pebble.register(cli, root=pebble.server_root).returncode == 0
    refused = cli("up", "-C", str(echo_project("other", extra=manifest(NAME))))
    assert refused.returncode == 1
    assert "and not to CN=pebble" in refused.stderr


def test_an_authority_for_its_customers_only(cli, start_pebble) -> None:
    strict = start_pebble(externalAccountBindingRequired=True, externalAccountMACKeys={EAB_KID: EAB_KEY})
    refused = strict.register(cli)
    assert refused.returncode == 2
    assert "--eab-kid" in refused.stderr
    key = cli.directory / "eab"
    for content, status in ((EAB_KEY[::-1], 1), (EAB_KEY, 0)):
        key.write_text(content)
        how = ["--http-01", "127.0.0.1:1", "--eab-kid", EAB_KID, "--eab-key-file", str(key)]
        assert strict.register(cli, *how).returncode == status


def test_a_name_that_does_not_lead_here(cli, pebble, echo_project) -> None:
    assert pebble.register(cli, "--http-01", f"127.0.0.1:{free_port()}").returncode == 0
    refused = cli("up", "-C", str(echo_project(extra=manifest(NAME))))
    assert refused.returncode == 1
    assert f"{NAME} was not validated" in refused.stderr
    assert "does the port that it asks (80 for http-01) lead to where http-01 is answered" in refused.stderr


def test_nothing_is_done_that_the_user_did_not_ask_for(cli, pebble, echo_project) -> None:
    project = str(echo_project(extra=manifest(NAME)))
    unknown = cli("up", "-C", project)
    assert unknown.returncode == 2
    assert "there is no account with an ACME server" in unknown.stderr

    terms = pebble.register(cli, agree=False)
    assert terms.returncode == 2
    assert "has terms that you must agree to: data:text/plain" in terms.stderr

    plain = cli("acme", "register", "--directory", "http://localhost/dir", "--root", "x", "--http-01", "127.0.0.1:1")
    assert plain.returncode == 2
    assert "is no https:// URL" in plain.stderr


def test_a_root_is_found_by_its_name_and_nothing_is_said_of_the_others(cli) -> None:
    directory = ("--directory", f"https://127.0.0.1:{free_port()}/dir", "--http-01", "127.0.0.1:1")
    known = cli("acme", "register", *directory, "--root", "ISRG Root X1")
    assert known.returncode == 1  # nobody listens there
    assert known.stderr.startswith("enarx-deploy: the ACME server at https://127.0.0.1:"), known.stderr
    unknown = cli("acme", "register", *directory, "--root", "ISRG Root X0")
    assert (unknown.returncode, "no root of the Mozilla set has that name" in unknown.stderr) == (2, True)


def test_the_host_cannot_ask_for_other_names_than_the_package_lists(cli, pebble, echo_project) -> None:
    """They are in the package, which its digest vouches for, and the Keep signs the request."""
    assert pebble.register(cli).returncode == 0
    project = str(echo_project(extra=manifest(NAME)))
    before = json.loads(cli("package", "--json", "-C", project).stdout)["digest"]
    after = json.loads(cli("package", "--json", "-C", project, "--set", f'acme.names=["{OTHER}"]').stdout)["digest"]
    assert before != after


HOSTILE = {
    "a redirect": (302, {"Location": "https://localhost:1/"}, b"", "Exceeded 0 redirects"),
    "an answer without an end": (200, {"Content-Type": "application/json"}, b"x" * (3 << 20), "the answer is too long"),
    "something else than a directory": (200, {"Content-Type": "application/json"}, b"[1]", "cannot be used"),
    "control characters": (
        400,
        {"Content-Type": "application/problem+json"},
        json.dumps({"type": "urn:ietf:params:acme:error:malformed", "detail": "\x1b[2Jno\nnews"}).encode(),
        "refused:  [2Jno news",
    ),
    "a limit": (
        429,
        {"Content-Type": "application/problem+json", "Retry-After": "1234"},
        json.dumps({"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}).encode(),
        "refused: too many",
    ),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_a_server_that_is_no_good(defect, cli, serve, authority) -> None:
    status, headers, body, said = HOSTILE[defect]

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        head = "".join(f"{name}: {value}\r\n" for name, value in (headers | {"Content-Length": str(len(body))}).items())
        with contextlib.suppress(OSError):  # who has read enough goes away
            connection.sendall(f"HTTP/1.1 {status} -\r\n{head}\r\n".encode() + body)

    own = authority("pebble")
    server = serve(answer, own.server_context())
    words = ["--directory", f"https://localhost:{server.port}/dir", "--server-root", str(own.root)]
    words += ["--root", str(own.root), "--http-01", "127.0.0.1:1", "--agree-to-terms"]
    refused = cli("acme", "register", *words)
    assert refused.returncode == 1
    assert said in refused.stderr
    if status == 429:
        assert "the server asks to wait 1234 s" in refused.stderr


@pytest.mark.parametrize("part", ["head", "body", "interim"])
def test_a_server_that_answers_for_ever_is_given_up(part, serve, authority, monkeypatch) -> None:
    from enarx_acme import client, registering
    from enarx_deploy.errors import StewardError

    at_once, again = {
        "head": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"1"),
        "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"1"),
        "interim": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    }[part]

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        with contextlib.suppress(OSError):  # who has waited enough goes away
            connection.sendall(at_once)
            while True:
                connection.sendall(again)
                time.sleep(0.05)

    monkeypatch.setattr(client, "_ALTOGETHER", 0.3)
    own = authority("pebble")
    server = serve(answer, own.server_context())
    with pytest.raises(StewardError, match=r"the answer comes too slowly|The read operation timed out"):
        registering.terms_of(f"https://localhost:{server.port}/dir", registering.new_key(), own.root.read_text())


def test_a_command_for_dns_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path, monkeypatch, eventually
) -> None:
    from enarx_acme import control
    from enarx_deploy.errors import StewardError

    hook, child = tmp_path / "hook", tmp_path / "child"
    hook.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {child}.new && mv {child}.new {child}\nwait\n")
    hook.chmod(0o700)
    monkeypatch.setattr(control, "_HOOK", 1.0)
    monkeypatch.setattr(control, "_CLEANUP", 0.0)
    with pytest.raises(StewardError, match="it took too long"), control.by_dns([str(hook)], [("a.test", "text")]):
        pytest.fail("it did not wait")
    if child.exists():  # the end of one that was killed can be seen a moment later
        eventually(lambda: not is_alive(int(child.read_text())), "the end of what the command started")


_ENDS_WHILE_A_COMMAND_RUNS = """
import atexit, pathlib, sys, threading, time
atexit.register(time.sleep, 1)  # the thread has time to go on after all that is done at the end
from enarx_acme import control

def order():
    with control.by_dns([sys.argv[1]], [("a.test", "text")]):
        pass

threading.Thread(target=order, daemon=True).start()
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.01)
"""


def test_a_process_that_ends_leaves_no_command_for_dns_and_begins_no_other(tmp_path, eventually) -> None:
    hook, begun = tmp_path / "hook", tmp_path / "begun"
    hook.write_text(f'#!/bin/sh\necho "$1 $$" >> "{begun}.new"\ncp "{begun}.new" "{begun}"\nexec sleep 1000\n')
    hook.chmod(0o700)
    subprocess.run([sys.executable, "-c", _ENDS_WHILE_A_COMMAND_RUNS, str(hook), str(begun)], check=True, timeout=120)
    ((verb, pid),) = [line.split() for line in begun.read_text().splitlines()]
    assert verb == "present"
    eventually(lambda: not is_alive(int(pid)), "the end of the command")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait to be seen by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_server_that_asked_to_wait_is_left_alone(monkeypatch, tmp_path) -> None:
    from enarx_acme.client import AskedToWait
    from enarx_acme.issuer import Acme
    from enarx_deploy.errors import StewardError
    from enarx_deploy.protocols import CertificateRequest, Challenge, IssuerLocation

    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path))
    from enarx_acme import accounts, ordering

    asked: list[str] = []

    def order(account: Any, csr: bytes, names: Any) -> Any:
        asked.append(account.directory)
        raise AskedToWait("refused", hint="", seconds=1000)

    monkeypatch.setattr(ordering, "order", order)
    directory = "https://acme.example/dir"
    accounts.save(accounts.Account(directory=directory, url="", key_pem="", root_pem="", challenge="http-01"))
    request = CertificateRequest(csr=request_for(NAME), evidence_kind="nil", evidence=b"")
    location = IssuerLocation(url=directory, root_pem="", root_pem_path="", names=(NAME,))
    issuer = Acme()
    for said in ("refused", "asked to be left alone for 1000 s more", "asked to be left alone for 1000 s more"):
        with pytest.raises(StewardError, match=said):
            issuer.issue(location, Challenge(nonce=b"", audience=""), request)
    assert asked == [directory]

    # And whatever a Keep asks for beyond its manifest, no server hears of.
    other = CertificateRequest(csr=request_for(NAME, OTHER), evidence_kind="nil", evidence=b"")
    with pytest.raises(StewardError, match=f"asks for {NAME}, {OTHER}, and the manifest lists {NAME}"):
        Acme().issue(location, Challenge(nonce=b"", audience=""), other)
    assert asked == [directory]


def request_for(*names: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    listed = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(listed, critical=False)
    return builder.sign(generate_private_key(SECP256R1()), SHA256()).public_bytes(Encoding.DER)


def test_one_order_at_a_time_and_no_port_that_is_another_programs(monkeypatch, tmp_path) -> None:
    import fcntl

    from enarx_acme import accounts, control, issuer
    from enarx_deploy.errors import StewardError

    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(issuer, "_TURN", 0.1)
    directory = "https://acme.example/dir"
    account = accounts.Account(directory=directory, url="", key_pem="", root_pem="", challenge="http-01")
    with accounts.save(account).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StewardError, match="another Keep's certificate is being ordered"), issuer._turn(account):
            pytest.fail("it did not wait")
    with issuer._turn(account):
        pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(StewardError, match=f"http-01 cannot be answered on {address}"),
            control.by_http(address, {}),
        ):
            pytest.fail("it listens")


def test_http_01_answers_what_is_open_and_nothing_else() -> None:
    from enarx_acme import control

    address = f"127.0.0.1:{free_port()}"
    with control.by_http(address, {"token": "token.thumbprint"}):
        silent = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))  # and holds nobody up
        found = httpx.get(f"http://{address}{control.PREFIX}token", timeout=120)
        assert (found.status_code, found.text) == (200, "token.thumbprint")
        for path in ("/", f"{control.PREFIX}other", f"{control.PREFIX}../token", "/token"):
            assert httpx.get(f"http://{address}{path}", timeout=120).status_code == 404
    silent.close()
