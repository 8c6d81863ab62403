"""The binary form of a core wasm module, as far as it says what the module imports, exports and starts with.

Read are the type, import, function, memory and export sections (WebAssembly core specification 3.0, section 5.5) and
nothing else. Every read is bounded by its section, and every count by `COUNT_LIMIT` or `FUNCTION_LIMIT`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from enarx_deploy.models import Import

COUNT_LIMIT = 100_000
"""Entries of the longest type, import, memory or export section that is read, and sections of a module."""

FUNCTION_LIMIT = 1_000_000
"""Functions of a module, which is also the engine's own limit."""

Kind = Literal["func", "table", "memory", "global", "tag"]

_KINDS: tuple[Kind, ...] = ("func", "table", "memory", "global", "tag")
_LETTERS = {0x7F: "i", 0x7E: "I", 0x7D: "f", 0x7C: "F", 0x7B: "v"}
_READ = (1, 2, 3, 5, 7)

SECTIONS = (
    "custom",
    "type",
    "import",
    "function",
    "table",
    "memory",
    "global",
    "export",
    "start",
    "element",
    "code",
    "data",
    "data count",
    "tag",
)
"""Name of each section by its number (core specification, section 5.5.2)."""


class DamagedModuleError(Exception):
    """A module does not read as the specification says; the text says in which section and how."""


class Export(NamedTuple):
    """One export of a module."""

    name: str
    kind: Kind


class Memory(NamedTuple):
    """A memory: its sizes in pages of 64 KiB (`maximum` is None where none is set), and its address width."""

    minimum: int
    maximum: int | None
    shared: bool
    wide: bool


class Sections(NamedTuple):
    """What was read. `imports` has the signature of each imported function, and "" for what is no function.

    `exports` has the index of each exported thing among those of its kind; `functions` and `memories` list theirs,
    imported ones first (core specification, section 2.5.1). A signature is one letter for each value, parameters
    before `>` and results after it: `i` i32, `I` i64, `f` f32, `F` f64, `v` v128, `r` a reference.
    """

    imports: list[tuple[Import, str]]
    exports: list[tuple[Export, int]]
    functions: list[str]
    memories: list[Memory]


def read(data: bytes) -> Sections:
    """Read the sections after the eight bytes of the header. Raises DamagedModuleError."""
    raw = _RawSections()
    for number, reader in split(data):
        if number not in _READ:
            continue
        try:
            _parse(number, reader, raw)
        except DamagedModuleError as error:
            raise DamagedModuleError(f"{SECTIONS[number]} section: {error}") from None
    return _join(raw)


def split(data: bytes) -> Iterator[tuple[int, Reader]]:
    """Each section after the header, by its number. Raises DamagedModuleError."""
    outer = Reader(data, 8, len(data))
    seen = set()
    for _ in range(COUNT_LIMIT + 1):
        if outer.done():
            return
        number = outer.byte()
        size = outer.unsigned()
        start = outer.skip(size)
        if number in seen:
            raise DamagedModuleError(f"there are two {section_name(number)} sections")
        if number:
            seen.add(number)
        yield number, Reader(data, start, start + size)
    raise DamagedModuleError(f"more than {COUNT_LIMIT:,} sections")


def section_name(number: int) -> str:
    """What the specification calls a section; a number that it does not know stands for itself."""
    return SECTIONS[number] if number < len(SECTIONS) else f"unknown (0x{number:02x})"


class _RawSections:
    def __init__(self) -> None:
        self.types: list[str] = []
        self.imports: list[tuple[Import, int | Memory | None]] = []
        self.functions: list[int] = []
        self.memories: list[Memory] = []
        self.exports: list[tuple[Export, int]] = []


