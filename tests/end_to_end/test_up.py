"""From a template to a running service, as a user sees it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.end_to_end.conftest import NO_LOOKS

CLIENTS = 200
EACH = 1 << 20


def test_new_up_verify_keeps_logs_stop(cli, up, read_exactly, eventually) -> None:
    """The whole way, once, with the C compiler."""
    assert cli("new", "echo", "my-echo").returncode == 0
    project = cli.directory / "my-echo"
    service = up(project, "--set", "files.echo.port=0")
    record = service.record
    assert record.keys() == {
        *("deployment", "endpoints", "steward", "identity", "stages"),
        *("in_clear", "replicas", "asked"),
    }
    assert record["in_clear"] == []
    assert (record["deployment"]["backend"], record["deployment"]["target"]) == ("nil", "local")
    assert record["deployment"]["package"].startswith("sha256:")
    assert [stage["name"] for stage in record["stages"]] == ["compile", "package", "attest", "deploy", "provision_tls"]
    assert not any(stage["skipped"] for stage in record["stages"])
    (endpoint,) = record["endpoints"]
    assert (endpoint["name"], endpoint["prot"]) == ("echo", "tls")
    with service.connect() as client:
        import hashlib

        served = client.getpeercert(binary_form=True)
        assert endpoint["certificate_sha256"] == f"sha256:{hashlib.sha256(served).hexdigest()}"
        client.sendall(b"hello\n")
        assert read_exactly(client, 6) == b"hello\n"

    verified = cli("verify", "--json", f"localhost:{service.port}")
    report = json.loads(verified.stdout)
    assert verified.returncode == 0, verified.stderr
    assert {"ok", "endpoint", "from_whom", "for_how_long", "where", "checks"} <= set(report)
    assert report["ok"] is True
    assert report["endpoint"] == f"localhost:{service.port}"
    assert all(check["ok"] and check["id"] and check["detail"] for check in report["checks"])
    assert "nil" in report["from_whom"]  # no protection by hardware, said by name
    assert cli("verify", f"127.0.0.1:{service.port}").returncode == 0, "the same Keep by another of its names"

    assert service.status()["state"] == "running"
    eventually(
        lambda: "echo: listening" in cli("logs", service.id, "--stream", "stdout").stdout, "what it wrote is logged"
    )

    second = up(project, "--set", "files.echo.port=0")
    assert all(stage["skipped"] for stage in second.record["stages"])
    assert second.id == service.id
    shown = cli("up", "-C", str(project), "--set", "files.echo.port=0")
    assert shown.returncode == 0
    assert "skipped" in shown.stderr or "unchanged" in shown.stderr

    source = project / "main.c"
    source.write_text(source.read_text().replace("echo: listening", "echo, the second: listening"))
    third = up(project, "--set", "files.echo.port=0")
    assert third.id != service.id
    assert third.echoes()
    assert service.status()["state"] == "exited"
    eventually(lambda: "the second" in cli("logs", third.id, "--stream", "stdout").stdout, "what it wrote is logged")

    stopped = cli("stop", "--json", "my-echo")
    assert stopped.returncode == 0
    assert [keep["state"] for keep in json.loads(stopped.stdout)] == ["exited"]
    with pytest.raises(ConnectionRefusedError):
        third.connect()
    assert cli("verify", f"localhost:{third.port}", "--any-workload").returncode == 1


def test_200_clients_at_once_get_a_mebibyte_back_each(service, read_exactly) -> None:
    echo = service(extra=NO_LOOKS)
    context = echo.context()
    before = echo.counters()["accepted"]
    connections = [echo.connect(context) for _ in range(CLIENTS)]

    def exchange(number: int) -> bool:
        data = number.to_bytes(4, "big") * (EACH // 4)
        client = connections[number]
        got = bytearray()
        for start in range(0, EACH, 32768):  # less than what the rings hold, so that neither side waits for the other
            client.sendall(data[start : start + 32768])
            got += read_exactly(client, 32768)
        return bytes(got) == data

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert all(pool.map(exchange, range(CLIENTS)))
    counters = echo.counters()
    assert counters["accepted"] - before == counters["open"] == CLIENTS
    assert counters["bytes_in"] >= CLIENTS * EACH
    for connection in connections:
        connection.close()


def test_openssl_s_client_is_served(service) -> None:
    echo = service()
    words = f"openssl s_client -connect localhost:{echo.port} -verify_return_error -verify_hostname localhost -quiet"
    client = subprocess.Popen(
        [*words.split(), "-CAfile", str(echo.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with client:
        client.stdin.write(b"hello from openssl\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"hello from openssl\n"
        client.kill()


def test_openssl_sees_tls_13_no_client_certificate_asked_and_no_ticket(service) -> None:
    echo = service()
    seen = _s_client(echo)
    assert "TLSv1.3" in seen
    assert "Verification: OK" in seen
    assert "No client certificate CA names sent" in seen
    assert "Acceptable client certificate CA names" not in seen
    assert "Requested Signature Algorithms" not in seen  # what OpenSSL prints of a request for a certificate
    assert "Post-Handshake New Session Ticket" not in seen


def _s_client(echo) -> str:
    """What `openssl s_client` tells of a connection over which a line went and came back."""
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"localhost:{echo.port}", "-CAfile", str(echo.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with client:
        client.stdin.write(b"a line that comes back\n")
        client.stdin.flush()
        seen = b""
        while b"a line that comes back" not in seen:
            piece = client.stdout.readline()
            assert piece, seen
            seen += piece
        client.kill()
    return seen.decode()


def test_a_client_that_trusts_another_root_refuses_by_itself(service, authority) -> None:
    echo = service()
    with pytest.raises(ssl.SSLCertVerificationError):
        echo.connect(echo.context(authority("another").root))
    assert echo.echoes()


def test_verify_refuses_a_plain_tls_server(cli, serve, authority) -> None:
    """It has a good certificate of its own authority, which the client even trusts; but nothing was attested."""
    assert cli("steward", "--init").returncode == 0
    own = authority("plain")
    server = serve(lambda connection: connection.recv(1), own.server_context())
    refused = cli("verify", "--any-workload", f"localhost:{server.port}")
    assert refused.returncode == 3
    assert "certificate.chain" in refused.stderr
    assert "root" in refused.stderr
    trusted = cli(
        "verify", "--json", "--any-workload", "--accept", "nil", "--root", str(own.root), f"localhost:{server.port}"
    )
    report = json.loads(trusted.stdout)
    assert trusted.returncode == 3
    assert report["ok"] is False
    assert "claims.present" in [check["id"] for check in report["checks"] if not check["ok"]]


def test_verify_refuses_another_package(cli, service) -> None:
    echo = service()
    refused = cli("verify", f"localhost:{echo.port}", "--package", f"sha256:{'0' * 64}")
    assert refused.returncode == 3
    assert "claims.package" in refused.stderr


def test_verify_finds_no_hardware_behind_a_nil_keep(cli, service) -> None:
    echo = service()
    page = echo.project / "report.html"
    words = ("--trust", "hardware", "--any-workload", "--json", "--html", str(page))
    refused = cli("verify", f"localhost:{echo.port}", *words)
    checks = {check["id"]: check for check in json.loads(refused.stdout)["checks"]}
    assert refused.returncode == 3
    assert [id for id, check in checks.items() if not check["ok"]] == ["evidence.hardware"]
    assert all(checks[id]["ok"] for id in ("evidence.present", "evidence.claimed", "evidence.age"))
    assert "no hardware vouches" in refused.stderr
    assert "No hardware vouches" in page.read_text()


def test_two_ups_at_once_in_one_project_start_one_keep(cli, echo_project) -> None:
    project = echo_project()
    both = [cli.start("up", "--json", "-C", str(project)) for _ in range(2)]
    answers = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert len({json.loads(out)["deployment"]["id"] for out, _ in answers}) == 1
    keeps = json.loads(cli("keeps", "--json").stdout)
    assert [keep["state"] for keep in keeps] == ["running"]


def test_a_service_in_clear_needs_no_certificate(cli, up, echo_project, read_exactly) -> None:
    import socket

    echo = up(echo_project(prot="tcp"))
    assert echo.record["endpoints"][0]["certificate_sha256"] == ""
    data = bytes(range(256)) * 2048
    with socket.create_connection(("localhost", echo.port), timeout=120) as client:
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(client.sendall, data)
            assert read_exactly(client, len(data)) == data
            sent.result()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_keep_on_another_loopback_address_is_verified_by_the_words_that_up_prints(cli, echo_project) -> None:
    """Its certificate has the names of the Steward's policy, and that address is none of them."""
    project = echo_project(extra='addr = "127.0.0.2"\n')
    shown = cli("up", "-C", str(project))
    assert shown.returncode == 0, shown.stderr
    assert "for localhost, 127.0.0.1, ::1; asked for 127.0.0.2: clients have to expect" in " ".join(
        shown.stdout.split()
    )
    (root,) = [line.split()[2] for line in shown.stdout.splitlines() if line.strip().startswith("clients trust ")]
    assert "BEGIN CERTIFICATE" in Path(root).read_text()
    (words,) = [line.split()[3:] for line in shown.stdout.splitlines() if line.strip().startswith("check it ")]
    assert (words[0], words[2:]) == ("verify", ["--server-name", "localhost"])
    checked = cli(*words)
    assert checked.returncode == 0, checked.stdout


