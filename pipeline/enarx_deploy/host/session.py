"""One Keep, from start to end, as its host process holds it.

session = Session(package, manifest, backend, stdio)
session.start()                          # opens what the manifest lists, starts the Keep, sends it the package
if session.needs_certificate:
    request = session.certify(challenge)
    session.install(chain, root)
outcome = session.wait()
"""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.host import delivery, fetching, outcome, sockets
from enarx_deploy.host.conversation import Conversation
from enarx_deploy.host.outbound import Outbound
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.manifest import Connect, Listen, Stderr, Stdin, Stdout
from enarx_deploy.manifest.room import RING_BYTES, memory_bytes, room
from enarx_deploy.models import Endpoint
from enarx_deploy.protocols import (
    Attested,
    Attests,
    CertificateRequest,
    Challenge,
    KeepProcess,
    Launch,
    OwnMachine,
    ReleasedSecrets,
    SecretsRequest,
)
from enarx_deploy.records import digest_of
from enarx_deploy.sizes import slow_to_compile
from enarx_keep.channel import Message, encode
from enarx_keep.channel import field as field_of
from enarx_keep.errors import BadMessage
from enarx_sallyport import Host

if TYPE_CHECKING:
    from enarx_deploy.manifest import File, Manifest
    from enarx_deploy.models import Package, PackageSource
    from enarx_deploy.protocols import Backend

DELIVERY_LIMIT = 30.0
"""Seconds that what a Keep wrote before its end has to reach those it was written to."""

ANSWER_LIMIT = 30.0
"""Seconds that a Keep whose workload runs has to answer."""
COMING_UP_LIMIT = 1500.0
"""Seconds that a Keep may be silent before its workload runs: it may boot in an emulator, and compile a large module.
Less than `background.START_LIMIT`, so that who started it is told why it did not come up."""
KILLED_DELIVERY_LIMIT = 1.0
"""The same where the Keep was ended by us: who does not read must not hold up its end."""
_QUIET = 3.0  # seconds of silence after which whoever waits is told what for

DEFAULT_GRACE = 5.0
"""Seconds that open connections have when the host process is asked to end by a signal."""

ENDORSEMENTS_LIMIT = 8
"""Most endorsements that a Keep may send; the control protocol bounds their size."""

_ENDORSEMENT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LOOK_EVERY = 2.0
_NO_ENTRY = (1 << 31) - 1  # no manifest has so many
_NO_KEEP_OF_OURS = "no Keep of this version does that: does it boot an image of another version, or a changed one?"

_LIMITS = {
    "memory": "it stood at this limit, or near, when it ended",
    "filesystem": "its file system is full",
    "descriptors": "it has that many open",
    "connections": "all were in use; more wait until one ends",
}
"""What is said of a limit of `[resources]` that the workload met."""


class Stdio(NamedTuple):
    """Descriptors that `stdin`, `stdout` and `stderr` of a manifest stand for, and where the Keep itself complains."""

    stdin: int
    stdout: int
    stderr: int
    complaints: int


class Grants(NamedTuple):
    """What `run` adds to the manifest. A Keep that is attested refuses any of it."""

    args: Sequence[str] | None = None
    env: Mapping[str, str] = MappingProxyType({})
    mounts: Sequence[tuple[Path, str]] = ()


Release = Callable[["Session", Sequence[str]], ReleasedSecrets]
"""Has the secrets of these names released to a Keep. Raises EnarxDeployError."""


REQUESTS_LIMIT = 2 * fetching.DIALS_LIMIT
"""Most that a Keep may ask for before its workload runs."""


