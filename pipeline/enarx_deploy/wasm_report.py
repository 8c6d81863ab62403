"""What a wasm module is made of: its sections and functions by size, what its imports let it do, what made it.

Custom sections are read as WebAssembly's tool conventions have them: `name` (core specification, appendix 7.4),
`producers` and `target_features`. They are hints that nobody checks: one that is damaged is told, and the rest is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from enarx_deploy import wasm, wasm_binary
from enarx_deploy.errors import ModuleError
from enarx_deploy.models import Import
from enarx_deploy.wasm_binary import FUNCTION_LIMIT, DamagedModuleError, Export, Memory, Reader

T = TypeVar("T")

MOST_FUNCTIONS = 1000
"""Functions that are listed at most."""

_FUNCTION_NAMES = 1  # the subsection of `name` that has them
_CODE = 10

ABILITIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("see its arguments ([args])", ("args_get", "args_sizes_get")),
    ("see its environment ([env], FD_COUNT, FD_NAMES)", ("environ_get", "environ_sizes_get")),
    ("read what is open: files, streams, connections", ("fd_read", "fd_pread")),
    ("write to what is open: files, streams, connections", ("fd_write", "fd_pwrite")),
    (
        "learn of what is open, position and close it",
        (
            "fd_advise",
            "fd_close",
            "fd_fdstat_get",
            "fd_fdstat_set_flags",
            "fd_fdstat_set_rights",
            "fd_filestat_get",
            "fd_renumber",
            "fd_seek",
            "fd_tell",
        ),
    ),
    (
        "open files by name, and connections of [network] (/net/con)",
        ("path_open", "fd_prestat_get", "fd_prestat_dir_name"),
    ),
    ("look at files by name, and list directories", ("path_filestat_get", "path_readlink", "fd_readdir")),
    (
        "make, change and remove files of its private file system",
        (
            "fd_allocate",
            "fd_datasync",
            "fd_filestat_set_size",
            "fd_filestat_set_times",
            "fd_sync",
            "path_create_directory",
            "path_filestat_set_times",
            "path_link",
            "path_remove_directory",
            "path_rename",
            "path_symlink",
            "path_unlink_file",
        ),
    ),
    ("accept connections on `listen` sockets", ("sock_accept",)),
    ("receive, send and shut down on connections", ("sock_recv", "sock_send", "sock_shutdown")),
    ("tell the time", ("clock_res_get", "clock_time_get")),
    ("wait", ("poll_oneoff", "sched_yield")),
    ("get random numbers", ("random_get",)),
    ("end", ("proc_exit", "proc_raise")),
)
"""What functions of preview 1 let a workload do; each function is in one line."""

OTHER = "nothing: a Keep does not provide these"


@dataclass(frozen=True)
class Section:
    """A section: its name, for custom ones `custom` and their own; bytes of its content; entries where it has any."""

    name: str
    size: int
    entries: int | None


@dataclass(frozen=True)
class Function:
    """A function that the module defines: its index (core specification, 2.5.1), bytes of its body, and its name."""

    index: int
    size: int
    name: str | None


@dataclass(frozen=True)
class Ability:
    """What a group of imports lets the workload do."""

    lets_it: str
    imports: list[str]


@dataclass(frozen=True)
class Producer:
    """What had a part in making the module, as it says itself: `field` is `language`, `processed-by` or `sdk`."""

    field: str
    name: str
    version: str


@dataclass(frozen=True)
class Report:
    """What a module is made of. `runs_in_a_keep` is the engine's word too; where it is no, `problem` and `hint` tell.

    `stripped` says that neither names nor debugging information are there. `faults` names custom sections that cannot
    be read. `functions` is how many the module defines, `largest` the largest of them.
    """

    size: int
    sha256: str
    runs_in_a_keep: bool
    problem: str
    hint: str
    entry: str | None
    sections: list[Section]
    functions: int
    largest: list[Function]
    imports: list[Ability]
    exports: list[Export]
    memories: list[Memory]
    producers: list[Producer]
    target_features: list[str]
    stripped: bool
    faults: list[str]


@dataclass
class _Custom:
    """What custom sections say."""

    names: dict[int, str] = field(default_factory=dict)
    producers: list[Producer] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    present: set[str] = field(default_factory=set)


def report(data: bytes, name: str = "the module", *, largest: int = 10) -> Report:
    """The report on a core module, with its `largest` functions. Raises ModuleError: it is none, or damaged."""
    from enarx_deploy.records import digest_of

    interface = wasm.read(data, name)
    problem, entry = _verdict(data, name)
    try:
        sections = [_section(number, reader) for number, reader in wasm_binary.split(data)]
        bodies = _bodies(data)
    except DamagedModuleError as error:
        raise ModuleError(f"{name} is damaged: {error}", hint="rebuild it: was it cut short?") from error
    first = len([1 for imported, _ in interface.imports if imported.kind == "func"])
    top = heapq.nlargest(min(largest, MOST_FUNCTIONS), enumerate(bodies, first), key=lambda body: (body[1], -body[0]))
    custom = _custom(data, {index for index, _ in top})
    return Report(
        size=len(data),
        sha256=digest_of(data),
        runs_in_a_keep=problem is None,
        problem=str(problem or ""),
        hint=problem.hint if problem else "",
        entry=entry,
        sections=sections,
        functions=len(bodies),
        largest=[Function(index, size, custom.names.get(index)) for index, size in top],
        imports=_abilities(imported for imported, _ in interface.imports),
        exports=[exported for exported, _ in interface.exports],
        memories=interface.memories,
        producers=custom.producers,
        target_features=custom.features,
        stripped=not any(one == "name" or one.startswith(".debug") for one in custom.present),
        faults=custom.faults,
    )


def _verdict(data: bytes, name: str) -> tuple[ModuleError | None, str | None]:
    try:
        return None, wasm.validate(data, name).entry
    except ModuleError as error:
        return error, None


def _section(number: int, reader: Reader) -> Section:
    size = reader.left
    if number == 0:
        return Section(f"custom {_own_name(reader)}", size, None)
    has_entries = wasm_binary.section_name(number) != "start"
    return Section(wasm_binary.section_name(number), size, reader.unsigned() if has_entries and size else None)


def _own_name(reader: Reader) -> str:
    try:
        return reader.name()
    except DamagedModuleError:
        return "(its name is damaged)"


def _bodies(data: bytes) -> list[int]:
    """The size of each function's body, in order."""
    sizes: list[int] = []
    for number, reader in wasm_binary.split(data):
        if number == _CODE:
            for _ in range(reader.count(FUNCTION_LIMIT)):
                sizes.append(reader.unsigned())
                reader.skip(sizes[-1])
    return sizes


