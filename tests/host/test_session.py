"""A Keep as its host process holds it: whatever ends it, the end is told once and nothing is left hanging."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.ports import free_port

from enarx_backends import nil
from enarx_backends.nil import Nil
from enarx_deploy.errors import KeepError
from enarx_deploy.host import state
from enarx_deploy.host.conversation import Conversation
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.host.session import _endorsements as endorsements_of
from enarx_deploy.manifest import parse
from enarx_deploy.models import KeepStatus, Module
from enarx_deploy.package_tree import build
from enarx_deploy.project import Project
from enarx_deploy.protocols import Backend, Challenge, KeepProcess, Launch
from enarx_deploy.records import digest_of

MANIFEST = b"".join(b'[[files]]\nkind = "%s"\n' % kind for kind in (b"stdin", b"stdout", b"stderr"))


@pytest.fixture
def make_session(program, tmp_path: Path, monkeypatch, shared_cache) -> Iterator[Callable[[Backend], Session]]:
    """A Keep that copies standard input to standard output, both pipes whose other ends are `stdin` and `stdout`."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(shared_cache))
    wasm = program("echo")
    data = wasm.read_bytes()
    module = Module(
        path=str(wasm), sha256=digest_of(data), size=len(data), entry="_start", imports=[], toolchain="", version=""
    )
    (stdin, to_keep), (from_keep, stdout) = os.pipe(), os.pipe()
    made: list[Session] = []

    def make(backend: Backend, complaints: int = 2, more: bytes = b"") -> Session:
        manifest = parse(MANIFEST + more, "Enarx.toml").manifest
        package = build(Project(tmp_path, manifest, None, MANIFEST + more), module)
        stdio = Stdio(stdin=stdin, stdout=stdout, stderr=2, complaints=complaints)
        made.append(Session(package, manifest, backend, stdio))
        return made[-1]

    yield make
    for session in made:
        session.kill()
        if session._process is not None:  # else it did not start, which its test tells
            session.wait()
    for descriptor in (stdin, to_keep, from_keep, stdout):
        os.close(descriptor)


@pytest.fixture
def session(make_session: Callable[[Backend], Session]) -> Session:
    """The same, started."""
    started = make_session(Nil())
    started.start()
    return started


@pytest.mark.parametrize("kind", ["snp", "kvm"])
def test_a_host_that_names_another_kind_of_evidence_gets_no_keep(
    kind: str, make_session: Callable[[Backend], Session]
) -> None:
    backend = Nil()
    backend.evidence = kind
    with pytest.raises(KeepError, match=f"cannot give evidence of kind '{kind}': it has nil"):
        make_session(backend).start()


def test_what_takes_a_large_module_long_is_told(make_session: Callable[[Backend], Session], monkeypatch) -> None:
    """The Keep is held up until that is said, as if it compiled."""
    monkeypatch.setattr("enarx_deploy.sizes.SLOW_TO_COMPILE", 0)
    monkeypatch.setattr("enarx_deploy.host.session._QUIET", 0.1)
    said = []

    class HeldUp(Nil):
        def start(self, launch: Launch) -> KeepProcess:
            process = super().start(launch)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            return process

    backend = HeldUp()
    backend.program = f"import os; os.kill(os.getpid(), {int(signal.SIGSTOP)}); {backend.program}"

    session = make_session(backend)

    def go_on(line: str) -> None:
        said.append(line)
        os.kill(session.keep_pid, signal.SIGCONT)

    session.on_wait = go_on
    session.start()
    assert [line.split()[:3] for line in said][:1] == [["the", "Keep", "compiles"]]


PEER = b'[[files]]\nkind = "connect"\nname = "peer"\nprot = "tls"\nhost = "127.0.0.1"\nport = %d\n'


