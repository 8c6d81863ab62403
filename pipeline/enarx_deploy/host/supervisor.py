"""The background process that watches over one Keep: starts it, takes requests, and writes down how it ended."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from enarx_deploy.errors import EnarxDeployError, KeepError, VerificationRefused
from enarx_deploy.host import requests, state, usage
from enarx_deploy.host.renewal import Renewal, Validity
from enarx_deploy.host.session import DEFAULT_GRACE, Outcome, Session, Stdio
from enarx_deploy.models import ALIVE, KeepStatus, Package
from enarx_deploy.project import Project
from enarx_deploy.protocols import Challenge

if TYPE_CHECKING:
    from enarx_deploy.protocols import Issuer, ReleasedSecrets


def supervise(directory: Path, ready_fd: int) -> None:
    """Run the Keep of `directory` to its end. One JSON line on `ready_fd` says that it is up, or why it is not."""
    lock = state.hold(directory)
    keep = _Supervisor(directory)
    try:
        keep.start()
    except EnarxDeployError as error:
        keep.note("failed", reason=str(error))
        _report(ready_fd, {"error": str(error), "hint": error.hint})
        return
    _report(ready_fd, {})
    keep.run()
    os.close(lock)


def _report(ready_fd: int, message: dict[str, str]) -> None:
    with os.fdopen(ready_fd, "w") as ready:
        json.dump(message, ready)


class _Supervisor:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        spec = state.read_spec(directory)
        self._spec = spec
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
        )
        self._session: Session | None = None
        self._noting = threading.Lock()
        self._certifying = threading.Lock()
        self._root = b""
        self._renewal = Renewal(self._renew, self._note_failed_renewal)
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the Keep and begin to take requests. Raises EnarxDeployError."""
        self.note("starting")
        self._session = session = self._make_session()
        session.on_limit = self._limit_met
        self._serve_metrics(session)
        session.start()
        self._listener = requests.bind(self._directory)
        threading.Thread(target=self._serve, name="requests", daemon=True).start()
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
        self._say(f"the Keep has ended: {outcome.kind} {outcome.code} {outcome.message}".rstrip())
        self._note_end(outcome)
        self._ended.set()
        self._close_requests()

    def _serve_metrics(self, session: Session) -> None:
        """Raises UsageError, KeepError."""
        if not self._spec.metrics:
            return
        from enarx_deploy.host.metrics import Endpoint, pages_of

        pages = pages_of(lambda: self._status, lambda: usage.measure(session.counters(), session.keep_pid))
        self.note("starting", metrics=Endpoint(self._spec.metrics, pages).address)

    def _say_what_is_lacking(self) -> None:
        for line in self._the_session().lacking:
            self._say(f"this machine lacks a part of the jail: {line}")

    def note(self, keep_state: str, **changes: Any) -> None:
        """Change what is known of the Keep, and say so."""
        self._change(state=keep_state, **changes)
        self._say(f"{keep_state} {changes.get('reason', '')}".rstrip())

    def _change(self, **changes: Any) -> None:
        with self._noting:
            self._status = msgspec.structs.replace(self._status, **changes)
            state.write_status(self._directory, self._status)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _make_session(self) -> Session:
        from enarx_deploy import package_tree
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
        backend = self._plugins.get("backend", spec.backend)
        return Session(package, self._manifest, backend, self._stdio(), release=self._release, source=spec.source)

    def _stdio(self) -> Stdio:
        """Nothing to read; what the workload writes goes to its logs."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        logs = {name: os.open(self._directory / file, flags, 0o600) for name, file in state.LOGS.items()}
        return Stdio(
            stdin=os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC),
            stdout=logs["stdout"],
            stderr=logs["stderr"],
            complaints=logs["host"],
        )

    def _note_end(self, outcome: Outcome) -> None:
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
        self.note(self._status.state, limits=[*self._status.limits, line])
        self._say(line)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _close_requests(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        (self._directory / requests.SOCKET).unlink(missing_ok=True)
        for thread in threading.enumerate():  # an answer that is being sent is sent to its end
            if thread.name.startswith("answer"):
                thread.join(timeout=1)

    def _answer(self, connection: socket.socket) -> None:
        threading.current_thread().name = "answer"
        with connection:
            try:
                connection.settimeout(10)
                request = requests.receive(connection)
                answer = self._do(request)
            except EnarxDeployError as error:
                refused = isinstance(error, VerificationRefused)
                answer = {"error": str(error), "hint": error.hint, "refused": refused}
            except (OSError, ValueError, KeyError, TypeError) as error:
                answer = {"error": f"the request cannot be understood ({error})"}
            try:
                connection.sendall(json.dumps(answer).encode())
            except OSError:
                self._say("a caller went away before its answer")

    def _do(self, request: requests.Request) -> requests.Request:
        match request["do"]:
            case "certify":
                return self._certify(request)
            case "install":
                return self._install(request)
            case "renew":
                self._renewal.installed(self._renew())
                return {}
            case "stop":
                self._stop(float(request["grace"]))
                self._ended.wait()
                return {}
            case "usage":
                session = self._the_session()
                measured: requests.Request = msgspec.to_builtins(usage.measure(session.counters(), session.keep_pid))
                return measured
            case "counters":
                return dict(self._the_session().counters())
            case other:
                raise ValueError(f"no request {other!r}")

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

    def _install(self, request: requests.Request) -> requests.Request:
        chain = [base64.b64decode(one) for one in request["chain"]]
        root = base64.b64decode(request["root"])
        not_after = str(request["not_after"])
        validity = Validity.read(str(request["not_before"]), not_after)
        with self._certifying:
            self._the_session().install(chain, root)
            self._root = root
            self.note(
                "running",
                certificate_not_before=str(request["not_before"]),
                certificate_not_after=not_after,
                endpoints=self._the_session().endpoints,
            )
            self._say_what_is_lacking()
        if self._issuer().renews:
            self._renewal.installed(validity)
        return {}

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
        self._the_session().stop(grace)

    def _the_session(self) -> Session:
        if self._session is None:
            raise ValueError("the Keep has not been started")
        return self._session