class Session:
    """See the module. `wait`, `stop` and `counters` may be called from any thread, the rest from one at a time."""

    def __init__(
        self,
        package: Package,
        manifest: Manifest,
        backend: Backend,
        stdio: Stdio,
        *,
        grants: Grants | None = None,
        delivery_limit: float = DELIVERY_LIMIT,
        listen: Callable[[Listen], socket.socket] | None = None,
        release: Release | None = None,
        source: PackageSource | None = None,
        where_it_wrote: str = "",
    ) -> None:
        """`where_it_wrote` is said where the Keep fails, to users who do not have before them what it wrote."""
        self._package = package
        self._manifest = manifest
        self._backend = backend
        self._stdio = stdio
        self._grants = grants or Grants()
        self._delivery_limit = delivery_limit
        self._listen_on = listen or sockets.listen
        self._accepts_at_once = listen is None
        self._accepts = False
        self._listeners: list[tuple[int, Listen, socket.socket]] = []
        self._peers: list[tuple[int, Connect]] = []
        self._release = release or _release_nothing
        self._source = source
        self._where_it_wrote = where_it_wrote
        self._host = Host(ring_bytes=RING_BYTES, **(room(manifest) if source is None else fetching.UNSEEN))
        self._outbound = Outbound(manifest, self._host)
        self._keep = Conversation(self._host.control_fd, where_it_wrote)
        self._ended = threading.Event()
        self._process: KeepProcess | None = None
        self._fault = ""
        self._stopping = False
        self._running = False
        self._certified_by = ""
        self._outcome = Outcome("died")
        self.endpoints: list[Endpoint] = []
        self.needs_certificate = False
        self.phases: dict[str, float] = {}
        self.limits: list[str] = []
        """Limits of `[resources]` that the workload met, in lines."""
        self.on_limit: Callable[[str], None] = _ignore
        """Called with each of these lines, from a thread of the session."""
        self.on_wait: Callable[[str], None] = _ignore
        """Called with a line where the Keep is long at coming up and it is known with what."""
        self._limits_met: set[str] = set()
        self.lacking: list[str] = []
        """What the machine lacks for the Keep's jail, in lines."""

    def start(self) -> None:
        """Start the Keep. Returns when its workload runs, or waits for a certificate. Raises KeepError."""
        if self._source is None:
            self._open_files()
        self._host.start()
        launch = Launch(
            block_fd=self._host.block_fd,
            doorbell_fd=self._host.doorbell_fd,
            stderr_fd=self._stdio.complaints,
            package_digest=self._package.digest,
            module_sha256=self._module_sha256(),
            code_signers=self._code_signers(),
            memory_bytes=memory_bytes(self._manifest) if self._source is None else 0,
            module_path=str(Path(self._package.root, "main.wasm")) if self._source is None else "",
            has_deadline=self._manifest.resources.has_deadline,
        )
        self.phases["launch"] = time.monotonic()
        self._process = self._backend.start(launch)
        threading.Thread(target=self._watch, args=(self._process,), name="keep-watch", daemon=True).start()
        self._send_boot()
        self.needs_certificate = self._await("ready", "running")["type"] == "ready"

    def certify(self, challenge: Challenge) -> CertificateRequest:
        """The Keep's answer to a challenge. Raises KeepError."""
        from enarx_deploy.package_signing import signatures_of

        answer = self._ask(_challenge(challenge), "request")
        try:
            shown = self._shown(answer)
            return CertificateRequest(
                csr=base64.b64decode(answer["csr"]),
                evidence_kind=str(answer["kind"]),
                evidence=shown.evidence,
                endorsements=shown.endorsements,
                package=self._package.digest,
                signatures=signatures_of(self._package) if self._source is None else tuple(self._source.signatures),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise KeepError("the Keep sent a certificate request that cannot be read", hint=_NO_KEEP_OF_OURS) from error

    def install(self, chain: Sequence[bytes], root: bytes) -> None:
        """Hand the Keep its certificate (DER, leaf first) and the root it leads to.

        The first one lets the workload run, and a Keep that refuses it has ended. A later one counts from the next
        handshake on; a Keep that refuses it goes on with what it has. Raises KeepError.
        """
        self._certified_by = digest_of(chain[1]) if len(chain) > 1 else ""
        encoded = [base64.b64encode(one).decode() for one in chain]
        message = {"type": "certificate", "chain": encoded, "root": base64.b64encode(root).decode()}
        if self._running:
            self._ask(message, "installed")
            return
        if not self._manifest.secrets:
            self._connect_peers_or_end()
        self._keep.send(encode(message))
        self._come_up()

    def _come_up(self) -> None:
        """Serve what the Keep asks for before its workload runs. Raises EnarxDeployError."""
        served: dict[str, Callable[[Message], Message]] = {"needs": self._release_secrets}
        if self._source is not None:
            served |= {"dial": fetching.Registry(self._source, self._host).dial, "opens": self._open_what_it_lists}
        for _ in range(REQUESTS_LIMIT):
            message = self._await("running", *served)
            if message["type"] not in served:
                return
            self._serve(served[message["type"]], message)
        self.kill()
        raise KeepError(f"the Keep asked for more than {REQUESTS_LIMIT} things before it ran", hint=_NO_KEEP_OF_OURS)

    def _serve(self, serve: Callable[[Message], Message], message: Message) -> None:
        """Answer the Keep. Where that fails it is told why and ends by itself; then the failure is raised."""
        try:
            answer = serve(message)
        except EnarxDeployError as error:
            self._refuse(error)
            raise
        except (BadMessage, TypeError, ValueError, RuntimeError) as error:  # what the Keep sends is a stranger's
            refusal = KeepError(f"the Keep asked for what it cannot have: {error}")
            self._refuse(refusal)
            raise refusal from error
        self._keep.send(encode(answer))

    def _refuse(self, why: EnarxDeployError) -> None:
        self._keep.send(encode({"type": "refused", "message": str(why)}))
        self._ended.wait(ANSWER_LIMIT)
        self.kill()

    def _release_secrets(self, needed: Message) -> Message:
        released = self._release(self, [str(name) for name in field_of(needed, "secrets", list)])
        self._connect_peers()
        sealed = {name: base64.b64encode(one).decode() for name, one in released.sealed.items()}
        return {"type": "release", "sealed": sealed, "signature": base64.b64encode(released.signature).decode()}

    def _open_what_it_lists(self, message: Message) -> Message:
        self._manifest = fetching.listed(message)
        self._outbound = Outbound(self._manifest, self._host)
        self._open_files()
        self._connect_peers()
        return {"type": "opened"}

    def claim(self, names: Sequence[str], challenge: Challenge) -> SecretsRequest:
        """The Keep's answer to a challenge for secrets that it needs. Raises KeepError."""
        answer = self._ask(_challenge(challenge), "claim")
        try:
            shown = self._shown(answer)
            return SecretsRequest(
                names=tuple(names),
                key=base64.b64decode(answer["key"]),
                evidence_kind=str(answer["kind"]),
                evidence=shown.evidence,
                endorsements=shown.endorsements,
                package=self._package.digest,
                certified_by=self._certified_by,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise KeepError("the Keep sent a claim for secrets that cannot be read", hint=_NO_KEEP_OF_OURS) from error

    def _shown(self, answer: Message) -> Attested:
        """The evidence of an answer, as the Keep sent it or as the guest gives it for what the Keep sent."""
        sent = base64.b64decode(answer["evidence"])
        if isinstance(self._backend, Attests):
            return self._backend.attest(sent)
        return Attested(sent, _endorsements(answer))

    def accept(self) -> None:
        """Begin to accept connections. A session that opened its listening sockets itself has done so; where they were
        given to it, whoever holds them says when: until then others accept on them."""
        if not self._accepts:
            self._accepts = True
            for index, _, listener in self._listeners:
                self._host.attach_listener(index, listener.fileno())

    def accept_on(self, entry: Listen, listener: socket.socket) -> None:
        """Accept connections for an entry on one more socket, which stays the caller's."""
        (index,) = (index for index, one, _ in self._listeners if one == entry)
        self._host.attach_listener(index, listener.fileno())

    @property
    def listeners(self) -> list[tuple[Listen, socket.socket]]:
        """The sockets that it was given, with their entries."""
        return [(entry, listener) for _, entry, listener in self._listeners]

    @property
    def ended(self) -> bool:
        """Whether the Keep has ended, and what it said last was delivered."""
        return self._ended.is_set()

    def wait(self) -> Outcome:
        """How the Keep ended; waits for it, and looks now and then whether connections have to wait."""
        while not self._ended.wait(_LOOK_EVERY):
            if self.counters()["full"]:
                self._limit_met("connections")
        return self._outcome

    def stop(self, grace: float) -> None:
        """Accept nothing more, give open connections `grace` seconds, then end the Keep."""
        self._stopping = True
        self._stop_accepting()
        self._close_listeners()
        until = time.monotonic() + grace
        while time.monotonic() < until and self.counters()["open"] and self._is_alive():
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """End the Keep at once."""
        self._stopping = True
        self._close_listeners()
        if self._process is not None:
            self._process.kill()
            self._ended.wait(2 * KILLED_DELIVERY_LIMIT)  # more only if its last words were being delivered already

    def _stop_accepting(self) -> None:
        """Accept nothing more. When this returns, all that was accepted is counted as open."""
        self._host.stop_accepting()
        if self._is_alive() and not self._host.broken:
            # The host half takes orders between two turns: once it has refused this one, it has taken that one, too.
            with contextlib.suppress(RuntimeError):
                self._host.attach_sink(_NO_ENTRY, self._stdio.complaints)

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop()[2].close()

    def counters(self) -> dict[str, int]:
        """Connections and bytes so far."""
        return self._host.counters()

    @property
    def is_full(self) -> bool:
        """Whether all connections that it may have are in use."""
        most = self._manifest.resources.connections if self._source is None else fetching.UNSEEN["connections"]
        return self.counters()["open"] >= most

    def check_answers(self, limit: float) -> None:
        """Have the running Keep answer in `limit` seconds, if it is one that takes looks. Raises KeepError."""
        self._keep.look(limit)

    @property
    def may_have_clients(self) -> bool:
        """Whether the workload runs; it may have clients before the Keep's word of that was read."""
        return self._running or self.counters()["open"] > 0

    @property
    def keep_pid(self) -> int:
        """The Keep's process; 0 while there is none."""
        return self._process.pid if self._process else 0

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _open_files(self) -> None:
        for index, entry in enumerate(self._manifest.files):
            self._open_file(index, entry)

    def _open_file(self, index: int, entry: File) -> None:
        match entry:
            case Stdin():
                self._host.attach_source(index, self._stdio.stdin)
            case Stdout():
                self._host.attach_sink(index, self._stdio.stdout)
            case Stderr():
                self._host.attach_sink(index, self._stdio.stderr)
            case Connect(prot="tls"):
                self._peers.append((index, entry))
            case Connect():
                self._connect(index, entry)
            case Listen():
                listener = self._listen_on(entry)
                address, port = listener.getsockname()[:2]
                if self._accepts_at_once:
                    with listener:
                        self._host.attach_listener(index, listener.fileno())
                else:
                    self._listeners.append((index, entry, listener))
                self.endpoints.append(Endpoint(name=entry.name, host=_reachable(address), port=port, prot=entry.prot))

    def _connect(self, index: int, entry: Connect) -> None:
        with sockets.connect(entry) as connection:
            self._host.attach_socket(index, connection.fileno())

    def _connect_peers(self) -> None:
        """Connect to those whom the Keep speaks TLS with, which it is about to begin. Raises KeepError.

        No sooner: they do not wait for a handshake while the Keep starts, compiles its module and is certified.
        """
        while self._peers:
            self._connect(*self._peers.pop(0))

    def _connect_peers_or_end(self) -> None:
        try:
            self._connect_peers()
        except KeepError:
            self.kill()
            raise

    def _terminals(self) -> list[str]:
        """The standard streams whose other end is a terminal, by the kinds that a manifest has for them."""
        return [kind for kind in ("stdin", "stdout", "stderr") if os.isatty(getattr(self._stdio, kind))]

    def _send_boot(self) -> None:
        grants = self._grants
        boot = {
            "type": "boot",
            "package": self._package.digest,
            "evidence": self._backend.evidence,
            "args": None if grants.args is None else list(grants.args),
            "env": dict(grants.env),
            "mounts": len(grants.mounts),
            "terminals": self._terminals(),
            "signatures": [base64.b64encode(one).decode() for one in self._signatures()],
        }
        if isinstance(self._process, OwnMachine):
            boot |= {"image": self._process.image, "code": len(self._process.compiled)}
        if self._source is not None:
            place = {name: getattr(self._source, name) for name in ("host", "port", "path", "roots")}
            self._keep.send(encode({**boot, "source": {**place, "entry": fetching.REGISTRY_ENTRY}}))
            return
        self._keep.send(encode(boot))
        if isinstance(self._process, OwnMachine):
            self._keep.send(self._process.compiled)
        for piece in delivery.messages(self._package):
            self._keep.send(piece)
        for host_path, guest_path in grants.mounts:
            for piece in delivery.mount(host_path, guest_path):
                self._keep.send(piece)

    def _code_signers(self) -> tuple[str, ...]:
        """The keys that this user trusts with native code, if the package has any."""
        if not self._has_compiled_code():
            return ()
        from enarx_deploy import trusted_signers

        now = datetime.now(UTC)
        return tuple(one.key.pem for one in trusted_signers.load() if one.native_code and not one.objection(now))

    def _signatures(self) -> tuple[bytes, ...]:
        """What the Keep looks at before it runs compiled code."""
        if not self._has_compiled_code():
            return ()
        from enarx_deploy.package_signing import signatures_of

        return signatures_of(self._package)

    def _has_compiled_code(self) -> bool:
        return any(file.path.startswith("compiled/") for file in self._package.files)

    def _module_sha256(self) -> str:
        if self._source is not None:
            return ""
        (digest,) = (file.sha256 for file in self._package.files if file.path == "main.wasm")
        return digest.removeprefix("sha256:")

    def _ask(self, message: Message, kind: str) -> Message:
        """Send a message, and take the answer of that kind. Raises KeepError."""
        if not self._running:
            self._keep.send(encode(message))
            return self._await(kind)
        answer = self._keep.ask(message, ANSWER_LIMIT)
        if answer["type"] != kind:
            raise KeepError(f"the Keep refuses: {answer.get('message')}")
        return answer

    def _watch(self, process: KeepProcess) -> None:
        """Wait for the Keep's end, let the host half deliver what it wrote, and note how it ended."""
        listening = threading.Thread(target=self._listen, name="keep-control", daemon=True)
        listening.start()
        status = process.wait()
        broken = self._host.finish(KILLED_DELIVERY_LIMIT if self._stopping else self._delivery_limit)
        listening.join()  # the control stream ends with the host half
        if self._stopping:
            self._outcome = outcome.STOPPED
        elif self._outcome.kind == "died":
            self._outcome = self._death(status, broken or self._fault)
        self._ended.set()
        self._keep.end()

    def _death(self, status: int, fault: str) -> Outcome:
        """What ended a Keep that did not say so itself."""
        found = outcome.seen(status, self._host.violation)
        if found.kind == "jail":
            return found
        if fault:
            return Outcome("died", message=fault)
        if isinstance(self._process, OwnMachine):
            return Outcome("died", message=self._process.explanation())
        return found

    def _listen(self) -> None:
        """Take the Keep's messages, up to the end of the control stream. What is not of the protocol ends the Keep."""
        self._fault = self._keep.listen(self._take)
        if self._process is not None and (self._fault or self._host.broken):
            self._process.kill()

    def _take(self, message: Message) -> None:
        if message["type"] == "exit":
            self._outcome = outcome.told(message)
            return
        if message["type"] == "limit":
            self._limit_met(str(message.get("resource")))
            return
        if message["type"] == "connect":
            self._outbound.take(message)
            return
        if message["type"] == "running":
            self.phases |= self._on_our_clock(message)
            self.lacking = [str(line) for line in field_of(message, "lacking", list)]
            self._keep.takes_looks = "look" in (field_of(message, "takes", list) if "takes" in message else ())
            self._running = True
        self._keep.note(message)

    def _on_our_clock(self, message: Message) -> dict[str, float]:
        """When the Keep's steps were done. A machine of its own has a clock of its own, of which it sends the time."""
        phases = {str(name): float(at) for name, at in field_of(message, "phases", dict).items()}
        if not isinstance(self._process, OwnMachine):
            return phases
        ahead = time.monotonic() - float(message.get("now", 0))
        return {name: at + ahead for name, at in phases.items()}

    def _limit_met(self, resource: str) -> None:
        """Say once that the workload met this limit."""
        if resource not in _LIMITS or resource in self._limits_met:
            return
        self._limits_met.add(resource)
        line = f"[resources] {resource} = {getattr(self._manifest.resources, resource)}: {_LIMITS[resource]}"
        self.limits.append(line)
        self.on_limit(line)

    def _next(self) -> Message:
        """The next message. Where none comes for a while, and a large module is being compiled, that is told.

        Raises queue.Empty where none comes in COMING_UP_LIMIT seconds.
        """
        slow = slow_to_compile(self._package)
        if slow and not self.needs_certificate:
            with contextlib.suppress(queue.Empty):
                return self._keep.next(_QUIET)
            self.on_wait(f"the Keep compiles {slow} of wasm to native code, which is kept for its next start")
        return self._keep.next(COMING_UP_LIMIT)

    def _await(self, *kinds: str) -> Message:
        """The next message, which must be of one of these kinds. The end of a Keep that ran is for `wait`.

        Raises KeepError, also where none comes in COMING_UP_LIMIT seconds; the Keep is ended then.
        """
        try:
            message = self._next()
        except queue.Empty:
            self.kill()
            raise KeepError(
                f"the Keep did not start: it said nothing for {COMING_UP_LIMIT:.0f} seconds", hint=self._where_it_wrote
            ) from None
        if message["type"] in kinds:
            return message
        ran = message["type"] == "end" and self._outcome.kind in ("exit", "trap", "limit")
        if ran and "running" in kinds:
            return message
        self.kill()
        self._ended.wait()
        what = self._outcome.explanation if message["type"] == "end" else f"it sent {message['type']!r}"
        hints = [self._where_it_wrote] if self._where_it_wrote else []
        if self._source is not None:
            hints.append("where the Keep cannot have the package, --fetch-here has this machine fetch it")
        raise KeepError(f"the Keep did not start: {what}", hint="; ".join(hints))


def _challenge(challenge: Challenge) -> Message:
    nonce = base64.b64encode(challenge.nonce).decode()
    return {"type": "challenge", "nonce": nonce, "audience": challenge.audience}


def _endorsements(request: Message) -> dict[str, bytes]:
    """What came with the evidence, if it can be a directory of endorsements. Raises KeepError."""
    found: object = request.get("endorsements", {})
    if not isinstance(found, dict) or len(found) > ENDORSEMENTS_LIMIT or not all(map(_ENDORSEMENT.fullmatch, found)):
        raise KeepError("the Keep sent endorsements that cannot be files of one directory", hint=_NO_KEEP_OF_OURS)
    return {name: base64.b64decode(content) for name, content in found.items()}


def _release_nothing(_: Session, names: Sequence[str]) -> ReleasedSecrets:
    raise KeepError(
        f"nobody is there to release the secrets {', '.join(names)}",
        hint="a Steward releases them: name one in the manifest, [attest] steward",
    )


def _ignore(_: str) -> None:
    """For those who look afterwards."""


def _reachable(address: Any) -> str:
    """A name by which clients on this machine reach what listens on `address`."""
    return "localhost" if address in ("::", "0.0.0.0", "127.0.0.1") else str(address)  # noqa: S104  # compared with, not bound
