"""The rules: each yields what one part of a manifest grants too much or too little, for a module that needs this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from enarx_deploy.lint.findings import Close, Connect, ConnectNowhere, Finding, Package, Place
from enarx_deploy.lint.needs import Needs
from enarx_deploy.manifest import Connect as ConnectFile
from enarx_deploy.manifest import Listen, Manifest, Stderr, Stdin, Stdout, destination_name
from enarx_deploy.project import Project
from enarx_toml.positions import Positions

_READS = ("fd_read", "fd_pread")
_WRITES = ("fd_write", "fd_pwrite")
_STREAMS = (Stdin, Stdout, Stderr)  # every manifest begins with them: one without use is told, and no reason to fail
_LOOKS = ("path_open", "path_filestat_get", "path_readlink", "fd_readdir")

UNKNOWN = (
    "which descriptors it uses, and so which of several entries of a kind: it computes them, from numbers or FD_NAMES",
    "names and ports of `listen` entries that are missing: they are for you to choose",
    "files and destinations whose names it puts together while it runs, or reads from somewhere",
)
"""What cannot be derived of any module, in lines."""

_CANNOT = {
    Stdin: ("unused-input", _READS, "the module never reads (it imports no fd_read)"),
    Stdout: ("unused-output", _WRITES, "the module never writes (it imports no fd_write)"),
    Stderr: ("unused-output", _WRITES, "the module never writes (it imports no fd_write)"),
    Listen: ("unused-listen", ("sock_accept",), "the module never accepts a connection (it imports no sock_accept)"),
    ConnectFile: (
        "unused-connection",
        (*_READS, *_WRITES, "sock_recv", "sock_send"),
        "the module neither reads nor writes",
    ),
}
"""What entries of `files` are of no use without: rule, functions of which one is needed, and what is said."""


# What is granted and cannot be used; what the module may need and is not granted; what it may use all the same.
_unused = partial(Finding, weight="warning", certain=True)
_missing = partial(Finding, weight="warning", certain=False)
_unseen = partial(Finding, weight="note", certain=False)


def findings(project: Project, needs: Needs, *, sources: Iterable[Path] = ()) -> list[Finding]:
    """All that is found, in the order of the manifest. `sources` are files that are built and not packaged."""
    found = [one for rule in _RULES for one in rule(project.manifest, needs)]
    found += _missing_assets(project, needs, {path.resolve() for path in sources})
    index = _lines_of(project)
    placed = [_located(one, project.manifest_file, index) for one in found]
    return sorted(placed, key=lambda one: (one.line == 0, one.line, one.rule))


def _files(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    for index, entry in enumerate(manifest.files):
        rule, functions, why = _CANNOT.get(type(entry), ("", (), ""))
        if rule and not needs.uses(*functions):
            bound = entry.name in manifest.tls
            yield Finding(
                rule=rule,
                weight="note" if isinstance(entry, _STREAMS) else "warning",
                certain=True,
                place=("files", index),
                message=f"`files[{index}]` ({_kind(entry)} {entry.name!r}) is not used: {why}",
                hint=f'remove [tls.{entry.name}], and make the entry kind = "null"'
                if bound
                else 'make it kind = "null", which keeps the numbers of the descriptors after it, or remove it',
                change=None if bound else Close(index),
            )


def _streams(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    opens = needs.uses("path_open", "sock_accept")
    writable = any(isinstance(entry, Stdout | Stderr | ConnectFile) for entry in manifest.files)
    if needs.uses(*_WRITES) and not opens and not writable:
        yield Finding(
            rule="missing-output",
            weight="warning",
            certain=True,
            place=("files",),
            message="the module writes (it imports fd_write), and nothing is open that can be written to",
            hint='programs write to descriptors 1 and 2: list [[files]] of kind "stdin", "stdout" and "stderr" first',
        )


def _listens(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    if needs.uses("sock_accept") and not any(isinstance(entry, Listen) for entry in manifest.files):
        yield _missing(
            rule="missing-listen",
            place=("files",),
            message="the module accepts connections (it imports sock_accept), and no entry of `files` listens",
            hint='add [[files]] with kind = "listen", name = "NAME", prot = "tls", port = PORT',
        )


def _network(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    granted = manifest.network.connect if manifest.network else ()
    if not needs.uses("path_open"):
        if granted:
            yield _unused(
                rule="unused-network",
                place=("network", "connect"),
                message="`network.connect` is not used: the module opens nothing by name (it imports no path_open)",
                hint="remove it",
                change=ConnectNowhere(),
            )
        return
    names = {destination_name(one).lower() for one in granted}
    for destination in needs.destinations:
        if destination.lower() not in names:
            yield _missing_destination(destination)
    yield from _unseen_destinations(granted, manifest, needs)
    if needs.composes:
        yield Finding(
            rule="composed-destinations",
            weight="note",
            certain=True,
            place=("network",),
            message="the module puts names in /net/con together while it runs: which ones cannot be derived",
            hint="grant in [network] connect what it is to reach",
        )


def _missing_destination(destination: str) -> Finding:
    return _missing(
        rule="missing-destination",
        place=("network", "connect"),
        message=f"the module has /net/con/{destination} in its data, and `network.connect` does not grant it",
        hint=f'add "{destination}" to [network] connect ("tcp://{destination}" for plain TCP)',
        change=Connect(destination),
    )


def _unseen_destinations(granted: tuple[str, ...], manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    given = "\0".join([*manifest.args, *manifest.env.values()])
    for index, destination in enumerate(granted):
        host = destination_name(destination).rpartition(":")[0].strip("[]")
        if not needs.mentions(host) and host not in given:
            yield _unseen(
                rule="unseen-destination",
                place=("network", "connect", index),
                message=f"{destination} is granted, and neither the module's data nor `args` or `env` name it",
                hint="remove it if it is not meant to be reached; a module can also compute or read a name",
            )


def _assets(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    for index, asset in enumerate(manifest.package.assets):
        if not needs.uses(*_LOOKS):
            yield _unused(
                rule="unused-asset",
                place=("package", "assets", index),
                message=f"the asset {asset.guest} is not used: the module opens nothing by name",
                hint="remove it: a package holds what is needed, and nothing more",
            )
        elif not needs.mentions(asset.guest.rpartition("/")[2]) and asset.guest != "/":
            yield _unseen(
                rule="unseen-asset",
                place=("package", "assets", index),
                message=f"the asset {asset.guest} is packaged, and the module's data does not name it",
                hint="remove it if it is not meant to be read; a module can also compute or list names",
            )


def _missing_assets(project: Project, needs: Needs, sources: set[Path]) -> Iterator[Finding]:
    if not needs.uses("path_open"):
        return
    guests = [asset.guest.rstrip("/") for asset in project.manifest.package.assets]
    for name in needs.files(project.root):
        guest = f"/{name}"
        packaged = any(guest == one or guest.startswith(f"{one}/") for one in guests)
        if not packaged and (project.root / name).resolve() not in sources and name != "Enarx.toml":
            yield _missing(
                rule="missing-asset",
                place=("package", "assets"),
                message=f"the module has {guest} in its data, the project has {name}, and it is not packaged",
                hint=f'add [[package.assets]] with source = "{name}" and guest = "{guest}"',
                change=Package(name, guest),
            )


def _words(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    for key, function in (("args", "args_get"), ("env", "environ_get")):
        if getattr(manifest, key) and not needs.uses(function):
            yield _unused(
                rule=f"unused-{key}",
                place=(key,),
                message=f"`{key}` is not used: the module imports no {function}",
                hint="remove it",
            )


def _memory(manifest: Manifest, needs: Needs) -> Iterator[Finding]:
    allowed = manifest.resources.memory_bytes
    if needs.memory > allowed:
        yield Finding(
            rule="missing-memory",
            weight="error",
            certain=True,
            place=("resources", "memory"),
            message=f"the module starts with {needs.memory:,} bytes of memory, and may have {allowed:,}",
            hint="raise `resources.memory`, or build the module with a smaller stack or heap",
        )


_RULES: tuple[Callable[[Manifest, Needs], Iterator[Finding]], ...] = (
    _files,
    _streams,
    _listens,
    _network,
    _assets,
    _words,
    _memory,
)


def _kind(entry: object) -> str:
    return "connect" if isinstance(entry, ConnectFile) else type(entry).__name__.lower()


def _lines_of(project: Project) -> Positions | None:
    """Where the manifest's file has what; None where there is no file, or another text was made of it (`--set`)."""
    if project.manifest_file is None or project.manifest_as_written is None:
        return None
    return Positions(project.manifest_as_written)


def _located(finding: Finding, file: Path | None, index: Positions | None) -> Finding:
    """The finding with its line. One about what is not in the manifest has that of the table it would be in, if any."""
    ways: list[Place] = [finding.place[:length] for length in range(len(finding.place), 0, -1)]
    path = next((path for path in ways if index and path in index), None)
    return replace(finding, file=str(file or ""), line=index.value(path)[0] if index and path else 0)