def _custom(data: bytes, wanted: set[int]) -> _Custom:
    """What custom sections say, of names only those of the functions that are `wanted`."""
    custom = _Custom()
    for number, reader in wasm_binary.split(data):
        if number == 0:
            name = _own_name(reader)
            custom.present.add(name)
            try:
                _read_custom(name, reader, custom, wanted)
            except DamagedModuleError as error:
                custom.faults.append(f"custom section {name!r}: {error}")
    return custom


def _read_custom(name: str, reader: Reader, custom: _Custom, wanted: set[int]) -> None:
    match name:
        case "name":
            custom.names = _names(reader, wanted)
        case "producers":
            custom.producers = _producers(reader)
        case "target_features":
            custom.features = _list(reader, lambda: f"{chr(reader.byte())}{reader.name()}")


def _names(reader: Reader, wanted: set[int]) -> dict[int, str]:
    names: dict[int, str] = {}
    while not reader.done():
        kind, size = reader.byte(), reader.unsigned()
        if kind != _FUNCTION_NAMES:
            reader.skip(size)
            continue
        for _ in range(reader.count(FUNCTION_LIMIT)):
            index, name = reader.unsigned(), reader.take(reader.unsigned())
            if index in wanted:
                names[index] = name.decode(errors="replace")
    return names


def _producers(reader: Reader) -> list[Producer]:
    fields = _list(reader, lambda: (reader.name(), _list(reader, lambda: (reader.name(), reader.name()))))
    return [Producer(field, name, version) for field, values in fields for name, version in values]


def _list(reader: Reader, read: Callable[[], T]) -> list[T]:
    return [read() for _ in range(reader.count())]


def _abilities(imports: Iterable[Import]) -> list[Ability]:
    provided, others = set(), set()
    for imported in imports:
        if wasm.provided(imported):
            provided.add(imported.name)
        else:
            others.add(f"{imported.module}.{imported.name}")
    groups = [(lets_it, [name for name in names if name in provided]) for lets_it, names in ABILITIES]
    return [Ability(lets_it, names) for lets_it, names in [*groups, (OTHER, sorted(others))] if names]
