"""`Enarx.toml` as types: one struct per table, one field per key, with its limits and its meaning.

These types are the single source: the loader checks against them, the JSON Schema and the tables of
`docs/manifest.md` are made from them. The first four keys and the kinds of `[[files]]` are Enarx 0.7.1's own; the
other tables are additions, which Enarx ignores. What a single value may be is in `scalars`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from enarx_deploy.manifest.scalars import (
    Alpn,
    Destination,
    DnsName,
    GuestPath,
    Host,
    KeepName,
    LoopbackAddress,
    Peer,
    Port,
    ProjectPath,
    Prot,
    RemoteHost,
    Roots,
    Seconds,
    SecretName,
    ServerName,
    Size,
    SocketName,
    StdioName,
    Text,
    Url,
    VariableName,
    Word,
    size_in_bytes,
)

ARGV0 = "main.wasm"
"""The first argument of every workload, as in Enarx."""

_COMPUTED = -1  # a port that the file does not give; no file can give this number


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables: an unknown key is an error."""


class Null(Table, frozen=True, kw_only=True, tag_field="kind", tag="null"):
    """Reads end at once, writes are swallowed."""

    name: Annotated[StdioName, Meta(description="Its name in FD_NAMES.")] = "null"


class Stdin(Table, frozen=True, kw_only=True, tag_field="kind", tag="stdin"):
    """The standard input of the host process."""

    name: Annotated[StdioName, Meta(description="Its name in FD_NAMES.")] = "stdin"


class Stdout(Table, frozen=True, kw_only=True, tag_field="kind", tag="stdout"):
    """The standard output of the host process."""

    name: Annotated[StdioName, Meta(description="Its name in FD_NAMES.")] = "stdout"


class Stderr(Table, frozen=True, kw_only=True, tag_field="kind", tag="stderr"):
    """The standard error of the host process."""

    name: Annotated[StdioName, Meta(description="Its name in FD_NAMES.")] = "stderr"


class Listen(Table, frozen=True, kw_only=True, tag_field="kind", tag="listen"):
    """A listening TCP socket; with `prot = "tls"` the TLS ends inside the Keep."""

    name: Annotated[SocketName, Meta(description="Its name in FD_NAMES, in [tls.NAME] and as an endpoint; unique.")]
    prot: Annotated[Prot, Meta(description="What is spoken on the socket.")]
    addr: Annotated[Host, Meta(description="The address to listen on.")] = "::"
    port: Annotated[
        Port, Meta(description="The port to listen on; 0 takes any free one. Default: 443 for tls, 80 for tcp.")
    ] = msgspec.field(default_factory=lambda: _COMPUTED)

    def __post_init__(self) -> None:
        if self.port == _COMPUTED:
            msgspec.structs.force_setattr(self, "port", _DEFAULT_PORTS[self.prot])


class Connect(Table, frozen=True, kw_only=True, tag_field="kind", tag="connect"):
    """A TCP connection made before the workload starts; with `prot = "tls"` the TLS ends inside the Keep."""

    host: Annotated[Host, Meta(description="The host to connect to, and the name that its certificate must have.")]
    prot: Annotated[Prot, Meta(description="What is spoken on the socket.")]
    name: Annotated[
        SocketName, Meta(description="Its name in FD_NAMES and in [tls.NAME]; unique. Default: the value of `host`.")
    ] = msgspec.field(default_factory=str)
    port: Annotated[Port, Meta(description="The port to connect to. Default: 443 for tls, 80 for tcp.")] = (
        msgspec.field(default_factory=lambda: _COMPUTED)
    )

    def __post_init__(self) -> None:
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.host)
        if self.port == _COMPUTED:
            msgspec.structs.force_setattr(self, "port", _DEFAULT_PORTS[self.prot])


_DEFAULT_PORTS: dict[Prot, int] = {"tls": 443, "tcp": 80}

File = Null | Stdin | Stdout | Stderr | Listen | Connect
Socket = Listen | Connect


