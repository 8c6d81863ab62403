"""`verify --html`: one page that a real browser shows, whatever a stranger wrote into the certificate."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from enarx_deploy.verification import Report, page
from enarx_deploy.verification.checks import check, skipped

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOSTILE = (
    '</style></title><script>document.title="owned"</script><img src="https://x.example/y" onerror="x">&amp;\u202e\x1b'
)
LOADS = {"script", "img", "iframe", "link", "object", "embed", "video", "audio", "form", "base", "svg", "a"}


class Outline(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(*, ok: bool = True, trust: str = "steward", word: str = "keep.example.org", **changes: object) -> Report:
    """A report whose every word that a stranger chooses is `word`."""
    checks = [
        check("connect", True, "192.0.2.1 answers"),
        check("tls.handshake", True, "TLSv1.3"),
        check("certificate.chain", True, "issued under the root in root.pem")
        if trust == "steward"
        else skipped("certificate.chain", "not relied upon"),
        check("certificate.name", ok, f"for {word}; asked for localhost"),
    ]
    certificate = {
        "sha256": "ab" * 32,
        "issuer": f"CN={word}",
        "names": [word],
        "not_before": "2026",
        "not_after": word,
    }
    certificate |= {"key": "ECDSA secp256r1", "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384"}
    good = {
        "ok": ok,
        "reachable": True,
        "endpoint": f"{word}:443",
        "from_whom": f"from the network {word}",
        "for_how_long": "until tomorrow",
        "where": "in a Keep",
        "checks": checks,
        "certificate": certificate,
        "claims": {"backend": "nil", "package": word},
        "trust": trust,
    }
    return Report(**good | changes)


HARDWARE = {
    "tee": "AMD SEV-SNP",
    "vendor": "AMD",
    "status": "Verified",
    "measurement": "00" * 48,
    "debug": False,
    "advisories": [],
    "links": ["AMD's root key (ARK), pinned", "this chip's key"],
    "claims": {"kind": "snp", "reported_tcb": {"snp": 24}, "valid_until": None},
}


def outline(made: Report) -> Outline:
    return Outline(page.render(made, NOW).decode())


def states(made: Report) -> list[str]:
    return [str(attributes["class"]) for tag, attributes in outline(made).tags if tag == "li" and attributes]


def test_the_page_holds_answers_chain_and_checks():
    made = outline(report())
    for part in (
        "from the network",
        "until tomorrow",
        "in a Keep",
        "Chain of trust",
        "Key of the Keep",
        "tls.handshake",
    ):
        assert part in made.text
    assert "RFC 8446" in made.text
    assert "2026-06-01T12:00:00Z" in made.text


def test_the_page_loads_nothing_and_allows_nothing_to_be_loaded():
    text = page.render(report(), NOW).decode()
    made = Outline(text)
    assert not LOADS & {tag for tag, _ in made.tags}
    assert not any("style" in attributes or "href" in attributes or "src" in attributes for _, attributes in made.tags)
    assert "url(" not in text
    (policy,) = [a["content"] for tag, a in made.tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize("ok", [True, False])
def test_a_strangers_words_are_words(ok):
    made = outline(report(ok=ok, word=HOSTILE))
    assert [tag for tag, _ in made.tags] == [tag for tag, _ in outline(report(ok=ok)).tags]
    assert "onerror" in made.text
    assert "\u202e" not in made.text
    assert "\x1b" not in made.text


@pytest.mark.parametrize(
    ("made", "tone", "said"),
    [
        (report(), "unprotected", "Every check passed; no hardware protects this Keep"),
        (report(claims={"backend": "snp", "hardware": True}), "passed", "Every check passed"),
        (report(trust="hardware", hardware=HARDWARE), "passed", "Every check passed"),
        (report(ok=False), "failed", "Refused: 1 check failed"),
        (report(claims=None), "unprotected", "Every check passed; no hardware protects this Keep"),
    ],
    ids=["nil", "hardware-by-steward", "hardware", "refused", "no-claims"],
)
def test_the_headline_says_when_no_hardware_protects(made, tone, said):
    text = page.render(made, NOW).decode()
    assert f'class="verdict {tone}"><p class="said">{said}</p>' in text


def test_never_the_bare_word():
    for made in (report(), report(ok=False), report(trust="hardware", hardware=HARDWARE)):
        assert not re.search(r"\bsecure\b", outline(made).text, re.IGNORECASE)


def test_what_failed_comes_with_what_to_do():
    made = outline(report(ok=False))
    assert "Refused: 1 check failed" in made.text
    assert "--server-name" in made.text


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (report(), ["absent", "holds", "holds", "holds", "holds", "holds"]),
        (report(ok=False), ["absent", "holds", "holds", "holds", "broken", "holds"]),
        (
            report(trust="hardware", hardware=HARDWARE),
            ["holds", "holds", "holds", "holds", "aside", "aside", "holds", "holds"],
        ),
        (report(trust="hardware"), ["broken", "holds", "aside", "aside", "holds", "holds"]),
        (report(claims={"backend": "snp"}), ["aside", "holds", "holds", "holds", "holds", "holds"]),
        (report(certificate=None, claims=None), ["absent", "absent", "broken"]),
    ],
    ids=["nil", "wrong-name", "hardware", "hardware-asked-of-nil", "hardware-by-steward", "no-certificate"],
)
def test_the_chain_shows_what_holds_and_what_is_not_relied_upon(made, expected):
    assert states(made) == expected


def test_the_command_writes_the_page_and_ends_as_without(service, enarx_deploy, tmp_path):
    words = ("--root", str(service.root), "--accept", "nil", "--any-workload", "--html")
    with service.serving(service.leaf()) as port:
        good = enarx_deploy("verify", f"localhost:{port}", *words, str(tmp_path / "good.html"))
        bad = enarx_deploy("verify", f"localhost:{port}", *words, str(tmp_path / "bad.html"), "--server-name", "x")
    gone = enarx_deploy("verify", "localhost:1", *words, str(tmp_path / "gone.html"))
    assert (good.returncode, bad.returncode, gone.returncode) == (0, 3, 1)
    assert "Every check passed" in (tmp_path / "good.html").read_text()
    for name in ("bad.html", "gone.html"):
        assert "Refused" in (tmp_path / name).read_text()
    assert sorted(path.name for path in tmp_path.glob("*.html*")) == ["bad.html", "gone.html", "good.html"]


@pytest.mark.parametrize("name", [".", "missing/page.html"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_looked_at(enarx_deploy, name):
    ended = enarx_deploy("verify", "localhost:1", "--html", name)
    assert ended.returncode == 2
    assert "--html" in ended.stderr


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Callable[..., str]:
    """A real browser, which prints a page as it stands after it was loaded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    quiet = "--disable-background-networking --disable-component-update --disable-sync --no-first-run"
    profile = tmp_path_factory.mktemp("profile")

    def open_(path: Path, *words: str) -> str:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *quiet.split()]
        command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", *words, path.as_uri()]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert "Content Security Policy" not in ended.stderr
        return ended.stdout

    return open_


def test_a_browser_shows_a_strangers_words_and_runs_none_of_them(browser, tmp_path):
    (tmp_path / "page.html").write_bytes(page.render(report(ok=False, word=HOSTILE), NOW))
    shown = browser(tmp_path / "page.html", "--dump-dom")
    made = Outline(shown)
    assert not LOADS & {tag for tag, _ in made.tags}
    assert "<title>Refused: &lt;/style&gt;" in shown
    assert "owned" in made.text


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "light"), (1200, "dark")])
def test_a_browser_applies_the_style_at_every_width(browser, tmp_path, width, scheme):
    (tmp_path / "page.html").write_bytes(page.render(report(trust="hardware", hardware=HARDWARE), NOW))
    picture = tmp_path / "page.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browser(tmp_path / "page.html", f"--screenshot={picture}", f"--window-size={width},1600", *dark)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