class Reader:
    """Reads one value after another, up to its end."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data = data
        self._at = start
        self._end = end

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return self._end - self._at

    def done(self) -> bool:
        return self._at == self._end

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; returns where they start."""
        start = self._at
        if size > self._end - start:
            raise DamagedModuleError(f"cut short at byte {start}")
        self._at += size
        return start

    def take(self, size: int) -> bytes:
        start = self.skip(size)
        return self._data[start : start + size]

    def byte(self) -> int:
        return self._data[self.skip(1)]

    def unsigned(self, bits: int = 32) -> int:
        value = 0
        for shift in range(0, bits, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise DamagedModuleError(f"number too long at byte {self._at}")
        if value >> bits:
            raise DamagedModuleError(f"number out of range at byte {self._at}")
        return value

    def count(self, most: int = COUNT_LIMIT) -> int:
        count = self.unsigned()
        if count > most:
            raise DamagedModuleError(f"{count:,} entries, more than {most:,}")
        return count

    def name(self) -> str:
        raw = self.take(self.unsigned())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise DamagedModuleError(f"name before byte {self._at} is not UTF-8") from None

    def kind(self) -> Kind:
        number = self.byte()
        if number >= len(_KINDS):
            raise DamagedModuleError(f"unknown kind 0x{number:02x} before byte {self._at}")
        return _KINDS[number]

    def value_type(self) -> str:
        code = self.byte()
        if code in (0x63, 0x64):
            self.unsigned(35)  # the heap type, a signed number of 33 bits: passed over
            return "r"
        if not 0x65 <= code <= 0x7F:
            raise DamagedModuleError(f"unknown value type 0x{code:02x} before byte {self._at}")
        return _LETTERS.get(code, "r")

    def value_types(self) -> str:
        return "".join([self.value_type() for _ in range(self.count())])

    def memory(self) -> Memory:
        flags = self.byte()
        if flags > 7:
            raise DamagedModuleError(f"unknown limits 0x{flags:02x} before byte {self._at}")
        bits = 64 if flags & 4 else 32
        minimum = self.unsigned(bits)
        maximum = self.unsigned(bits) if flags & 1 else None
        return Memory(minimum, maximum, shared=bool(flags & 2), wide=bool(flags & 4))


def _parse(number: int, reader: Reader, raw: _RawSections) -> None:
    match number:
        case 1:
            raw.types = _types(reader)
        case 2:
            raw.imports = [_import(reader) for _ in range(reader.count())]
        case 3:
            raw.functions = [reader.unsigned() for _ in range(reader.count(FUNCTION_LIMIT))]
        case 5:
            raw.memories = [reader.memory() for _ in range(reader.count())]
        case 7:
            raw.exports = [(Export(reader.name(), reader.kind()), reader.unsigned()) for _ in range(reader.count())]
    if not reader.done():
        raise DamagedModuleError("longer than its content")


def _types(reader: Reader) -> list[str]:
    """The signature of each type, and "" for a type that is no function."""
    types: list[str] = []
    for _ in range(reader.count()):
        form = reader.byte()
        if form == 0x4E:
            types += [_type(reader, reader.byte()) for _ in range(reader.count())]
        else:
            types.append(_type(reader, form))
    return types


def _type(reader: Reader, form: int) -> str:
    if form in (0x4F, 0x50):
        for _ in range(reader.count()):
            reader.unsigned()
        form = reader.byte()
    if form == 0x60:
        return f"{reader.value_types()}>{reader.value_types()}"
    if form not in (0x5E, 0x5F):
        raise DamagedModuleError(f"unknown type 0x{form:02x}")
    for _ in range(1 if form == 0x5E else reader.count()):
        reader.value_type()
        reader.byte()
    return ""


def _import(reader: Reader) -> tuple[Import, int | Memory | None]:
    imported = Import(module=reader.name(), name=reader.name(), kind=reader.kind())
    match imported.kind:
        case "func":
            return imported, reader.unsigned()
        case "memory":
            return imported, reader.memory()
        case "table":
            reader.value_type()
            reader.memory()
        case "global":
            reader.value_type()
            reader.byte()
        case "tag":
            reader.byte()
            reader.unsigned()
    return imported, None


def _join(raw: _RawSections) -> Sections:
    def signature(index: int) -> str:
        if index >= len(raw.types) or not raw.types[index]:
            raise DamagedModuleError(f"type {index} is not the type of a function")
        return raw.types[index]

    imports = [(imported, signature(detail) if isinstance(detail, int) else "") for imported, detail in raw.imports]
    return Sections(
        imports=imports,
        exports=raw.exports,
        functions=[text for imported, text in imports if imported.kind == "func"]
        + [signature(i) for i in raw.functions],
        memories=[detail for _, detail in raw.imports if isinstance(detail, Memory)] + raw.memories,
    )