class Build(Table, frozen=True, kw_only=True):
    """How the sources become a wasm module."""

    toolchain: Annotated[Word | None, Meta(description="The toolchain, by name. Default: the first that fits.")] = None
    command: Annotated[
        tuple[Text, ...],
        Meta(
            description="The words of a command that builds the module, in place of any toolchain; it is run in the "
            "project, without a shell."
        ),
    ] = ()
    source: Annotated[Word | None, Meta(description="The file or folder to build, relative to the project.")] = None
    output: Annotated[
        ProjectPath | None,
        Meta(
            description="The wasm file that `command` leaves, relative to the project. A toolchain puts a copy of the "
            "module there."
        ),
    ] = None
    args: Annotated[tuple[Text, ...], Meta(description="More words for the toolchain.")] = ()
    profile: Annotated[
        Word, Meta(description='"release" or "debug"; with the toolchain `rust` any profile of Cargo.toml.')
    ] = "release"
    features: Annotated[
        tuple[Word, ...], Meta(description="What is compiled in by name: features of Cargo, tags of Go.")
    ] = ()
    inputs: Annotated[
        tuple[ProjectPath, ...],
        Meta(description="Files and folders that the build reads beside those that its toolchain knows of."),
    ] = ()
    network: Annotated[
        bool, Meta(description="Whether the build may use the network, such as to fetch what it depends on.")
    ] = False
    optimize: Annotated[
        Literal["none", "size", "speed"], Meta(description="What wasm-opt makes the module better in, after the build.")
    ] = "none"
    strip: Annotated[
        bool, Meta(description="Whether the names of functions and what is there for debuggers are taken out.")
    ] = False


class Asset(Table, frozen=True, kw_only=True):
    """A file or a folder of the project that the workload can open."""

    source: Annotated[ProjectPath, Meta(description="The file or folder, relative to the project.")]
    guest: Annotated[GuestPath, Meta(description="The absolute path at which the workload sees it; unique.")]
    writable: Annotated[
        bool, Meta(description="Whether the workload may change its own copy, which is lost when it ends.")
    ] = False


class PackageTable(Table, frozen=True, kw_only=True):
    """What is packaged beside the module."""

    assets: Annotated[tuple[Asset, ...], Meta(description="The files and folders that the workload can open.")] = ()
    sign: Annotated[bool, Meta(description="Whether it must be signed: without --sign KEY it is then not made.")] = (
        False
    )
    aot: Annotated[
        bool,
        Meta(description="Whether it also has the module as compiled for this wasmtime and processor."),
    ] = False


class Secret(Table, frozen=True, kw_only=True):
    """A secret that the Steward releases to the Keep, and to nobody between them, before the workload starts."""

    name: Annotated[SecretName, Meta(description="Its name in the Steward's policy; unique.")]
    file: Annotated[
        GuestPath | None, Meta(description="The absolute path at which the workload reads it, in memory alone.")
    ] = None
    env: Annotated[
        VariableName | None,
        Meta(description="The environment variable that holds it. One of `file` and `env` must be given."),
    ] = None


class Attest(Table, frozen=True, kw_only=True):
    """Who appraises the Keep and issues its certificates."""

    issuer: Annotated[
        Word, Meta(description='"steward", "selfsigned", "acme", or the name of an issuer that a plugin brings.')
    ] = "steward"
    protocol: Annotated[
        Literal["v1", "enarx"],
        Meta(
            description="How the evidence is bound: `v1` binds key, package, manifest and nonce; "
            "`enarx` binds the key alone, as a Steward of Enarx 0.2 expects."
        ),
    ] = "v1"


class Acme(Table, frozen=True, kw_only=True):
    """What the issuer `acme` certifies; another issuer takes no notice of it."""

    names: Annotated[
        tuple[DnsName, ...],
        Meta(description="The names that the Keep asks a certificate for: all of them, and no other.", max_length=100),
    ] = ()
    directory: Annotated[
        Url | None,
        Meta(description="The directory of the account to use (`acme register`). Default: that of the only account."),
    ] = None