def test_a_peer_waits_for_no_handshake_while_the_keep_is_certified(make_session) -> None:
    """It hangs up after a while, ten seconds with a Keep: so long a module may be compiled."""
    with socket.create_server(("127.0.0.1", 0)) as peer:
        session = make_session(Nil(), more=PEER % peer.getsockname()[1])
        session.start()
        assert session.needs_certificate
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.accept()
        with pytest.raises(KeepError, match="the Keep did not start"):
            session.install([b"no certificate"], b"")
        peer.accept()[0].close()


def test_a_keep_whose_peer_is_not_there_is_ended(make_session) -> None:
    session = make_session(Nil(), more=PEER % free_port())
    session.start()
    with pytest.raises(KeepError, match=r"cannot connect to 127\.0\.0\.1 port"):
        session.install([b"no certificate"], b"")
    assert session.wait().kind == "killed"


def test_a_killed_keep_died_of_that_signal(session: Session) -> None:
    """A thread that fails on the way would fail this test too."""
    os.kill(session._process.pid, signal.SIGKILL)
    outcome = session.wait()
    assert (outcome.kind, outcome.exit_status) == ("signal", 128 + signal.SIGKILL)
    assert "SIGKILL" in outcome.message
    assert session.counters()["open"] == 0


class Hostile(Nil):
    """A Keep that was taken over, and does what these lines say."""

    def __init__(self, lines: str) -> None:
        taken_over = "def run(keep, place):\n" + "".join(f"    {line}\n" for line in lines.splitlines())
        imports = "import os; from enarx_keep import __main__, life; from enarx_keep.channel import encode"
        program = f"{taken_over}    return {{'type': 'exit', 'kind': 'exit', 'code': 0}}\nlife._Keep.run = run"
        self.program = f"{imports}\n{program}\n__main__.main()"


SEND = "keep._guest.control_write(encode({}))"
RUNNING = SEND.format("{'type': 'running', 'phases': {}, 'lacking': []}")
TAKES = "'takes': ['look']"
READY = "{'type': 'ready'}"
UNASKED = SEND.format("{'type': 'request', 'csr': 'x' * 100_000}")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (f"{RUNNING}\nwhile True: {UNASKED}", "more than it is asked"),
        (SEND.format("{'type': 'running', 'phases': {'a': 10**400}, 'lacking': []}"), "too large"),
        (SEND.format("{'type': 'running', 'phases': [], 'lacking': []}"), "phases is not of type dict"),
        (SEND.format("{'type': 'running', 'phases': {}, 'lacking': 1}"), "lacking is not of type list"),
        (SEND.format("{'type': 'running', 'phases': {}, 'lacking': [], 'takes': 1}"), "takes is not of type list"),
        (SEND.format("{'type': 'running', 'phases': {'a': float('nan')}, 'lacking': []}"), "not JSON compliant"),
        (f"{RUNNING}\nreturn {{'type': 'exit', 'kind': 'error', 'message': '\\ud800'}}", "surrogates not allowed"),
    ],
    ids=["flood", "huge-number", "list-for-table", "number-for-list", "number-for-kinds", "no-number", "half-a-letter"],
)
def test_what_is_not_of_the_protocol_ends_the_keep(lines: str, words: str, make_session) -> None:
    session = make_session(Hostile(lines))
    with contextlib.suppress(KeepError):
        session.start()
    outcome = session.wait()
    assert outcome.kind == "died", outcome
    assert "broke the control protocol" in outcome.message
    assert words in outcome.message


@pytest.mark.parametrize("code", [True, 10**30, -(10**30), 0.5, None])
def test_an_exit_status_that_is_none_can_be_written_down_and_read(code: object, make_session, tmp_path: Path) -> None:
    session = make_session(Hostile(f"{RUNNING}\nreturn {{'type': 'exit', 'kind': 'exit', 'code': {code}}}"))
    session.start()
    outcome = session.wait()
    assert (outcome.kind, outcome.exit_status) == ("exit", 1)
    texts = dict.fromkeys(("id", "name", "backend", "target", "package", "created"), "")
    ended = KeepStatus(**texts, state="exited", endpoints=[], exit_status=outcome.code)
    state.write_status(tmp_path, ended)
    assert state.read_status(tmp_path) == ended