def test_a_program_without_a_socket_is_not_said_to_have_a_channel(cli, program) -> None:
    (project := cli.directory / "ends").mkdir()
    shutil.copy(program("hello_wasi_snapshot1"), project / "main.wasm")
    shown = cli("up", "-C", str(project))
    assert shown.returncode == 0, shown.stderr
    assert "no socket     nobody reaches it over the network. Backend nil has no hardware protection" in shown.stdout
    assert "for how long" not in shown.stdout
    assert f"look at it    enarx-deploy logs {shown.stdout.split()[1]}\n" in shown.stdout


def test_a_workload_that_traps_before_it_serves_anybody_is_no_deployment(cli, program, tmp_path) -> None:
    (project := tmp_path / "traps").mkdir()
    shutil.copy(program("trap"), project / "main.wasm")
    (project / "Enarx.toml").write_text("")
    for number in (1, 2):
        ended = cli("up", "-C", str(project), "--json")
        assert ended.returncode == 1, ended.stdout
        assert f"version {number} did not get healthy" in ended.stderr
        assert "the workload trapped: wasm `unreachable` instruction executed" in ended.stderr
    for words in (("history", "traps"), ("keeps",)):
        _, *rows = cli(*words).stdout.splitlines()
        assert len(rows) == 2
        assert all("the workload trapped: wasm `unreachable` instruction executed" in row for row in rows)


def test_up_names_what_the_workload_may_connect_to_in_clear(cli, echo_project) -> None:
    project = echo_project(extra='[network]\nconnect = ["tcp://db.example.org:5432", "api.example.org:443"]\n')
    done = cli("up", "-C", str(project))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "in clear" in line]
    assert "tcp://db.example.org:5432" in line
    assert "api.example.org" not in done.stdout
    assert json.loads(cli("up", "--json", "-C", str(project)).stdout)["in_clear"] == ["tcp://db.example.org:5432"]
