"""The background process that watches over one Keep: starts it, takes requests, and writes down how it ended."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.host import background, health, requests, services, state, usage
from enarx_deploy.host.cgroup import Groups, Limits
from enarx_deploy.host.listeners import place_of
from enarx_deploy.host.log_files import LogFile
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.renewal import Renewal, Validity
from enarx_deploy.host.session import DEFAULT_GRACE, Session, Stdio
from enarx_deploy.models import ALIVE, KeepStatus, Package, Usage
from enarx_deploy.project import Project
from enarx_deploy.protocols import Challenge

if TYPE_CHECKING:
    from enarx_deploy.manifest import Listen
    from enarx_deploy.protocols import Issuer, ReleasedSecrets

ROOT_FILE = "root.der"
_TELL_LIMIT = 5.0  # seconds that a service process has to take note of something
_WRITE_AGAIN = 5.0  # seconds after which what could not be written is tried again


def supervise(directory: Path, ready_fd: int) -> None:
    """Run the Keep of `directory` to its end. One JSON line on `ready_fd` says that it is up, or why it is not."""
    lock = state.hold(directory)
    keep = _Supervisor(directory)
    try:
        keep.start()
    except EnarxDeployError as error:
        keep.note("failed", reason=str(error))
        keep.close_logs()
        background.report(ready_fd, {"error": str(error), "hint": error.hint})
        return
    background.report(ready_fd, {})
    keep.run()
    os.close(lock)


def _known_root(directory: Path) -> bytes:
    """The root of the certificates that the Keep of a directory had before, which its clients know; empty if none."""
    try:
        return (directory / ROOT_FILE).read_bytes()
    except FileNotFoundError:
        return b""


class _Supervisor:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        spec = state.read_spec(directory)
        self._spec = spec
        before = state.read_status(directory)
        self._status = KeepStatus(
            id=spec.id,
            name=spec.name,
            state="starting",
            backend=spec.backend,
            target=spec.target,
            package=spec.package,
            endpoints=[],
            created=spec.created,
            pid=os.getpid(),
            version=spec.version,
            restarts=before.restarts + 1 if before else 0,
        )
        self._session: Session | None = None
        self._inside: health.Inside | None = None
        self._fault = ""
        self._metrics_listener: dict[str, socket.socket] = {}
        self._logs: list[LogFile] = []
        self._noting = threading.RLock()
        self._certifying = threading.Lock()
        self._root = b""
        self._renewal = Renewal(self._renew, self._note_failed_renewal)
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the Keep and begin to take requests. Raises EnarxDeployError."""
        self.note("starting")
        spec = self._spec
        if unheld := Groups().confine(spec.id, Limits(memory=spec.memory, cpu=spec.cpu)):
            self._change(unheld=unheld)
            self._say(unheld)
        self._session = session = self._make_session()
        self._inside = health.Inside(session, self._directory)
        session.on_limit = self._limit_met
        self._serve_metrics(session)
        session.start()
        self._requests = requests.Server(self._directory, self._do, self._say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=self._stop, args=(DEFAULT_GRACE,)).start())
        waits = session.needs_certificate
        self.note("starting" if waits else "running", endpoints=session.endpoints)
        self._say_what_is_lacking()

    def run(self) -> None:
        """Wait for the Keep's end and write it down."""
        session = self._the_session()
        self._renewal.start()
        outcome = session.wait()
        self._renewal.end()
        self.close_logs()
        self._say(f"the Keep has ended: {outcome.kind} {outcome.code} {outcome.message}".rstrip())
        self._note_end(outcome)
        self._ended.set()
        self._requests.close()

    def close_logs(self) -> None:
        """Have all that the workload wrote in its logs."""
        for log in self._logs:
            log.close()

    def _serve_metrics(self, session: Session) -> None:
        """Raises UsageError, KeepError."""
        if not self._spec.metrics:
            return
        from enarx_deploy.host import metrics
        from enarx_deploy.manifest import Listen

        host, port = metrics.parse(self._spec.metrics)
        listener = None
        if self._spec.service and port:  # the Keep that is replaced has it, too
            entry = Listen(name=metrics.LISTENER, addr=host, port=port, prot="tcp")
            listener = self._metrics_listener[place_of(entry)] = self._listen(entry)
        pages = metrics.pages_of(lambda: self._status, lambda: self._usage(session))
        self.note("starting", metrics=metrics.Endpoint(self._spec.metrics, pages, listener).address)

    def _say_what_is_lacking(self) -> None:
        for line in self._the_session().lacking:
            self._say(f"this machine lacks a part of the jail: {line}")

    def note(self, keep_state: str, **changes: Any) -> None:
        """Change what is known of the Keep, and say so. An end stays, whatever a slower thread has yet to note."""
        with self._noting:
            if self._status.state not in ALIVE:
                return
            self._change(state=keep_state, **changes)
        self._say(f"{keep_state} {changes.get('reason', '')}".rstrip())

    def _change(self, **changes: Any) -> None:
        with self._noting:
            self._status = msgspec.structs.replace(self._status, **changes)
            self._write_status()

    def _write_status(self) -> None:
        """Write down what is known; where that cannot be done now, it is done as soon as it can."""
        with self._noting:
            try:
                state.write_status(self._directory, self._status)
            except OSError as error:
                self._say(f"the Keep's state cannot be written: {error}")
                again = threading.Timer(_WRITE_AGAIN, self._write_status)
                again.daemon = True
                again.start()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a disk that is full ends no service
            print(line, file=sys.stderr, flush=True)

    def _make_session(self) -> Session:
        from enarx_deploy import choice, package_tree
        from enarx_deploy.manifest import parse
        from enarx_deploy.plugin_manager import PluginManager

        spec = self._spec
        if spec.source is None:
            package = package_tree.read(Path(spec.package_root), spec.package)
            text = (Path(package.root) / package_tree.MANIFEST).read_bytes()
        else:
            package, text = Package(digest=spec.package, root="", size=0, files=[]), spec.manifest.encode()
        self._package = package
        self._manifest = parse(text, package_tree.MANIFEST).manifest
        self._plugins = PluginManager()
        backend = choice.booting(self._plugins.get("backend", spec.backend), spec.image)
        return Session(
            package,
            self._manifest,
            backend,
            self._stdio(),
            listen=self._listen if spec.service else None,
            release=self._release,
            source=spec.source,
            where_it_wrote="`enarx-deploy logs` shows what it wrote",
        )

    def _stdio(self) -> Stdio:
        """Nothing to read; what the workload writes goes to its logs, and what the Keep says to this process's."""
        for name in ("stdout", "stderr"):
            self._logs.append(LogFile(self._directory / state.LOGS[name], size=self._spec.log_size))
        return Stdio(
            stdin=os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC),
            stdout=self._logs[0].descriptor,
            stderr=self._logs[1].descriptor,
            complaints=sys.stderr.fileno(),
        )

    def _note_end(self, outcome: Outcome) -> None:
        if self._fault:
            self.note("failed", pid=0, cause="unhealthy", reason=self._fault)
            return
        ended_well = outcome.kind in ("exit", "killed")
        status = outcome.code if outcome.kind == "exit" else None
        self.note(
            "exited" if ended_well else "failed",
            pid=0,
            exit_status=status,
            cause=outcome.kind,
            reason=outcome.explanation or outcome.kind,
        )

    def _limit_met(self, line: str) -> None:
        self._change(limits=[*self._status.limits, line])
        self._say(line)

    def _do(self, request: requests.Request) -> requests.Answer:
        session = self._the_session()
        match request["do"]:
            case "certify":
                return requests.Answer(self._certify(request))
            case "install":
                self._install(request)
            case "provision":
                self._provision()
            case "check":
                self._check(request)
            case "accept":
                session.accept()
            case "listeners":
                return self._listeners(session)
            case "renew":
                self._renewal.installed(self._renew())
            case "stop":
                self._stop(float(request["grace"]))
                self._ended.wait()
            case "fail":
                self._fault = str(request["reason"])
                session.kill()
                self._ended.wait()
            case "usage":
                return requests.Answer(msgspec.to_builtins(self._usage(session)))
            case "counters":
                return requests.Answer(dict(session.counters()))
            case other:
                raise ValueError(f"no request {other!r}")
        return requests.Answer({})

    def _usage(self, session: Session) -> Usage:
        return usage.measure(self._the_inside().counted(), session.keep_pid)

    def _listen(self, entry: Listen) -> socket.socket:
        """A handle of the deployment's socket for an entry, from its service process. Raises KeepError."""
        asked = {"do": "listen", "name": entry.name, "addr": entry.addr, "port": entry.port}
        answer = requests.ask_for_sockets(services.directory(self._spec.service), asked)
        if len(answer.sockets) != 1:
            raise KeepError(f"the service process gave {len(answer.sockets)} sockets for {entry.name!r}")
        return answer.sockets[0]

    def _listeners(self, session: Session) -> requests.Answer:
        held = {place_of(entry): listener for entry, listener in session.listeners} | self._metrics_listener
        # `socket.dup` would have all handles wait in accept, which the host half must never do.
        handles = [socket.socket(fileno=os.dup(listener.fileno())) for listener in held.values()]
        return requests.Answer({"places": list(held)}, handles)

    def _check(self, request: requests.Request) -> None:
        """Look whether each socket is served: inside, by a socket of the Keep's own, or as clients see it."""
        session, within = self._the_session(), self._spec.healthy_within
        match request["where"]:
            case "inside":
                self._the_inside().check(self._root, within)
            case "again":
                self._check_again(float(request["within"]))
            case "endpoint":
                health.check_endpoints(session.endpoints, self._root, within)
            case other:
                raise ValueError(f"nothing is looked at {other!r}")

    def _check_again(self, within: float) -> None:
        try:
            self._the_inside().check_again(self._root, within)
        except KeepError as error:
            self._change(health_failure=str(error))
            raise
        if self._status.health_failure:
            self._change(health_failure="")

    def _certify(self, request: requests.Request) -> requests.Request:
        challenge = Challenge(nonce=base64.b64decode(request["nonce"]), audience=request["audience"])
        with self._certifying:
            answer = self._the_session().certify(challenge)
        return {
            "csr": base64.b64encode(answer.csr).decode(),
            "kind": answer.evidence_kind,
            "evidence": base64.b64encode(answer.evidence).decode(),
            "endorsements": {name: base64.b64encode(one).decode() for name, one in answer.endorsements.items()},
            "signatures": [base64.b64encode(one).decode() for one in answer.signatures],
        }

    def _provision(self) -> None:
        """Have a Keep that waits for its certificate certified by the issuer that its manifest names."""
        from enarx_deploy.host import certification

        session = self._the_session()
        if self._status.state != "starting":
            return
        issuer = self._issuer()
        if not issuer.renews:
            raise KeepError(
                f"the issuer {issuer.name!r} certifies no second Keep under the same root",
                hint="deploy anew: `enarx-deploy up --force`",
            )
        with self._certifying:
            certified = certification.certify(session, issuer, self._project(), _known_root(self._directory))
            self._serves_with(certified.root, certified.not_before, certified.not_after)
        self._renewal.installed(Validity.read(certified.not_before, certified.not_after))

    def _serves_with(self, root: bytes, not_before: str, not_after: str) -> None:
        """The Keep has taken a certificate, and runs."""
        self._root = root
        with contextlib.suppress(OSError):  # only a start after a full disk would miss it
            paths.write_atomically(self._directory / ROOT_FILE, root)
        self.note(
            "running",
            certificate_not_before=not_before,
            certificate_not_after=not_after,
            endpoints=self._the_session().endpoints,
        )
        self._say_what_is_lacking()

    def _install(self, request: requests.Request) -> None:
        chain = [base64.b64decode(one) for one in request["chain"]]
        root = base64.b64decode(request["root"])
        not_before, not_after = str(request["not_before"]), str(request["not_after"])
        validity = Validity.read(not_before, not_after)
        with self._certifying:
            self._the_session().install(chain, root)
            self._serves_with(root, not_before, not_after)
        self._renewal.installed(validity)  # with an issuer that does not renew, it is told from half of the life on

    def _renew(self) -> Validity:
        """Have the running Keep certified anew. Where that fails, what it has stays. Raises EnarxDeployError."""
        from enarx_deploy.host import certification

        issuer = self._issuer()
        with self._certifying:
            if not self._root:
                raise KeepError("this Keep has no certificate", hint="its manifest has no socket that speaks TLS")
            if not issuer.renews:
                raise KeepError(
                    f"the issuer {issuer.name!r} does not renew", hint="deploy anew: `enarx-deploy up --force`"
                )
            renewed = certification.certify(self._the_session(), issuer, self._project(), self._root)
        self._change(
            certificate_not_before=renewed.not_before, certificate_not_after=renewed.not_after, renewal_failure=""
        )
        self._say(f"the certificate was renewed, and is valid until {renewed.not_after}")
        return Validity.read(renewed.not_before, renewed.not_after)

    def _release(self, session: Session, names: Sequence[str]) -> ReleasedSecrets:
        from enarx_deploy.host import releasing

        released = releasing.release(session, self._issuer(), self._project(), names)
        self._say(f"released to the Keep: {', '.join(names)}")
        return released

    def _note_failed_renewal(self, reason: str) -> None:
        self._change(renewal_failure=reason)
        self._say(reason)

    def _issuer(self) -> Issuer:
        from enarx_deploy import choice

        return choice.issuer(self._project(), self._plugins)

    def _project(self) -> Project:
        """The package as a project, for its manifest; it has no folder for products."""
        return Project(Path(self._package.root), self._manifest, None, b"")

    def _stop(self, grace: float) -> None:
        if self._status.state in ALIVE:  # who failed meanwhile keeps its reason
            self.note("stopping")
            self._tell_service()
        self._the_session().stop(grace)

    def _tell_service(self) -> None:
        """That the Keep is to end, and not to be started again; a service process that is gone need not know."""
        if self._spec.service:
            with contextlib.suppress(KeepError):
                told = {"do": "stopping", "keep": self._spec.id}
                requests.ask(services.directory(self._spec.service), told, _TELL_LIMIT)

    def _the_inside(self) -> health.Inside:
        if self._inside is None:
            raise ValueError("the Keep has not been started")
        return self._inside

    def _the_session(self) -> Session:
        if self._session is None:
            raise ValueError("the Keep has not been started")
        return self._session