def test_nobody_waits_to_deliver_what_is_not_read_after_a_breach() -> None:
    """It was waited for until the limit for last words, 30 seconds, with a Keep that had sent much."""
    ours, of_host_half = socket.socketpair()
    with ours, of_host_half:
        conversation = Conversation(ours.fileno())
        of_host_half.sendall(b"\0\0\0\1{")
        assert "broke the control protocol" in conversation.listen(pytest.fail)
        looked = select.poll()
        looked.register(of_host_half)
        assert dict(looked.poll(0))[of_host_half.fileno()] & select.POLLHUP  # what wakes a writer that found it full
        with pytest.raises(BrokenPipeError):
            of_host_half.sendall(b"more")
        conversation.end()


def test_a_keep_of_an_image_from_before_there_were_looks_is_not_asked_what_it_would_not_answer(make_session) -> None:
    """It would be replaced when it is full, by another that takes none either."""
    computes = "while True: os.sched_yield()"
    older = make_session(Hostile(f"{RUNNING}\n{computes}"))
    older.start()
    older.check_answers(0)
    newer = make_session(Hostile(f"{RUNNING.replace('[]', f'[], {TAKES}')}\n{computes}"))
    newer.start()
    with pytest.raises(KeepError, match="has not answered in 0 seconds"):
        newer.check_answers(0)


@pytest.mark.parametrize("step", ["before it is ready", "when it is challenged"])
def test_a_keep_that_says_nothing_before_its_workload_runs_is_ended(step: str, make_session, monkeypatch) -> None:
    ready = "" if step == "before it is ready" else f"{SEND.format(READY)}\n"
    session = make_session(Hostile(f"{ready}while True: os.sched_yield()"))
    if ready:
        session.start()
    monkeypatch.setattr("enarx_deploy.host.session.COMING_UP_LIMIT", 0.2)
    with pytest.raises(KeepError, match="said nothing for 0 seconds"):
        session.certify(Challenge(nonce=bytes(32), audience="a")) if ready else session.start()
    assert session.wait().kind == "killed"


def test_a_keep_that_complains_without_an_end_fills_no_disk(make_session, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(nil, "OUTPUT_LIMIT", 1 << 20)
    complaints = tmp_path / "log"
    with complaints.open("ab") as log:
        backend = Hostile("try:\n    while True: os.write(2, b'x' * 4000)\nexcept OSError: pass")
        session = make_session(backend, complaints=log.fileno())
        session.start()
        assert session.wait().kind == "exit"
    assert complaints.stat().st_size == 1 << 20


def test_many_may_ask_while_it_ends(session: Session) -> None:
    faults: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        try:
            while not over.is_set():
                session.counters()
        except BaseException as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    session.stop(0)
    assert session.wait().kind == "killed"
    over.set()
    for asker in askers:
        asker.join()
    assert faults == []


def test_stop_after_the_end_is_no_fault(session: Session) -> None:
    session.stop(0)
    session.stop(0)
    assert session.wait().kind == "killed"


def request(endorsements: object) -> dict[str, object]:
    return {"type": "request", "endorsements": endorsements}


def test_endorsements_are_files_of_one_directory() -> None:
    assert endorsements_of({"type": "request"}) == {}
    assert endorsements_of(request({"vcek.der": "MGtleQ==", "crl.der": ""})) == {"vcek.der": b"0key", "crl.der": b""}


@pytest.mark.parametrize(
    "strange",
    [
        None,
        ["vcek.der"],
        {"../vcek.der": ""},
        {".hidden": ""},
        {"a/b": ""},
        {"": ""},
        {"x" * 65: ""},
        {f"crl{number}.der": "" for number in range(9)},
    ],
)
def test_endorsements_that_are_not(strange: object) -> None:
    with pytest.raises(KeepError, match="endorsements"):
        endorsements_of(request(strange))