class Tls(Table, frozen=True, kw_only=True):
    """The TLS of one socket: version 1.3 and no session resumption, whatever is said here."""

    roots: Annotated[
        tuple[Roots, ...],
        Meta(
            description="Whom the socket trusts: `system` (the compiled-in Mozilla set), `steward` (the root "
            "that issued this Keep's certificate), or PEM files of the project, which are packaged. Default: `system` "
            "for one that connects, `steward` for one that asks its clients for certificates.",
            min_length=1,
        ),
    ] = msgspec.field(default_factory=tuple)
    client_auth: Annotated[
        Literal["none", "request", "require"],
        Meta(
            description="Whether a `listen` socket asks its clients for certificates: `request` serves those that "
            "show none, too; one that is shown must be good."
        ),
    ] = "none"
    peers: Annotated[
        tuple[Peer, ...],
        Meta(
            description="Names of which the other side's certificate must bear one: a URI such as "
            "`spiffe://TRUST-DOMAIN/package/sha256/HEX`, or a DNS name. Default: any certificate under `roots` will "
            "do.",
            min_length=1,
        ),
    ] = msgspec.field(default_factory=tuple)
    server_name: Annotated[
        ServerName | None,
        Meta(
            description="The name that a `connect` socket asks for (SNI), and that the server's certificate must "
            "bear. Default: `host`."
        ),
    ] = None
    alpn: Annotated[
        tuple[Alpn, ...],
        Meta(
            description="The application protocols that the socket speaks, the preferred one first (ALPN). "
            "Default: it says nothing of them.",
            min_length=1,
        ),
    ] = msgspec.field(default_factory=tuple)
    handshake_timeout: Annotated[
        int, Meta(ge=1, le=300, description="Seconds after which an unfinished handshake is dropped.")
    ] = 10


class Deploy(Table, frozen=True, kw_only=True):
    """An environment: where and how Keeps are started; `[deploy.default]` is used when none is named.

    A target may have a table of its own below it, `[deploy.NAME.TARGET]`, which is no field here.
    """

    target: Annotated[Word, Meta(description="The place where Keeps are started, by name.")] = "local"
    host: Annotated[
        RemoteHost | None,
        Meta(description="The machine that a remote target starts them on, as ssh takes it: `USER@HOST` or a URL."),
    ] = None
    backend: Annotated[
        Word | None, Meta(description="The backend, by name. Default: the strongest that is available.")
    ] = None
    minimum: Annotated[
        Word | None, Meta(description="The weakest backend that will do, by name; a weaker one is refused.")
    ] = None
    image: Annotated[
        Word | None,
        Meta(
            description="The directory of the image that Keeps in virtual machines boot, relative to the project. "
            "Default: the image of this version."
        ),
    ] = None
    name: Annotated[KeepName | None, Meta(description="The Keep's name. Default: the project's folder.")] = None
    replicas: Annotated[int, Meta(ge=1, le=1000, description="Keeps that serve behind one endpoint.")] = 1
    metrics: Annotated[
        LoopbackAddress | None,
        Meta(description="Where its host process serves metrics and health. Default: nowhere."),
    ] = None


class Resources(Table, frozen=True, kw_only=True):
    """What the workload may use at most."""

    memory: Annotated[Size, Meta(description="Linear memory of the module: 64 KiB to 4 GiB.")] = "4 GiB"
    filesystem: Annotated[Size, Meta(description="Its private file system, held in memory: up to 64 GiB.")] = "64 MiB"
    connections: Annotated[int, Meta(ge=1, le=16384, description="Connections open at the same time.")] = 1024
    descriptors: Annotated[
        int, Meta(ge=1, le=65536, description="File descriptors open at the same time, those of `files` included.")
    ] = 65536
    time: Annotated[Seconds | None, Meta(description="Seconds that it may run. Default: for ever.")] = None
    cpu_time: Annotated[
        Seconds | None, Meta(description="Seconds of processor time that it may take. Default: any.")
    ] = None

    @property
    def memory_bytes(self) -> int:
        return size_in_bytes(self.memory)

    @property
    def filesystem_bytes(self) -> int:
        return size_in_bytes(self.filesystem)

    @property
    def has_deadline(self) -> bool:
        """Whether it may run for a limited time only, which code must be made for."""
        return self.time is not None or self.cpu_time is not None


