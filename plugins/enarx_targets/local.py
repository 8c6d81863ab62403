"""The local target: each Keep is watched over by a background process of this machine."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.host import requests, sockets, state
from enarx_deploy.models import Deployment, KeepStatus, Package, ReferenceValues, Usage
from enarx_deploy.project import Project
from enarx_deploy.protocols import Backend, CertificateRequest, Challenge, Issued, IssuerLocation, Target

_KILL_AFTER = 5.0  # seconds that a host process has after the grace period, before it is killed
_USAGE = 3.0  # seconds that a host process has to say what its Keep uses
_FOLLOW_EVERY = 0.1  # seconds


class Local:
    """Background processes of this machine, their state in the user's state directory."""

    name = "local"
    keeps_fetch = True

    def check(self, project: Project, package: Package, backend: Backend) -> None:  # noqa: ARG002 - the protocol's
        """Every port that the manifest asks for must be free, and the places for state and caches usable."""
        from enarx_deploy import paths
        from enarx_deploy.manifest import Listen

        paths.state_dir("keeps")
        paths.cache_dir("modules")
        for entry in project.manifest.files:
            if isinstance(entry, Listen):
                sockets.check_free(entry)

    def start(self, project: Project, package: Package, values: ReferenceValues, backend: Backend) -> Deployment:
        """Start a host process, which starts the Keep."""
        from enarx_deploy import pruning

        with pruning.in_use():
            directory, spec = _lay_out(project, package, backend)
        try:
            _start_host(directory)
        except KeepError:
            status = state.read_status(directory)
            if status is None or status.state == "failed":
                shutil.rmtree(directory, ignore_errors=True)
            raise
        pruning.state()
        status = _status(spec.id)
        return Deployment(
            id=spec.id,
            name=spec.name,
            backend=spec.backend,
            target=self.name,
            package=values.package,
            endpoints=status.endpoints,
            created=spec.created,
        )

    def request_certificate(self, deployment: Deployment, challenge: Challenge) -> CertificateRequest | None:
        """Ask the Keep, unless it runs already and so serves no TLS."""
        if _status(deployment.id).state != "starting":
            return None
        nonce = base64.b64encode(challenge.nonce).decode()
        answer = requests.ask(
            state.keep_dir(deployment.id), {"do": "certify", "nonce": nonce, "audience": challenge.audience}
        )
        return CertificateRequest(
            csr=base64.b64decode(answer["csr"]),
            evidence_kind=answer["kind"],
            evidence=base64.b64decode(answer["evidence"]),
            endorsements={name: base64.b64decode(one) for name, one in answer.get("endorsements", {}).items()},
            signatures=tuple(base64.b64decode(one) for one in answer.get("signatures", [])),
        )

    def install_certificate(self, deployment: Deployment, location: IssuerLocation, issued: Issued) -> None:
        """Hand the certificate to the Keep through its host process; one that serves no TLS runs already."""
        if not issued.chain:
            return
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        leaf = x509.load_der_x509_certificate(issued.chain[0])
        root = x509.load_pem_x509_certificate(location.root_pem.encode())
        requests.ask(
            state.keep_dir(deployment.id),
            {
                "do": "install",
                "chain": [base64.b64encode(one).decode() for one in issued.chain],
                "root": base64.b64encode(root.public_bytes(Encoding.DER)).decode(),
                "not_before": leaf.not_valid_before_utc.isoformat().replace("+00:00", "Z"),
                "not_after": leaf.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
            },
        )

    def renew_certificate(self, keep: str) -> KeepStatus:
        """Ask the host process, which asks the issuer."""
        requests.ask(_directory(keep), {"do": "renew"})
        return _status(keep)

    def keeps(self) -> list[KeepStatus]:
        """Every Keep of this user on this machine."""
        return list(state.all_status())

    def usage(self, keep: str) -> Usage:
        """Ask the host process."""
        answer = requests.ask(_directory(keep), {"do": "usage"}, timeout=_USAGE)
        return msgspec.convert(answer, Usage)

    def logs(self, keep: str, *, follow: bool, stream: Literal["stdout", "stderr", "host", "all"]) -> Iterator[bytes]:
        """What the Keep wrote. Streams that are shown together are shown one after the other, then as they grow."""
        directory = _directory(keep)
        names = ["stdout", "stderr", "host"] if stream == "all" else [stream]
        with contextlib.ExitStack() as stack:
            logs = [directory / state.LOGS[name] for name in names]
            files = [stack.enter_context(log.open("rb")) for log in logs if log.exists()]
            while True:
                ended = not state.is_held(directory)
                for file in files:
                    while piece := file.read(65536):
                        yield piece
                if ended or not follow:
                    return
                time.sleep(_FOLLOW_EVERY)

    def stop(self, keep: str, *, grace: float) -> KeepStatus:
        """Ask the host process; kill it if it does not answer in time."""
        directory = _directory(keep)
        deadline = time.monotonic() + grace + _KILL_AFTER
        if state.is_held(directory):
            with contextlib.suppress(KeepError):
                requests.ask(directory, {"do": "stop", "grace": grace}, timeout=grace + _KILL_AFTER)
            _await_end(directory, deadline)
        return _status(keep)


