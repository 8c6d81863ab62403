"""The console: who may come in, what it shows, and what strangers' words do to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.browser import start as start_browser

HOSTILE = (
    "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & \u202e\x1b[2J\u2713"
)

# Text of less than 4.5 times the contrast of what is behind it, as WCAG 2.1 reckons (1.4.3).
FAINT = """
(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(Number)
      .map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!colour.startsWith('rgba(0, 0, 0, 0')) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return JSON.stringify([...document.querySelectorAll('body *')]
    .filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
    .filter(one => {
      const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05) < 4.5;
    }).map(one => one.tagName + ' ' + one.className + ': ' + one.textContent.slice(0, 40)));
})()
"""
# What is wider than the screen, and text in columns that hold hardly a word.
CRAMPED = """
JSON.stringify([...document.querySelectorAll('body *')].filter(one => one.offsetWidth
  && (one.getBoundingClientRect().right > screen.width
    || one.matches('th, td, dd, p') && !one.matches('.mark') && one.offsetWidth < 90)
).map(one => one.tagName + ' ' + one.className + ': ' + one.textContent.slice(0, 40)))
"""
HEADINGS = "JSON.stringify([...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1])))"


class Console:
    """A console that runs, and clients of it."""

    def __init__(self, process: Any) -> None:
        self.process = process
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        self.said = json.loads(text)
        self.url = self.said["url"]
        self.port = int(self.url.rpartition(":")[2])

    def client(self, **how: Any) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.said["root_pem_path"])
        return httpx.Client(base_url=self.url, verify=context, timeout=60, **how)

    def signed_in(self) -> httpx.Client:
        client = self.client(headers={"Origin": self.url})
        token = Path(self.said["token_file"]).read_text()
        answer = client.post("/sign-in", data={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        return client


@pytest.fixture
def console(cli: Any) -> Iterator[Callable[..., Console]]:
    return lambda *words: Console(cli.start("console", "--json", *words))


def test_nothing_is_shown_to_whoever_has_no_session(console, cli) -> None:
    served = console()
    token = Path(served.said["token_file"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    with served.client() as client:
        for path in ("/", "/keeps/abc", "/keeps/abc/logs", "/nowhere"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        form = client.get("/sign-in")
        assert form.status_code == 200
        policy = form.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert form.headers["cache-control"] == "no-store"
        assert client.get("/enter/wrong").status_code == 403

        own = {"Origin": served.url}
        wrong = client.post("/sign-in", data={"token": "x"}, headers=own)
        assert (wrong.status_code, "not the token" in wrong.text) == (403, True)
        for strange in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost"}):
            refused = client.post("/sign-in", data={"token": token.read_text()}, headers=strange)
            assert (refused.status_code, refused.headers.get("set-cookie")) == (403, None)
        assert client.get("/sign-in", headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.get("/sign-in", headers={"Host": "evil.example"}).status_code == 421
        assert client.post("/sign-in", content=b"token=" + b"x" * 5000, headers=own).status_code == 413
    with served.client() as client:
        planted = "__Host-enarx-console=planted"  # as by whoever would have it be the user's session
        entered = client.get(served.said["link"], headers={"Cookie": planted})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert "planted" not in cookie
        assert all(word in cookie for word in ("__Host-", "HttpOnly", "Secure", "SameSite=strict", "Path=/"))
        assert client.get("/").status_code == 200
        for nowhere in ("nowhere", "nowhere/logs", "..%2f..%2fsteward/logs", "%2e%2e/logs", "a/logs?stream=../host"):
            assert client.get(f"/keeps/{nowhere}").status_code == 404
        with served.client() as other:
            assert other.get(served.said["link"]).status_code == 403  # it worked once
            assert other.get("/", headers={"Cookie": planted}).status_code == 303
        assert client.post("/sign-out", headers={"Origin": served.url}).status_code == 303
        assert client.get("/").status_code == 303
        client.cookies.set("__Host-enarx-console", cookie.partition("=")[2].partition(";")[0])
        assert client.get("/").status_code == 303  # and the session has ended on this side too

    # By TLS alone, and under an authority that can certify this machine's names alone.
    with socket.create_connection(("127.0.0.1", served.port), timeout=120) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")
    state = token.parent
    assert stat.S_IMODE((state / "root.key").stat().st_mode) == 0o600
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(120) == 130
    assert not token.exists()


def may_listen_on_443() -> bool:
    return os.geteuid() == 0 or int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 443


@pytest.mark.skipif(not may_listen_on_443(), reason="port 443 takes a privilege here")
def test_on_the_port_of_https_an_origin_has_no_port(console) -> None:
    served = console("--listen", "127.0.0.43:443")  # an address that no other test uses
    token = Path(served.said["token_file"]).read_text()
    with served.client() as client:
        for origin, status in (("https://127.0.0.43", 303), ("https://localhost", 303), ("http://127.0.0.43", 403)):
            answer = client.post("/sign-in", data={"token": token}, headers={"Origin": origin})
            assert (origin, answer.status_code) == (origin, status)


def test_a_keep_in_a_browser(console, service, tmp_path) -> None:
    echo = service(name="an-echo")
    tcp = service(name="in-clear", prot="tcp")
    with (echo.state / "stdout.log").open("ab") as log:
        log.write(b"x" * 100_000 + b"\nlast words: " + HOSTILE.encode() + b"\xff\n")
    served = console()
    browser = start_browser(tmp_path / "browser", Path(served.said["root_pem_path"]))
    try:
        page = browser.open(served.said["link"])
        page.until("document.querySelector('h1')?.textContent", "Keeps")
        browser.do("Emulation.setScriptExecutionDisabled", page.session, value=True)  # all that follows does without

        def cramped_on_a_phone() -> list[Any]:
            phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
            browser.do("Emulation.setDeviceMetricsOverride", page.session, **phone)
            found = json.loads(page(CRAMPED))
            browser.do("Emulation.clearDeviceMetricsOverride", page.session)
            return found

        assert cramped_on_a_phone() == []
        names = "JSON.stringify([...document.querySelectorAll('tbody th')].map(one => one.textContent))"
        assert json.loads(page(names)) == ["in-clear", "an-echo"]
        cells = "JSON.stringify([...document.querySelectorAll('tbody tr td')].slice(0, 3).map(one => one.textContent))"
        assert json.loads(page(cells)) == ["1 of 1", "1", "running"]
        assert json.loads(page(FAINT)) == []

        page("document.querySelectorAll('tbody a')[1].click()")
        page.until("document.querySelector('h1')?.textContent", "an-echo")
        answers = "JSON.stringify([...document.querySelectorAll('.answers h3')].map(one => one.textContent))"
        assert json.loads(page(answers)) == ["From whom", "For how long", "Where"]
        assert cramped_on_a_phone() == []
        said = page("document.body.innerText")
        assert "a nil Keep is a process without hardware protection" in said
        assert "Chain of trust" in said
        assert page("document.querySelectorAll('.chain li.broken').length") == 0
        levels = json.loads(page(HEADINGS))
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.do("Emulation.setEmulatedMedia", page.session, features=features)
            assert json.loads(page(FAINT)) == []

        page(f"location.href = '/keeps/{echo.id}/logs?stream=stdout'")
        page.until("document.querySelector('pre')?.textContent.includes('last words')", True)
        shown = page("document.querySelector('pre').textContent")
        assert HOSTILE.replace("\u202e\x1b", "\\x202e\\x1b") in shown
        assert "\\xff" in shown
        assert len(shown) < 70_000
        assert cramped_on_a_phone() == []
        assert page("document.scripts.length + document.images.length") == 0
        assert page("document.title") == "Logs of an-echo \u00b7 enarx-deploy"

        page(f"location.href = '/keeps/{tcp.id}'")
        page.until("document.querySelector('.problem')?.textContent.startsWith('No socket of it speaks TLS')", True)
        page("document.querySelector('nav form button').click()")
        page.until("document.querySelector('label')?.control?.id", "token")
        assert json.loads(page(FAINT)) == []
        page(f"document.getElementById('token').value = {json.dumps(Path(served.said['token_file']).read_text())}")
        page("document.querySelector('button').click()")
        page.until("document.querySelector('h1')?.textContent", "Keeps")
    finally:
        browser.close()


def test_its_authority_can_certify_this_machine_alone(tmp_path) -> None:
    """Also in the hands of whoever stole its key."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

    from enarx_deploy.console.certificate import Own

    directory, now = tmp_path / "console", datetime.now(UTC)
    directory.mkdir()
    pem = Own(directory, "127.0.0.1").read(now)
    root = x509.load_pem_x509_certificate((directory / "root.pem").read_bytes())
    key = load_pem_private_key((directory / "root.key").read_bytes(), None)
    Own(directory, "127.0.0.1")
    assert x509.load_pem_x509_certificate((directory / "root.pem").read_bytes()) == root  # it is kept

    leaf = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :])
    verifier = PolicyBuilder().store(Store([root])).time(now.replace(tzinfo=None))
    verifier.build_server_verifier(x509.DNSName("localhost")).verify(leaf, [])
    bank = x509.DNSName("bank.example")
    forged = x509.CertificateBuilder(root.subject, leaf.subject, leaf.public_key(), 1)
    forged = forged.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    for extension in leaf.extensions:
        names = extension.value if extension.oid.dotted_string != "2.5.29.17" else x509.SubjectAlternativeName([bank])
        forged = forged.add_extension(names, extension.critical)
    with pytest.raises(VerificationError, match=r"(?i)constraint"):
        verifier.build_server_verifier(bank).verify(forged.sign(key, SHA256()), [])


def test_the_options_for_a_certificate_belong_together(cli, authority) -> None:
    refused = cli("console", "--tls-cert", "x")
    assert refused.returncode == 2
    assert "belong together" in refused.stderr
    own = authority("console")
    own.key.chmod(0o600)
    process = cli.start("console", "--json", "--tls-cert", str(own.certificate), "--tls-key", str(own.key))
    served = Console(process)
    assert served.said["root_pem_path"] == ""
    with httpx.Client(verify=ssl.create_default_context(cafile=own.root), timeout=120) as client:
        assert client.get(f"https://localhost:{served.port}/sign-in").status_code == 200
