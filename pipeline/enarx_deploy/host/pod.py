"""`python -m enarx_deploy.host.pod`: one Keep as the only process of a container, for an orchestrator that restarts it.

It has the package in its image and asks nobody outside of the cluster: the Keep gets its certificate from the Steward
that the manifest names, under the root that it was given, and renews it. What the workload writes is the container's
output; what this process has to say goes to standard error, after `enarx-deploy:`. How the Keep stands is in
`status.json`, for probes; why it could not start is also the container's termination message.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy import choice, package_tree, paths, records
from enarx_deploy.errors import EnarxDeployError, KeepError, StewardAway, UsageError
from enarx_deploy.host import certification, releasing
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.pod_log import CERTIFICATE, SAYS
from enarx_deploy.host.renewal import Renewal, Validity
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.manifest import parse
from enarx_deploy.models import KeepStatus
from enarx_deploy.plugin_manager import PluginManager
from enarx_deploy.project import Project

if TYPE_CHECKING:
    from enarx_deploy.host.certification import Certified
    from enarx_deploy.protocols import Issuer

PACKAGES = Path("/packages")
"""Where the image has its package: the tree in a directory that its digest names, and beside it what is said of it."""
WORK = Path("/run/enarx")
"""What the container can write to: state, compiled code, and `status.json`."""
STATUS = "status.json"
TERMINATION = Path("/dev/termination-log")

AWAY = 60.0
"""Seconds that the Steward may be away when a pod starts: where both start together, it may come second."""
ASK_EVERY = 1.0
"""Seconds between two attempts to ask it then."""
UNREADY = 5.0
"""Seconds that a Keep still accepts after it was asked to end: so long others may take to hear that it is leaving."""
GRACE = 20.0
"""Seconds that open connections have then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the Keep to its end; returns the exit status of the workload, or 1 where it could not start."""
    given = _parser().parse_args(arguments)
    for name, directory in (("STATE", "state"), ("CACHE", "cache")):
        os.environ.setdefault(f"ENARX_DEPLOY_{name}_DIR", str(WORK / directory))
    try:
        root = _root(given.steward_root, given.steward_root_digest) if given.steward_root else b""
        return _Keep(given.package, given.backend, root, given.metrics_port).run()
    except EnarxDeployError as error:
        _say(f"{error}{f' ({error.hint})' if error.hint else ''}")
        with contextlib.suppress(OSError):
            TERMINATION.write_text(f"{error}\n{error.hint}".strip())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m enarx_deploy.host.pod", description="Run the Keep of a container.")
    parser.add_argument("--package", required=True, metavar="DIGEST", help="which package of /packages it must be")
    parser.add_argument("--backend", required=True, metavar="NAME", help="the kind of Keep")
    parser.add_argument(
        "--steward-root", type=Path, metavar="FILE", help="the only root (PEM) that certificates may have"
    )
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="where metrics are served, if anywhere")
    parser.add_argument("--steward-root-digest", metavar="DIGEST", help="what that file must be (sha256:HEX)")
    return parser


class _Keep:
    def __init__(self, digest: str, backend: str, root: bytes, metrics_port: int | None) -> None:
        package = package_tree.read(PACKAGES / digest.removeprefix("sha256:"), digest)
        text = (Path(package.root) / package_tree.MANIFEST).read_bytes()
        self._plugins = PluginManager()
        self._project = Project(Path(package.root), parse(text, package_tree.MANIFEST).manifest, None, b"")
        self._root = root
        self._metrics_port = metrics_port
        self._session = Session(
            package,
            self._project.manifest,
            self._plugins.get("backend", backend),
            Stdio(stdin=_nothing(), stdout=1, stderr=2, complaints=2),
            release=lambda session, names: releasing.release(session, self._issuer(), self._project, names),
        )
        self._status = KeepStatus(
            id=os.uname().nodename,
            name=os.uname().nodename,
            state="starting",
            backend=backend,
            target="kubernetes",
            package=digest,
            endpoints=[],
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        self._noting = threading.Lock()
        self._leaving = threading.Event()
        self._said: set[str] = set()
        self._renewal = Renewal(self._renew, self._note_failed_renewal)

    def run(self) -> int:
        """Raises EnarxDeployError where the Keep does not start."""
        session = self._session
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=self._leave, name="leave", daemon=True).start())
        self._note(state="starting")
        self._serve_metrics()
        try:
            session.start()
            if session.needs_certificate:
                self._renewal.installed(self._certify_first())
                self._renewal.start()
        except BaseException:
            session.kill()
            raise
        for line in session.lacking:
            _say(f"this node lacks a part of the jail: {line}")
        if self._status.state == "starting":
            self._note(state="running", endpoints=session.endpoints)
        outcome = session.wait()
        self._renewal.end()
        return self._end(outcome)

    def _serve_metrics(self) -> None:
        """In a pod others reach them, where they were asked for: it has an address of its own."""
        if self._metrics_port is None:
            return
        from enarx_deploy.host import metrics, usage

        try:
            listener = socket.create_server(("", self._metrics_port), family=socket.AF_INET)
        except OSError as error:
            raise KeepError(
                f"metrics: cannot listen on port {self._metrics_port}: {error.strerror}",
                hint="does another process of the pod listen there?",
            ) from error
        session = self._session
        pages = metrics.pages_of(lambda: self._status, lambda: usage.measure(session.counters(), session.keep_pid))
        metrics.Endpoint(f"127.0.0.1:{self._metrics_port}", pages, listener, any_host=True)

    def _end(self, outcome: Outcome) -> int:
        leaving = outcome.kind == "killed"
        self._note(state="exited" if leaving or outcome.kind == "exit" else "failed", cause=outcome.kind)
        _say(f"the Keep has ended: {outcome.kind} {outcome.code} {outcome.message}".rstrip())
        return 0 if leaving else outcome.exit_status

    def _leave(self) -> None:
        """Be found by nobody any more, then let those who are there finish."""
        self._leaving.set()
        self._note(state="stopping")
        time.sleep(UNREADY)
        self._session.stop(GRACE)

    def _certify_first(self) -> Validity:
        """Wait a while for a Steward that is not there. Raises StewardError, VerificationRefused, KeepError."""
        until = time.monotonic() + AWAY
        while True:
            try:
                return self._certify()
            except StewardAway as error:
                if time.monotonic() > until or self._leaving.wait(ASK_EVERY):
                    raise
                self._say_once(f"{error}; trying for {AWAY:.0f} s")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            _say(line)

    def _certify(self) -> Validity:
        certified = certification.certify(self._session, self._issuer(), self._project, self._root)
        self._root = certified.root
        self._note(certificate_not_after=certified.not_after, renewal_failure="")
        _say(f"{CERTIFICATE}{json.dumps(_shown(certified))}")
        return Validity.read(certified.not_before, certified.not_after)

    def _renew(self) -> Validity:
        if not self._issuer().renews:
            raise UsageError(f"the issuer {self._issuer().name!r} does not renew", hint="restart the pod")
        return self._certify()

    def _note_failed_renewal(self, reason: str) -> None:
        self._note(renewal_failure=reason)
        _say(reason)

    def _issuer(self) -> Issuer:
        return choice.issuer(self._project, self._plugins)

    def _note(self, **changes: object) -> None:
        with self._noting:
            self._status = msgspec.structs.replace(self._status, **changes)
            paths.write_atomically(WORK / STATUS, msgspec.json.encode(self._status))


def _shown(certified: Certified) -> dict[str, object]:
    chain = [base64.b64encode(one).decode() for one in certified.chain]
    return {"chain": chain, "not_after": certified.not_after}


def _root(path: Path, digest: str | None) -> bytes:
    """The certificate (DER) in a file that has this digest, if one is given."""
    try:
        pem = path.read_bytes()
        if digest not in (None, records.digest_of(pem)):
            raise UsageError(
                f"{path} is not the root that this pod was made for, which is {digest}",
                hint="somebody changed the ConfigMap: deploy again",
            )
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no certificate (PEM): {error}", hint="it comes from the ConfigMap") from error


def _nothing() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _say(line: str) -> None:
    print(f"{SAYS}{line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