def _lay_out(project: Project, package: Package, backend: Backend) -> tuple[Path, state.KeepSpec]:
    """A Keep's directory, with a package of its own: the project's may be cleaned away while the Keep runs."""
    from enarx_deploy import package_attachments, package_tree, paths

    source = project.settings.source
    packages = paths.state_dir("packages")
    for attachment in package_attachments.beside(package) if source is None else ():
        package_attachments.add(packages, package.digest, attachment)
    kept = package if source else package_tree.copy(Path(package.root), packages, package.digest)
    keep = secrets.token_hex(6)
    directory = paths.state_dir("keeps", keep)
    spec = state.KeepSpec(
        id=keep,
        name=project.name,
        target=Local.name,
        backend=backend.name,
        package=package.digest,
        package_root=kept.root,
        created=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        metrics=project.settings.metrics,
        source=source,
        manifest=project.manifest_text.decode() if source else "",
    )
    state.write_spec(directory, spec)
    return directory, spec


def _start_host(directory: Path) -> None:
    """Start the host process in a session of its own; returns when its Keep is up. Raises KeepError."""
    ready, told = os.pipe()
    log_fd = os.open(directory / state.LOGS["host"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(log_fd, "ab") as log, os.fdopen(ready, "rb") as answer:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "enarx_deploy.host", str(directory), str(told)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(told,),
                cwd=directory,
                start_new_session=True,
            )
        finally:
            os.close(told)
        said = answer.read()
    message = msgspec.json.decode(said) if said else {"error": "the Keep's host process died while it started"}
    if "error" in message:
        process.wait()
        last = (directory / state.LOGS["host"]).read_text(errors="replace").strip().rpartition("\n")[2]
        raise KeepError(message["error"], hint=message.get("hint") or f"its last words: {last}")
    process.returncode = 0  # it outlives this process, which must not be warned of that


def _directory(keep: str) -> Path:
    directory = state.keep_dir(keep)
    if not (directory / "spec.json").is_file():
        raise UsageError(f"no Keep {keep!r}", hint="`enarx-deploy keeps` lists them")
    return directory


def _status(keep: str) -> KeepStatus:
    status = state.read_status(_directory(keep))
    if status is None:
        raise KeepError(f"the state of Keep {keep} cannot be read", hint="remove its directory if it is not needed")
    return status


def _await_end(directory: Path, deadline: float) -> None:
    """Wait for the host process to let go; kill it when it has not by `deadline`, on the monotonic clock."""
    while state.is_held(directory):
        if time.monotonic() > deadline:
            status = state.read_status(directory)
            if status is not None and status.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(status.pid, signal.SIGKILL)
            deadline += _KILL_AFTER
        time.sleep(0.02)


@hookimpl
def register_targets() -> Iterable[Target]:
    """The local target."""
    return [Local()]
