"""A package on a web server: a real HTTPS server hands out what `package pack` wrote."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.registries.conftest import make_certificates, make_package

from enarx_deploy import package_archive
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.models import Package
from enarx_deploy.protocols import Attachment
from enarx_registries import web

OTHER = f"sha256:{'0' * 64}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Files by their path; what else there is misbehaves."""

    files: dict[str, bytes] = {}  # noqa: RUF012  # filled by the fixture
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/echo.tar")
            self.end_headers()
        elif self.path in self.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.files[self.path])
        else:
            self.send_error(404)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("package"), {"assets/index.html": b"<p>hello"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, package: Package) -> Iterator[tuple[str, Path]]:
    """Its URL, and the root of its certificate."""
    place = tmp_path_factory.mktemp("web")
    root = make_certificates(place)
    package_archive.write(package, [Attachment("sbom", "application/json", b"{}")], place / "echo.tar")
    Handler.files = {"/echo.tar": (place / "echo.tar").read_bytes(), "/nonsense": b"nonsense" * 200}
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "leaf.pem", place / "leaf.key")
    served.socket = context.wrap_socket(served.socket, server_side=True)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{served.server_port}", root
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def url(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SSL_CERT_FILE", str(server[1]))
    Handler.asked.clear()
    return server[0]


def test_a_package_is_fetched_with_what_is_said_of_it(url, package, tmp_path) -> None:
    fetched = web.Web().fetch(f"{url}/echo.tar@{package.digest}", tmp_path)
    assert fetched.digest == package.digest
    assert Path(fetched.root, "assets/index.html").read_bytes() == b"<p>hello"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".attachments")]


def test_the_command_fetches_it(enarx_deploy, server, package) -> None:
    root = {"SSL_CERT_FILE": str(server[1])}
    ended = enarx_deploy("fetch", f"{server[0]}/echo.tar@{package.digest}", "--json", env=root)
    assert ended.returncode == 0, ended.stderr
    assert package.digest in ended.stdout


def test_once_a_key_is_trusted_a_file_without_its_signature_is_refused(enarx_deploy, server, package) -> None:
    (enarx_deploy.directory / "passphrase").write_text("correct horse\n")
    (enarx_deploy.directory / "passphrase").chmod(0o600)
    for words in (
        ("key", "generate", "team.key", "--passphrase-file", "passphrase"),
        ("key", "trust", "team.key.pub", "--name", "team"),
    ):
        ended = enarx_deploy(*words)
        assert ended.returncode == 0, ended.stderr
    ended = enarx_deploy("fetch", f"{server[0]}/echo.tar@{package.digest}", env={"SSL_CERT_FILE": str(server[1])})
    assert ended.returncode == 3, ended.stderr
    assert "sign" in ended.stderr


@pytest.mark.parametrize(
    ("path", "fault", "said"),
    [
        ("/echo.tar@" + OTHER, PackageError, "not sha256:0000"),
        ("/missing.tar@" + OTHER, NotPublished, "nothing"),
        ("/moved@" + OTHER, RegistryError, "status 302"),
        ("/nonsense@" + OTHER, PackageError, "/nonsense"),
        ("/echo.tar", UsageError, "does not say which"),
    ],
    ids=["another-package", "missing", "redirect", "nonsense", "no-digest"],
)
def test_what_is_not_that_package_is_refused(url, tmp_path, path: str, fault: type[Exception], said: str) -> None:
    with pytest.raises(fault, match=said):
        web.Web().fetch(url + path, tmp_path)
    assert Handler.asked in ([path.partition("@")[0]], [])


def test_a_file_larger_than_any_package_is_given_up(url, package, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(web, "FILE_LIMIT", 1000)
    with pytest.raises(PackageError, match="more than 1,000 bytes"):
        web.Web().fetch(f"{url}/echo.tar@{package.digest}", tmp_path / "packages")
    assert not (tmp_path / "packages").exists()


def test_a_server_that_nobody_vouches_for_is_refused(server, package, tmp_path) -> None:
    with pytest.raises(RegistryError, match="CERTIFICATE_VERIFY_FAILED"):
        web.Web().fetch(f"{server[0]}/echo.tar@{package.digest}", tmp_path)


def test_nothing_can_be_published_there(package) -> None:
    with pytest.raises(UsageError, match="takes no packages"):
        web.Web().publish(package, "https://registry.example/echo.tar")
