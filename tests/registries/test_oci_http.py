"""How an OCI registry is spoken to: by servers that ask for tokens, lead elsewhere, break off, and send too much."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.registries.conftest import PASSWORD, USER, log_in, make_package

from enarx_deploy.errors import NotPublished, PackageError, RegistryError
from enarx_deploy.reference import Reference
from enarx_registries import oci_forms, oci_http, oci_repository
from enarx_registries.oci import Oci
from enarx_registries.oci_http import Connection
from enarx_registries.oci_repository import Repository

BLOB = bytes(range(256)) * 400
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """`cut` is how many bytes of the body are sent before the connection is broken off."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None


class Server:
    """Answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _: Answer(404)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.close_connection = True
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    length = int(self.headers.get("content-length") or 0)
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    asked = Asked(self.command, self.path, headers, self.rfile.read(length))
                    server.asked.append(asked)
                    self._send(server.answer(asked))

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in (
                    {"Content-Length": str(len(answer.body)), "Connection": "close"} | answer.headers
                ).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body[: answer.cut])

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits; answers the pauses that there would have been."""
    pauses: list[float] = []
    monkeypatch.setattr(oci_http.time, "sleep", pauses.append)
    return pauses


def repository(server: Server, client: httpx.Client) -> Repository:
    named = Reference("oci+http", server.host, "team/echo", "1.0.0", "")
    return Repository(Connection(named, client, f"http://{server.host}/v2/"), named.place)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=120) as made:
        yield made


def with_token(server: Server, token: str) -> Callable[[Asked], Answer]:
    """A registry that wants a token of the service at /token, and then has nothing."""

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return Answer(body=json.dumps({"token": token}).encode())
        if asked.headers.get("authorization") != f"Bearer {token}":
            challenge = f'Bearer realm="http://{server.host}/token",service="shelf",scope="repository:team/echo:pull"'
            return Answer(401, {"WWW-Authenticate": challenge})
        return Answer(404)

    return answer


def test_a_token_is_got_for_what_the_registry_asks_and_nobody_logs_in_where_nobody_has(server: Server) -> None:
    server.answer = with_token(server, "t0ken")
    with pytest.raises(NotPublished):
        Oci().resolve(f"oci://{server.host}/team/echo:1.0.0")
    (asked,) = [one for one in server.asked if one.path.startswith("/token")]
    assert parse_qs(urlsplit(asked.path).query) == {"service": ["shelf"], "scope": ["repository:team/echo:pull"]}
    assert "authorization" not in asked.headers


def test_a_token_is_got_with_the_login(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path, server.host)))
    server.answer = with_token(server, "t0ken")
    with pytest.raises(NotPublished):
        Oci().resolve(f"oci+http://{server.host}/team/echo:1.0.0")
    shown = {one.path.partition("?")[0]: one.headers.get("authorization", "") for one in server.asked}
    assert httpx.BasicAuth(USER, PASSWORD)._auth_header == shown["/token"]
    assert shown["/v2/team/echo/manifests/1.0.0"] == "Bearer t0ken"


def test_an_identity_token_goes_in_a_form(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"identitytoken": "identity"}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    server.answer = with_token(server, "t0ken")
    with pytest.raises(NotPublished):
        Oci().resolve(f"oci+http://{server.host}/team/echo:1.0.0")
    (asked,) = [one for one in server.asked if one.path.startswith("/token")]
    assert asked.method == "POST"
    assert parse_qs(asked.body.decode())["refresh_token"] == ["identity"]


@pytest.mark.parametrize("named", ["{}", "https://{}", "https://{}/v1/"])
def test_a_login_that_was_not_made_for_clear_does_not_go_to_what_took_the_port_of_a_registry(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path, named.format(server.host))))
    for answer in (with_token(server, "t0ken"), lambda _: Answer(401, {"WWW-Authenticate": 'Basic realm="shelf"'})):
        server.answer = answer
        with pytest.raises(RegistryError, match="was not made: nothing was sent"):
            Oci().resolve(f"oci://{server.host}/team/echo:1.0.0")
    assert not [one for one in server.asked if "authorization" in one.headers]


def test_a_login_made_by_tls_does_not_go_in_clear_where_clear_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path, f"https://{server.host}")))
    server.answer = with_token(server, "t0ken")
    with pytest.raises(RegistryError, match="was not made: nothing was sent"):
        Oci().resolve(f"oci+http://{server.host}/team/echo:1.0.0")
    assert not [one for one in server.asked if "authorization" in one.headers]


def test_a_login_made_in_clear_goes_in_clear(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path, f"http://{server.host}")))
    server.answer = with_token(server, "t0ken")
    with pytest.raises(NotPublished):
        Oci().resolve(f"oci://{server.host}/team/echo:1.0.0")


