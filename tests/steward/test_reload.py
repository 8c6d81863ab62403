"""A Steward that reads its policy again while it serves: on SIGHUP, and by the command."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from enarx_attestation import claims_extension
from enarx_steward import background
from enarx_steward.record import find

from .conftest import POLICY, Client, Keep

CLIENTS = 4
RELOADS = 24
OTHER = POLICY.replace('lifetime = "2h"', 'lifetime = "3h"')


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put(state: Path, text: str) -> None:
    """Replace the policy in one step, as an operator's tool should."""
    (state / "new").write_text(text)
    (state / "new").chmod(0o600)
    (state / "new").replace(state / "steward.toml")


def reloaded(running) -> str:
    """Send SIGHUP and wait; what went wrong, or nothing."""
    before = find(running.state).reloads
    running.process.send_signal(signal.SIGHUP)
    while (now := find(running.state)).reloads == before:
        time.sleep(0.01)
    return now.fault


def said_policy(der: bytes) -> str:
    leaf = x509.load_der_x509_certificate(der)
    extension = next(e for e in leaf.extensions if e.oid.dotted_string == claims_extension.OID)
    return claims_extension.decode(extension.value.value).claims.policy_sha256


def certify_over(http: httpx.Client, url: str, audience: str) -> str:
    """A certificate by one client's connection; the policy that it says, which is that of its intermediate."""
    client, keep = Client(url, http), Keep()
    nonce = client.nonce()
    answer = client.ask(keep.request(), nonce, keep.evidence(nonce, audience))
    assert answer.status_code == 200, answer.text
    leaf, intermediate, _ = [base64.b64decode(der) for der in answer.json()["chain"]]
    issuer = x509.load_der_x509_certificate(intermediate)
    x509.load_der_x509_certificate(leaf).verify_directly_issued_by(issuer)
    policy = said_policy(leaf)
    assert policy in issuer.subject.rfc4514_string()
    return policy


def test_under_load_no_request_is_dropped_while_the_policy_changes_again_and_again(start, state):
    running = start()
    # Its log is longer than a pipe, and a Steward whose log nobody takes stands still.
    threading.Thread(target=running.process.stderr.read, daemon=True).start()
    url, audience = running.client.url, running.client.audience
    done, seen = threading.Event(), [[] for _ in range(CLIENTS)]

    def load(number: int) -> int:
        connections = set()
        with httpx.Client(trust_env=False, timeout=120, limits=httpx.Limits(max_connections=1)) as http:

            def note(response: httpx.Response) -> None:
                connections.add(response.extensions["network_stream"].get_extra_info("client_addr"))

            http.event_hooks = {"response": [note]}
            while not done.is_set():
                seen[number].append(certify_over(http, url, audience))
        return len(connections)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load, number) for number in range(CLIENTS)]
        try:
            for turn in range(RELOADS):
                put(state, (OTHER, POLICY)[turn % 2])
                assert reloaded(running) == ""
                mark = [len(one) for one in seen]
                while any(len(one) < before + 2 for one, before in zip(seen, mark, strict=True)):
                    assert not any(client.done() for client in clients)
                    time.sleep(0.01)
        finally:
            done.set()
        connections = [client.result() for client in clients]
    assert connections == [1] * CLIENTS  # each kept its one connection throughout
    for one in seen:
        assert set(one) == {sha256(POLICY), sha256(OTHER)}
    assert len(list((state / "intermediates").iterdir())) == 2


def test_a_challenge_from_before_is_good_after(start, state, keep):
    running = start()
    nonce = running.client.nonce()
    put(state, OTHER)
    assert reloaded(running) == ""
    answer = running.client.ask(keep.request(), nonce, keep.evidence(nonce, running.client.audience))
    assert said_policy(base64.b64decode(answer.json()["chain"][0])) == sha256(OTHER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ca\n", "not TOML"),
        (POLICY.replace("lifetime", "lifetim"), "unknown key `nil.lifetim`"),
        ('[ca]\ntrust_domain = "example.org"\n', "the policy accepts nothing"),
        (POLICY.replace("[ca]", '[ca]\naudience = "https://elsewhere.example"'), "would be https://elsewhere.example"),
        (POLICY + '[collateral]\nstore = "/elsewhere"\n', "`collateral.store` is another"),
        (POLICY + '[log]\ndatabase = "postgresql://elsewhere.example/steward"\n', "`log.database` is another"),
        (None, "there is no policy"),
    ],
    ids=["no-toml", "misspelt", "empty", "another-audience", "another-store", "another-database", "missing"],
)
def test_a_bad_policy_changes_nothing_and_the_log_says_why(start, state, keep, text, message):
    running = start()
    if text is None:
        (state / "steward.toml").unlink()
    else:
        put(state, text)
    assert message in reloaded(running)
    assert running.client.info()["policy_sha256"] == sha256(POLICY)
    assert len(running.client.certify(keep)) == 3
    put(state, OTHER)
    assert reloaded(running) == ""
    assert running.client.info()["policy_sha256"] == sha256(OTHER)
    running.process.send_signal(signal.SIGTERM)
    said = running.process.communicate(timeout=120)[1]
    assert "the policy stays as it was: " in said
    assert message in said
    assert f"policy {sha256(OTHER)} is in force" in said
    assert "Traceback" not in said


def test_a_policy_that_others_can_write_is_not_taken_up(start, state):
    running = start()
    (state / "steward.toml").write_text(OTHER)
    (state / "steward.toml").chmod(0o622)
    assert "others can write to the policy" in reloaded(running)
    assert running.client.info()["policy_sha256"] == sha256(POLICY)


def test_a_reloaded_steward_is_stopped_like_any_other(tmp_path):
    own = tmp_path / "own"
    running = background.ensure(own)
    try:
        assert background.reload(own).reloads == 1
    finally:
        assert background.stop(own).pid == running.pid
    assert find(own) is None
    assert background.reload(own) is None


def test_the_command_reloads_and_says_what_is_in_force(enarx_deploy):
    own = Path(enarx_deploy.environment["ENARX_DEPLOY_STATE_DIR"]) / "steward"
    own.parent.mkdir(mode=0o700)
    nobody = enarx_deploy("steward", "--reload")
    assert (nobody.returncode, "no Steward runs" in nobody.stderr) == (1, True)
    background.ensure(own)
    try:
        text = (own / "steward.toml").read_text().replace("24h", "23h")
        put(own, text)
        told = json.loads(enarx_deploy("steward", "--reload", "--json").stdout)
        assert (told["policy_sha256"], told["fault"]) == (sha256(text), "")
        put(own, "nonsense")
        refused = enarx_deploy("steward", "--reload")
        assert refused.returncode == 1
        assert "the policy stays as it was" in refused.stderr
        assert "not TOML" in refused.stderr
    finally:
        background.stop(own)


def test_it_ends_with_the_terminal_that_started_it(state):
    main, terminal = pty.openpty()
    words = [sys.executable, "-m", "enarx_steward", "--state", str(state)]
    attach = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", attach, *words],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        assert process.stdout.readline().startswith(b"Steward at")
        os.close(main)
        assert process.wait(timeout=120) == 0
