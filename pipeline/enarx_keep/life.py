"""The life of a Keep, step by step.

1. The first step of the jail, before anything that comes from outside is read, where evidence needs no device.
2. The host names a kind of evidence, which must be the one that is found, and a package, which it sends; the package
   is checked against its digest. Where it names a registry instead, step 4 comes first, without the secrets; then the
   package is fetched from there, by mutual TLS with the certificate, and checked in the same way.
3. The module is compiled, or taken from the cache.
4. If the workload speaks TLS or has secrets: answer the challenge with a key's evidence, check the certificate and
   install it. Then the same for the secrets, with a key of their own.
5. Open what the manifest lists, which a host that has not seen it is told before.
6. The second step of the jail; then link the module, and tell the host that the workload runs.
7. Run it, renew the certificate whenever the host brings a challenge, deliver its last words, and tell the host how
   it ended.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol, TypedDict

import wasmtime

from enarx_keep import manifest, module, package
from enarx_keep.attester.choice import Chosen, Place, choose
from enarx_keep.attester.machine import Machine
from enarx_keep.channel import Message, Reader, encode, field
from enarx_keep.errors import BadManifest, BadMessage, BadPackage, KeepFault, LimitMet
from enarx_keep.fetching import Fetcher, Source
from enarx_keep.identity import Identity
from enarx_keep.running import TAKES, Running
from enarx_keep.secrets import Claim
from enarx_sallyport import Guest, check_wasmtime, limit_time, link

_UNPROTECTED = ("nil",)
"""Kinds of evidence with which the host may add to the manifest, for trying a program; elsewhere that is an attack."""
_CODE_LIMIT = 1 << 28
"""Most bytes of native code that a host hands over."""

_Exports = Mapping[str, Any]
"""What a module exports, by name."""


class Code(Protocol):
    """Native code of the module that this Keep trusts; where anything is measured, how it is chosen is too."""

    def found(self, files: package.Files, package: str, signatures: Sequence[Any]) -> bytes:
        """The code for a package whose digest was checked; empty where none is to be run."""


def live(
    guest: Guest,
    kept: module.Kept | None,
    began: float,
    place: Place,
    code: Code | None = None,
    *,
    handed: str = "",
) -> None:
    """Be a Keep on this half, until the workload has ended and the host has been told.

    `kept` is the place of compiled code. `began` is when the program began, on the monotonic clock in seconds. `place`
    is what this Keep was built to be, which is measured where anything is; the host does not choose it. `handed` is the
    digest (hex) of native code that the host may hand over, which was measured with the Keep; "" where it may hand over
    none.
    """
    keep = _Keep(guest, kept, began, code, handed)
    try:
        outcome = keep.run(place)
    except LimitMet as limit:
        outcome = {"type": "exit", "kind": "limit", "message": str(limit)}
    except (KeepFault, wasmtime.WasmtimeError, RuntimeError) as fault:
        outcome = {"type": "exit", "kind": "error", "message": str(fault).strip()}
    except EOFError:
        return  # the host has gone, so there is nobody to tell
    except Exception as fault:  # noqa: BLE001 - a traceback would open the sources, which the jail forbids
        told = _kind_and_line(fault) if keep.hides_its_manifest else f"{fault}, {_kind_and_line(fault)}"
        outcome = {"type": "exit", "kind": "error", "message": f"a fault of the Keep's own program: {told}"}
    guest.control_write(encode(outcome))
    guest.finish(orderly=outcome["kind"] == "exit")


class _HowTls(TypedDict):
    system_roots: bool
    roots: list[bytes]
    peers: list[str]
    alpn: list[bytes]
    timeout: float


class _Keep:
    def __init__(self, guest: Guest, kept: module.Kept | None, began: float, code: Code | None, handed: str) -> None:
        self._guest = guest
        self._handed = handed
        self._code = code
        self._kept = kept
        self._reader = Reader(guest.control_read)
        self._boot: Message = {}
        self._attester: Chosen
        self._source: Source | None = None
        self._identity: Identity | None = None
        self._phases = {"interpreter": began, "imports": time.monotonic()}

    def run(self, place: Place) -> Message:
        lacking = self._confine() if place.can_be_jailed else []
        self._phase("jail")
        self._boot = self._expect("boot")
        self._attester = choose(field(self._boot, "evidence", str), place, Machine(image=self._image()))
        handed = self._take_code()
        digest = field(self._boot, "package", str)
        if place.package and digest != place.package:
            raise BadPackage(f"its host names the package {digest}, and this Keep was measured for {place.package}")
        files = self._obtain_package(digest)
        with self._keeping_the_manifest():
            own = manifest.read(_file(files, "Enarx.toml"))
        self._phase("package")
        packaged = handed
        if self._code is not None:
            packaged = self._code.found(files, digest, self._boot.get("signatures") or [])
        wasm, wasm_digest = _file(files, "main.wasm"), files.sha256["main.wasm"]
        engine, code = module.load(
            wasm, wasm_digest, self._kept, deadline=own.has_deadline, packaged=packaged, enclave=not place.has_signals
        )
        if self._kept is not None:
            os.close(self._kept.descriptor)
        self._phase("module")
        if own.needs_certificate:
            self._obtain_certificate(digest, own.names)
        if own.secrets:
            self._obtain_secrets(digest, own)
            self._phase("secrets")
        if self._source is not None:
            self._have_opened(_file(files, "Enarx.toml"))
        with self._keeping_the_manifest():
            self._open(own, files)
        # From here on, the control stream is not read any more.
        self._guest.serve_control(Running(self._identity).answer)
        if own.has_deadline:
            limit_time(self._guest, engine, time=own.time, cpu_time=own.cpu_time)
        if place.can_be_jailed:
            lacking += self._guest.lock()
        store, exports = self._link(engine, code, own)
        entry = _entry(exports)
        told = {"phases": self._phases, "now": time.monotonic(), "lacking": lacking, "takes": list(TAKES)}
        self._tell({"type": "running", **told})
        return self._call(store, entry, exports, own)

    def _take_code(self) -> bytes:
        """Native code of the module, from the host. It runs with all that a Keep has, so that it is taken only if it is
        what was measured with the Keep, whatever kind of Keep this is."""
        if not self._boot.get("code", 0):
            return b""
        size = field(self._boot, "code", int)
        if not self._handed:
            raise BadMessage("the host may not hand over compiled code that was not measured with the Keep")
        if size > _CODE_LIMIT:
            raise BadMessage(f"{size:,} bytes of compiled code are too many")
        code = self._reader.payload(size)
        if hashlib.sha256(code).hexdigest() != self._handed:
            raise BadMessage("the host handed over other compiled code than was measured with the Keep")
        return code

    def _image(self) -> str:
        """What the host says that it booted: for evidence that no hardware vouches for."""
        return field(self._boot, "image", str) if "image" in self._boot else ""

    @property
    def hides_its_manifest(self) -> bool:
        """Whether the host has not seen the manifest, so that no fault may tell it a value of it."""
        return self._source is not None

    @contextlib.contextmanager
    def _keeping_the_manifest(self) -> Iterator[None]:
        """What reads or follows the manifest: its faults quote it, which a host that has not seen it is not told."""
        try:
            yield
        except (EOFError, BadMessage):
            raise  # the host's own
        except Exception as fault:
            if not self.hides_its_manifest:
                raise
            raise BadManifest(f"Enarx.toml asks for what this Keep cannot give: {_kind_and_line(fault)}") from fault

    def _confine(self) -> list[str]:
        """Step into the jail; answers what this machine lacks for it. What asks the kernel for more comes before."""
        check_wasmtime()
        module.engine()  # which sets handlers of signals
        module.warm_up(self._kept)
        return self._guest.confine(self._kept.descriptor if self._kept else None)

    def _phase(self, name: str) -> None:
        """When a step was done, on the clock that the host has too, so that it can split a start by phase."""
        self._phases[name] = time.monotonic()

    def _expect(self, kind: str) -> Message:
        message = self._reader.message()
        if message["type"] != kind:
            raise BadMessage(f"expected a message {kind!r}, not {message['type']!r}")
        return message

    def _tell(self, message: Message) -> None:
        self._guest.control_write(encode(message))

    def _obtain_package(self, digest: str) -> package.Files:
        if "source" not in self._boot:
            return package.receive(self._reader, digest)
        self._source = Source.read(self._boot)
        self._obtain_certificate(digest)
        fetcher = Fetcher(self._guest, self._source, self._have_dialled)
        files = package.read(fetcher.node, digest)
        fetcher.end()
        return files

    def _have_dialled(self) -> Message:
        self._tell({"type": "dial"})
        return self._reader.message()

    def _have_opened(self, text: bytes) -> None:
        """Tell a host that has not seen the manifest what to open; it can refuse, which is the end."""
        self._tell({"type": "opens", **manifest.openings(text)})
        answer = self._reader.message()
        if answer["type"] == "refused":
            raise KeepFault(f"its host does not open what the manifest lists: {answer.get('message')}")
        if answer["type"] != "opened":
            raise BadMessage(f"expected a message 'opened', not {answer['type']!r}")

    def _obtain_certificate(self, digest: str, names: tuple[str, ...] = ()) -> None:
        """Once: what is there already is used."""
        if self._identity is not None:
            return
        identity = Identity(self._guest.credentials, digest, self._attester, names)
        self._tell({"type": "ready"})
        self._tell(identity.request(self._expect("challenge")))
        identity.install(self._expect("certificate"))
        self._identity = identity
        self._phase("identity")

    def _obtain_secrets(self, digest: str, own: manifest.Manifest) -> None:
        names = [secret.name for secret in own.secrets]
        claim = Claim(self._guest, digest, self._attester, names)
        self._tell({"type": "needs", "secrets": names})
        self._tell(claim.request(self._reader.message()))
        claim.take(self._reader.message())

    def _open(self, own: manifest.Manifest, files: package.Files) -> None:
        self._guest.limit_descriptors(own.descriptors)
        terminals = self._terminals()
        for entry in own.files:
            if entry.kind in manifest.STDIO:
                self._guest.add_stdio(terminal=entry.kind in terminals)
            else:
                self._add(entry, files)
        if self._source is not None:
            self._guest.reserve_files(self._source.entry + 1)
        self._guest.limit_filesystem(own.filesystem_bytes)
        preopens = [self._mount_asset(asset, files) for asset in own.assets]
        preopens += [self._put_secret(secret) for secret in own.secrets if secret.file]
        preopens += [self._mount_copy() for _ in range(self._granted("mounts", int) or 0)]
        for path in dict.fromkeys(preopens):
            self._guest.add_preopen(path.encode())
        if own.network:
            self._open_network(own.network, files)
        args = self._granted("args", list)
        argv = own.argv() if args is None else [manifest.ARGV0, *map(str, args)]
        environ = own.environ() + [f"{name}={value}" for name, value in (self._granted("env", dict) or {}).items()]
        self._guest.set_program([word.encode() for word in argv], [word.encode() for word in environ])
        for secret in own.secrets:
            if secret.env:
                self._guest.export_secret(secret.name, secret.env)
        self._guest.forget_secrets()

    def _granted(self, name: str, kind: type[Any]) -> Any:
        """What the host adds to the manifest, where a backend lets it. Refused elsewhere: it is not measured."""
        if not self._boot.get(name):
            return None
        if self._attester.kind not in _UNPROTECTED:
            raise BadMessage(f"the host may not set {name} in a Keep that is attested")
        return field(self._boot, name, kind)

    def _terminals(self) -> frozenset[str]:
        """Standard streams that the host says to be terminals. Every Keep hears it: the host reads and writes these
        streams anyway, and a wrong word makes a workload colour its lines, or ask nobody."""
        told = field(self._boot, "terminals", list) if "terminals" in self._boot else []
        if any(kind not in manifest.STDIO for kind in told):
            raise BadMessage("message 'boot': terminals lists what is no standard stream")
        return frozenset(told)

    def _add(self, entry: manifest.File, files: package.Files) -> None:
        guest = self._guest
        if entry.kind == "null":
            guest.add_null()
        elif entry.kind == "listen":
            self._listen(entry, files)
        else:
            self._connect(entry, files)

    def _listen(self, entry: manifest.File, files: package.Files) -> None:
        if entry.tls is None:
            self._guest.add_listener()
            return
        how = self._how(entry.tls, entry.roots, files)
        self._guest.add_tls_listener(client_auth=entry.tls.client_auth, **how)

    def _connect(self, entry: manifest.File, files: package.Files) -> None:
        if entry.tls is None:
            self._guest.add_connection()
            return
        how = self._how(entry.tls, entry.roots, files)
        self._guest.add_tls_connection(entry.tls.server_name or entry.host, **how)

    def _open_network(self, network: manifest.Network, files: package.Files) -> None:
        self._guest.open_network(network.connections)
        for one in network.destinations:
            if one.tls is None:
                self._guest.grant_connection(one.name)
            else:
                how = self._how(one.tls, one.roots, files)
                self._guest.grant_tls_connection(one.name, one.tls.server_name or one.host, **how)

    def _how(self, tls: manifest.Tls, roots: tuple[str, ...], files: package.Files) -> _HowTls:
        return {
            "system_roots": "system" in roots,
            "roots": self._roots(roots, files),
            "peers": list(tls.peers),
            "alpn": [protocol.encode() for protocol in tls.alpn],
            "timeout": float(tls.handshake_timeout),
        }

    def _roots(self, names: tuple[str, ...], files: package.Files) -> list[bytes]:
        roots = []
        for root in names:
            if root == "steward":
                roots.append(self._stewards_root())
            elif root != "system":
                roots += _certificates(_file(files, f"roots/{PurePosixPath(root).name}"), root)
        return roots

    def _stewards_root(self) -> bytes:
        root = self._guest.credentials.root
        if root is None:
            raise KeepFault("no certificate was issued, so there is no Steward's root")
        return root

    def _mount_asset(self, asset: manifest.Asset, files: package.Files) -> str:
        """Put the asset where the workload finds it; answers the directory to preopen."""
        place = f"assets{asset.guest}".rstrip("/")
        if place in files:
            self._guest.insert_file(asset.guest.encode(), files[place], writable=asset.writable)
            return str(PurePosixPath(asset.guest).parent)
        inside = {path: content for path, content in files.items() if path.startswith(f"{place}/")}
        self._insert(asset.guest, inside, place, asset.writable)
        return asset.guest

    def _insert(self, guest_path: str, files: dict[str, bytes], below: str, writable: bool) -> None:
        self._guest.insert_directory(guest_path.encode(), writable=writable)
        for path, content in files.items():
            place = PurePosixPath(guest_path, path.removeprefix(f"{below}/"))
            for parent in reversed(place.parents):
                if parent.is_relative_to(guest_path):
                    self._guest.insert_directory(str(parent).encode(), writable=writable)
            self._guest.insert_file(str(place).encode(), content, writable=writable)

    def _put_secret(self, secret: manifest.Secret) -> str:
        """Put the secret where the workload reads it; answers the directory to preopen."""
        self._guest.put_secret(secret.name, secret.file.encode())
        return str(PurePosixPath(secret.file).parent)

    def _mount_copy(self) -> str:
        """A host directory that `run --dir` copies in: its files, then their end."""
        mount = self._expect("mount")
        guest_path: str = field(mount, "path", str)
        self._guest.insert_directory(guest_path.encode(), writable=True)
        for _ in range(field(mount, "entries", int)):
            entry = self._expect("entry")
            place = str(PurePosixPath(guest_path, field(entry, "path", str))).encode()
            if field(entry, "directory", bool):
                self._guest.insert_directory(place, writable=True)
            else:
                content = self._reader.payload(field(entry, "size", int))
                self._guest.insert_file(place, content, writable=True)
        return guest_path

    def _link(
        self, engine: wasmtime.Engine, code: wasmtime.Module, own: manifest.Manifest
    ) -> tuple[wasmtime.Store, _Exports]:
        store = wasmtime.Store(engine)
        store.set_limits(memory_size=own.memory_bytes)
        if own.has_deadline:
            store.set_epoch_deadline(1)
        linker = wasmtime.Linker(engine)
        link(self._guest, linker)
        try:
            instance = linker.instantiate(store, code)
        except wasmtime.WasmtimeError as fault:
            if "exceeds memory limits" not in str(fault):
                raise
            raise LimitMet(f"[resources] memory: {own.memory_bytes:,} bytes are less than the module needs") from fault
        except (wasmtime.Trap, wasmtime.ExitTrap) as trap:
            self._check_time(own)
            raise KeepFault(f"the module's start function failed: {_cause_first(trap)}") from trap
        return store, instance.exports(store)

    def _call(self, store: wasmtime.Store, entry: wasmtime.Func, exports: _Exports, own: manifest.Manifest) -> Message:
        """Run the workload. What its function returns is not an exit code, as in Enarx."""
        try:
            entry(store)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
            self._check_time(own)
            code = self._guest.exit_code
            if code != 0:
                self._tell_of_memory(store, exports, own)
            if code is None:
                return {"type": "exit", "kind": "trap", "message": f"the workload trapped: {_cause_first(trap)}"}
            return {"type": "exit", "kind": "exit", "code": code}
        return {"type": "exit", "kind": "exit", "code": 0}

    def _check_time(self, own: manifest.Manifest) -> None:
        """Raise LimitMet if it is time that has ended the workload."""
        if self._guest.expired == "time":
            raise LimitMet(f"[resources] time: the workload has run for {own.time} s")
        if self._guest.expired == "cpu_time":
            raise LimitMet(f"[resources] cpu_time: the workload has taken {own.cpu_time} s of processor time")

    def _tell_of_memory(self, store: wasmtime.Store, exports: _Exports, own: manifest.Manifest) -> None:
        """A workload that gets no more memory fails in its own way; its host hears that this may be why."""
        memory = exports.get("memory")
        if isinstance(memory, wasmtime.Memory) and memory.data_len(store) >= own.memory_bytes - own.memory_bytes // 16:
            self._tell({"type": "limit", "resource": "memory"})


def _entry(exports: _Exports) -> wasmtime.Func:
    for name in ("", "_start"):
        entry = exports.get(name)
        if isinstance(entry, wasmtime.Func):
            return entry
    raise BadPackage("the module exports neither a function `_start` nor one with an empty name")


def _cause_first(trap: Exception) -> str:
    """What the engine says of a trap: the cause, then the calls that led to it, without its own advice."""
    calls, _, cause = str(trap).strip().partition("\n\nCaused by:\n")
    if not cause:
        return calls
    places = [line for line in calls.splitlines()[1:] if not line.startswith("note: ")]
    return "\n".join([cause.strip().removeprefix("wasm trap: "), *places])


def _kind_and_line(fault: Exception) -> str:
    """The kind of a fault and the line that raised it: nothing of what it was about."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    line = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return f"{type(fault).__name__} ({line})"


def _file(files: package.Files, path: str) -> bytes:
    try:
        return files[path]
    except KeyError:
        raise BadPackage(f"the package holds no {path}") from None


def _certificates(pem: bytes, name: str) -> list[bytes]:
    """The certificates of a PEM file, as DER (RFC 7468)."""
    found = []
    for part in pem.split(b"-----BEGIN CERTIFICATE-----")[1:]:
        body = part.partition(b"-----END CERTIFICATE-----")[0]
        try:
            found.append(base64.b64decode(b"".join(body.split()), validate=True))
        except ValueError as error:
            raise BadManifest(f"{name} is not a PEM file of certificates") from error
    if not found:
        raise BadManifest(f"{name} holds no certificate")
    return found