@pytest.mark.parametrize("scheme", ["http", ""])
def test_no_login_goes_in_clear_to_another_machine(
    server: Server, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Neither to a registry that is asked for in clear (here a proxy plays it), nor to the token service it names."""
    host = "registry.example:5000"
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path, f"{scheme}://{host}" if scheme else host)))
    server.answer = lambda _: Answer(401, {"WWW-Authenticate": 'Basic realm="shelf"'})
    with httpx.Client(trust_env=False, proxy=f"http://{server.host}", timeout=120) as through:
        named = Reference("oci+http", host, "team/echo", "1.0.0", "")
        with pytest.raises(RegistryError, match=r"no login goes to registry\.example:5000 in clear"):
            Repository(Connection(named, through, f"http://{host}/v2/"), named.place).tags()
    monkeypatch.setenv("DOCKER_CONFIG", str(log_in(tmp_path, server.host)))
    elsewhere = f'Bearer realm="http://{host}/token"'
    server.answer = lambda _: Answer(401, {"WWW-Authenticate": elsewhere})
    with pytest.raises(RegistryError, match=r"no login goes to registry\.example:5000 in clear"):
        repository(server, client).tags()
    assert not [one for one in server.asked if "authorization" in one.headers]


@pytest.mark.parametrize("token", ["", "two\nlines", "\x7f", "ümlaut"])
def test_what_is_no_token_is_refused(server: Server, token: str) -> None:
    server.answer = with_token(server, token)
    with pytest.raises(RegistryError, match="gave no token"):
        Oci().resolve(f"oci://{server.host}/team/echo:1.0.0")


def test_a_redirect_to_another_host_takes_no_token_along(server: Server, client: httpx.Client) -> None:
    other = Server()
    other.answer = lambda _: Answer(body=BLOB)

    def answer(asked: Asked) -> Answer:
        if "authorization" not in asked.headers and not asked.path.startswith("/token"):
            return with_token(server, "t0ken")(asked)
        if asked.path.startswith("/token"):
            return Answer(body=b'{"token": "t0ken"}')
        return Answer(307, {"Location": f"http://{other.host}/stored?signature=x"})

    server.answer = answer
    try:
        assert b"".join(repository(server, client).blob(DIGEST)) == BLOB
        assert server.asked[-1].headers["authorization"] == "Bearer t0ken"
        assert [("authorization" in one.headers, one.path) for one in other.asked] == [(False, "/stored?signature=x")]
    finally:
        other.close()


def test_a_redirect_is_not_followed_for_ever(server: Server, client: httpx.Client) -> None:
    server.answer = lambda asked: Answer(302, {"Location": f"{asked.path}x"})
    with pytest.raises(RegistryError, match="status 302"):
        b"".join(repository(server, client).blob(DIGEST))
    assert len(server.asked) < 10


@pytest.mark.parametrize("place", ["http://elsewhere.example/x", "file:///etc/passwd", "//[bad"])
def test_nothing_leads_out_of_tls(client: httpx.Client, place: str) -> None:
    named = Reference("oci", "registry.example", "team/echo", "1.0.0", "")
    connection = Connection(named, client, "https://registry.example/v2/")
    with pytest.raises(RegistryError, match=r"leads from https to|leads to what is no address"):
        connection.follow("https://registry.example/v2/team/echo/blobs/x", place)


def test_what_is_busy_is_asked_again_as_late_as_it_wants(
    server: Server, client: httpx.Client, no_pauses: list[float]
) -> None:
    answers = [Answer(503, {"Retry-After": "7"}), Answer(429), Answer(body=b'{"tags": ["1.0.0"]}')]
    server.answer = lambda _: answers.pop(0)
    assert repository(server, client).tags() == ["1.0.0"]
    assert no_pauses[0] == 7
    assert no_pauses[1] < 7


def test_what_stays_busy_is_an_error_in_the_end(server: Server, client: httpx.Client) -> None:
    server.answer = lambda _: Answer(503, {"Retry-After": "99999"})
    with pytest.raises(RegistryError, match="answers with status 503"):
        repository(server, client).tags()
    assert len(server.asked) == oci_http.ATTEMPTS


def test_a_blob_goes_on_where_it_broke_off(server: Server, client: httpx.Client) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.headers.get("range") == "bytes=1000-":
            return Answer(206, body=BLOB[1000:])
        return Answer(body=BLOB, cut=1000)

    server.answer = answer
    assert b"".join(repository(server, client).blob(DIGEST)) == BLOB
    assert len(server.asked) == 2


def test_a_blob_of_a_registry_that_knows_no_ranges_is_skipped_through(server: Server, client: httpx.Client) -> None:
    answers = [Answer(body=BLOB, cut=1000), Answer(body=BLOB)]
    server.answer = lambda _: answers.pop(0)
    assert b"".join(repository(server, client).blob(DIGEST)) == BLOB


def test_a_blob_that_is_another_is_refused(server: Server, client: httpx.Client) -> None:
    server.answer = lambda _: Answer(body=BLOB[:-1] + b"x")
    with pytest.raises(PackageError, match="is damaged"):
        b"".join(repository(server, client).blob(DIGEST))


def test_a_blob_that_is_too_large_is_not_read_to_its_end(server: Server, client: httpx.Client) -> None:
    server.answer = lambda _: Answer(body=BLOB)
    with pytest.raises(PackageError, match="a blob is over 1,000 bytes"):
        b"".join(repository(server, client).blob(DIGEST, 1000))


def test_an_answer_that_is_too_large_is_refused(server: Server, client: httpx.Client) -> None:
    server.answer = lambda _: Answer(body=bytes(oci_http.MAX_ANSWER + 1))
    with pytest.raises(RegistryError, match="answered with more than 4,194,304 bytes"):
        repository(server, client).manifest("1.0.0")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"config": 5}', b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(server: Server, client: httpx.Client, body: bytes) -> None:
    server.answer = lambda _: Answer(body=body)
    with pytest.raises(PackageError, match="is not what it should be"):
        repository(server, client).manifest("1.0.0")


def test_a_manifest_that_two_programs_could_read_differently_is_refused(server: Server, client: httpx.Client) -> None:
    descriptor = json.dumps({"mediaType": "a/b", "digest": DIGEST, "size": 1})
    bodies = [
        f'{{"config": {descriptor}, "layers": [], "layers": [{descriptor}]}}',
        f'{{"config": {descriptor}, "layers": [], "annotations": {{"a": "1", "a": "2"}}}}',
    ]
    for body in bodies:
        server.answer = lambda _, body=body: Answer(body=body.encode())  # type: ignore[misc]
        with pytest.raises(PackageError, match="a name is there twice"):
            repository(server, client).manifest("1.0.0")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": 5}', b'{"tags": [5]}'])
def test_what_is_no_list_is_refused(server: Server, client: httpx.Client, body: bytes) -> None:
    server.answer = lambda _: Answer(body=body)
    with pytest.raises(RegistryError, match="the registry's list of tags is none"):
        repository(server, client).tags()


def test_a_list_of_large_pages_is_not_read_to_its_end(server: Server, client: httpx.Client) -> None:
    page = json.dumps({"repositories": ["a" * 1000] * 4000}).encode()
    server.answer = lambda _: Answer(headers={"Link": f'</v2/{len(server.asked)}>; rel="next"'}, body=page)
    with pytest.raises(RegistryError, match="list of repositories has no end after") as caught:
        repository(server, client).repositories()
    assert "enarx-deploy info" in caught.value.hint
    assert len(server.asked) == 5


def test_pages_are_followed_on_the_same_registry_alone_and_not_for_ever(server: Server, client: httpx.Client) -> None:
    server.answer = lambda _: Answer(headers={"Link": '</v2/more>; rel="next"'}, body=b'{"tags": ["1.0.0"]}')
    with pytest.raises(RegistryError, match="list of tags has no end after"):
        repository(server, client).tags()
    assert len(server.asked) <= 500
    server.answer = lambda _: Answer(headers={"Link": '<http://127.0.0.1:1/>; rel="next"'}, body=b'{"tags": ["2"]}')
    assert repository(server, client).tags() == ["2"]
    for link in ('<//[bad>; rel="next"', "<" * 60_000):  # in the second each could begin an address
        server.answer = lambda _, link=link: Answer(headers={"Link": link}, body=b'{"tags": ["3"]}')
        assert repository(server, client).tags() == ["3"]


def test_an_upload_goes_on_where_the_registry_says_that_it_stands(
    server: Server, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_repository, "_WHOLE", 1000)
    monkeypatch.setattr(oci_repository, "_PORTION", 40_000)
    kept = bytearray()
    broken = [True]

    def answer(asked: Asked) -> Answer:
        place = {"Location": "/upload", "Range": f"0-{len(kept) - 1}"}
        if asked.method == "HEAD":
            return Answer(404)
        if asked.method == "PATCH" and asked.headers["content-range"].startswith("40000-") and broken:
            broken.clear()
            kept.extend(asked.body[:5000])
            return Answer(500)
        if asked.method == "PATCH":
            assert asked.headers["content-range"].partition("-")[0] == str(len(kept))
            kept.extend(asked.body)
        return Answer({"POST": 202, "PATCH": 202, "GET": 204, "PUT": 201}[asked.method], place)

    server.answer = answer
    blob = oci_forms.blob("application/octet-stream", BLOB)
    repository(server, client).put_bytes(blob)
    assert bytes(kept) == BLOB
    assert [one.method for one in server.asked] == ["HEAD", "POST", "PATCH", "PATCH", "GET", "PATCH", "PATCH", "PUT"]


def test_an_upload_that_the_registry_forgot_begins_anew(
    server: Server, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_repository, "_WHOLE", 1000)
    answers = {"HEAD": [404], "POST": [202, 202], "PATCH": [502, 202], "GET": [404], "PUT": [201]}
    server.answer = lambda asked: Answer(answers[asked.method].pop(0), {"Location": "/upload"})
    repository(server, client).put_bytes(oci_forms.blob("application/octet-stream", BLOB))
    assert not any(answers.values())


def problem(code: str) -> bytes:
    return json.dumps({"errors": [{"code": "DIGEST_INVALID"}, {"code": code}]}).encode()


@pytest.mark.parametrize(
    ("status", "code"), [(400, "MANIFEST_BLOB_UNKNOWN"), (404, "MANIFEST_BLOB_UNKNOWN"), (404, "BLOB_UNKNOWN")]
)
def test_a_manifest_is_sent_again_whose_blobs_another_publisher_is_half_through(
    server: Server, client: httpx.Client, no_pauses: list[float], status: int, code: str
) -> None:
    answers = [Answer(status, body=problem(code)), Answer(201)]
    server.answer = lambda _: answers.pop(0)
    repository(server, client).put_manifest(oci_forms.blob(oci_forms.MANIFEST, b"{}"), "1.0.0")
    assert [one.body for one in server.asked] == [b"{}", b"{}"]
    assert len(no_pauses) == 1


@pytest.mark.usefixtures("no_pauses")
def test_a_manifest_whose_blobs_stay_unknown_is_an_error_in_the_end(server: Server, client: httpx.Client) -> None:
    server.answer = lambda _: Answer(404, body=problem("MANIFEST_BLOB_UNKNOWN"))
    with pytest.raises(RegistryError, match=r"does not have what was sent to it: .*MANIFEST_BLOB_UNKNOWN"):
        repository(server, client).put_manifest(oci_forms.blob(oci_forms.MANIFEST, b"{}"), "1.0.0")
    assert len(server.asked) == oci_http.ATTEMPTS


@pytest.mark.parametrize("there", [True, False], ids=["and it is there", "and it is not there"])
def test_a_blob_that_is_refused_since_another_publisher_was_quicker(
    server: Server, client: httpx.Client, there: bool
) -> None:
    answers = {"HEAD": [404, 200 if there else 404], "POST": [202], "PUT": [400]}
    server.answer = lambda asked: Answer(answers[asked.method].pop(0), {"Location": "/upload"})
    blob = oci_forms.blob("application/octet-stream", BLOB)
    if there:
        repository(server, client).put_bytes(blob)
    else:
        with pytest.raises(RegistryError, match="answered PUT with status 400"):
            repository(server, client).put_bytes(blob)
    assert not any(answers.values())


def test_a_registry_with_a_list_of_referrers_gets_no_tag_in_its_place(server: Server, tmp_path: Path) -> None:
    """As the distribution specification 1.1 has it: it answers with the header OCI-Subject."""
    there: dict[str, bytes] = {}

    def answer(asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        if asked.method == "PUT":
            there[path] = asked.body
            subject = json.loads(asked.body).get("subject") if "/manifests/" in path else None
            return Answer(201, {"OCI-Subject": subject["digest"]} if subject else {})
        if asked.method == "POST":
            return Answer(202, {"Location": "/upload"})
        return Answer(200, body=there[path]) if path in there else Answer(404)

    server.answer = answer
    Oci().publish(make_package(tmp_path / "tree", {}), f"oci://{server.host}/team/echo:1.0.0")
    tags = {path.rpartition("/")[2] for path in there if "/manifests/" in path and "sha256:" not in path}
    assert {tag for tag in tags if not tag.startswith("package-")} == {"1.0.0", "1.0.0-oci"}


def test_a_problem_is_told_in_one_line_of_plain_letters(server: Server, client: httpx.Client) -> None:
    problem = {"errors": [{"code": "DENIED", "message": "no\x1b[31m\nroom"}]}
    server.answer = lambda _: Answer(400, body=json.dumps(problem).encode())
    with pytest.raises(RegistryError, match=r"status 400: DENIED no \[31m room$"):
        repository(server, client).tags()