class Network(Table, frozen=True, kw_only=True):
    """What the workload may connect to while it runs: each name is a file of the directory /net/con."""

    connect: Annotated[
        tuple[Destination, ...],
        Meta(
            description="`HOST:PORT`, by TLS that ends inside the Keep and with HOST proven by its certificate "
            '(`[tls."HOST:PORT"]` says more), or `tcp://HOST:PORT`, in clear and with nothing proven.'
        ),
    ] = ()
    connections: Annotated[int, Meta(ge=1, le=1024, description="Such connections open at the same time.")] = 64


def destination_name(destination: str) -> str:
    """The name of a `Destination` in /net/con and in [tls.NAME]: `HOST:PORT`."""
    return destination.removeprefix("tcp://")


class Manifest(Table, frozen=True, kw_only=True):
    """`Enarx.toml`: what a workload sees, how it is built, attested and deployed."""

    steward: Annotated[
        Url | None, Meta(description="The Steward that issues certificates: https, or http for this machine.")
    ] = None
    args: Annotated[tuple[Text, ...], Meta(description="The arguments after the first, which is `main.wasm`.")] = ()
    files: Annotated[
        tuple[File, ...], Meta(description="The open files; the first is file descriptor 0. A file without any: none.")
    ] = ()
    env: Annotated[
        dict[Text, Text], Meta(description="Environment variables. Nothing of the host's environment is passed.")
    ] = {}
    build: Annotated[Build, Meta(description="How the sources become a wasm module.")] = Build()
    package: Annotated[PackageTable, Meta(description="What is packaged beside the module.")] = PackageTable()
    attest: Annotated[Attest, Meta(description="Who appraises the Keep and issues its certificates.")] = Attest()
    acme: Annotated[Acme, Meta(description="What the issuer `acme` certifies.")] = Acme()
    tls: Annotated[dict[str, Tls], Meta(description="The TLS of a socket, by its name in `files` or `HOST:PORT`.")] = {}
    deploy: Annotated[dict[str, Deploy], Meta(description="Environments by name; `default` when none is named.")] = {}
    resources: Annotated[Resources, Meta(description="What the workload may use at most.")] = Resources()
    secrets: Annotated[
        tuple[Secret, ...],
        Meta(description="What the Steward releases to the Keep before the workload starts.", max_length=32),
    ] = ()
    network: Annotated[
        Network | None, Meta(description="What the workload may connect to while it runs. Default: nothing.")
    ] = None

    @property
    def needs_certificate(self) -> bool:
        """Whether the Keep needs a certificate: for TLS, or to know the Steward by that releases secrets to it."""
        return self.speaks_tls or bool(self.secrets)

    @property
    def speaks_tls(self) -> bool:
        """Whether a socket speaks TLS, to serve a certificate or to show it where it is asked for."""
        granted = self.network.connect if self.network else ()
        return any(getattr(file, "prot", "") == "tls" for file in self.files) or any(
            not destination.startswith("tcp://") for destination in granted
        )

    def argv(self) -> list[str]:
        """The workload's argument list, the first included."""
        return [ARGV0, *self.args]

    def environ(self) -> list[tuple[str, str]]:
        """The workload's environment in order: FD_COUNT, FD_NAMES, then `env` as the file has it.

        Where `env` sets one of the first two again, both entries are there and libc's getenv finds the first.
        """
        names = ":".join(file.name for file in self.files)
        return [("FD_COUNT", str(len(self.files))), ("FD_NAMES", names), *self.env.items()]
