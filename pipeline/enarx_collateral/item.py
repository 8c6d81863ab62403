"""What a store holds, by name: a table of kinds, and for each kind what makes an item's key.

| kind | key | what |
|---|---|---|
| `vcek` | line, chip (hexadecimal), TCB | the key of a chip at one patch level (AMD 57230) |
| `vlek` | line, TCB, digest of the public key | a key that AMD lends to a cloud provider |
| `amd-chain` | line, `vcek` or `vlek` | the issuers of such keys, in PEM |
| `amd-crl` | line, `vcek` or `vlek` | the root's revocation list, from either address of AMD's |
| `tcb-info` | `sgx` or `tdx`, FMSPC | Intel's TCB levels for a family of platforms |
| `qe-identity` | `sgx` or `tdx` | Intel's quoting enclave |
| `pck-crl` | `platform` or `processor` | the revocation list of a PCK CA |
| `root-crl` | `intel` | the revocation list of Intel's root |
| `cca-key` | digest of the public key | the public key of an Arm CCA platform |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Final

import msgspec

from enarx_attestation.amd_products import LINES, ProductLine

_PART: Final = re.compile(r"[a-z0-9][a-z0-9.]{0,191}")
"""Of a key: never a separator, nor a name that leads upward."""
_SIZES: Final = {
    "vcek": 3,
    "vlek": 3,
    "amd-chain": 2,
    "amd-crl": 2,
    "tcb-info": 2,
    "qe-identity": 1,
    "pck-crl": 1,
    "root-crl": 1,
    "cca-key": 1,
}
"""Parts of a key, by kind."""
_SHOWN_HEX: Final = 16
"""Characters of a long identity that are enough to recognise it."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

KINDS: Final = tuple(_SIZES)
KEPT_FOR_GOOD: Final = frozenset({"vcek", "vlek", "cca-key", "amd-chain"})
"""Kinds that are not asked for again once they are there and valid: a patch level's key does not change."""


class Item(msgspec.Struct, frozen=True, order=True):
    """The name of one piece of collateral. Raises ValueError for an unknown kind or a key that is none."""

    kind: str
    key: tuple[str, ...]

    def __post_init__(self) -> None:
        if _SIZES.get(self.kind) != len(self.key) or not all(_PART.fullmatch(part) for part in self.key):
            raise ValueError(f"{self.kind!r} {self.key!r} names no collateral")

    @property
    def path(self) -> str:
        """Of its entry below the directory of entries."""
        return "/".join((self.kind, *self.key)) + ".json"

    def __str__(self) -> str:
        """In words."""
        return _WORDS[self.kind](*(part if len(part) <= 2 * _SHOWN_HEX else _cut(part) for part in self.key))


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of an item: where its bytes are, and from when to when they hold."""

    item: Item
    sha256: Digest
    size: Size
    not_before: Time
    not_after: Time
    order: tuple[int, int]
    """Grows from each issue of an item to the next; the store never goes back in any of these numbers."""
    chain_sha256: Digest | None = None
    """Of Intel's statements and PCK lists: the issuers, in PEM."""
    chain_size: Size = 0

    def current_at(self, at: datetime) -> bool:
        """Whether `at` is within the window, bounds included."""
        return self.not_before <= at <= self.not_after

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests of everything that the entry needs."""
        return (self.sha256,) if self.chain_sha256 is None else (self.sha256, self.chain_sha256)


def tcb_text(line: ProductLine, components: dict[str, int]) -> str:
    """A patch level as it stands in a key: `bl4.tee0.snp24.ucode219`."""
    return ".".join(f"{name}{components[name]}" for name in line.tcb if name)


def product_line(name: str) -> ProductLine:
    """A line of AMD's by its name. Raises ValueError if there is none."""
    if name not in LINES:
        raise ValueError(f"{name!r} is no product line: {', '.join(sorted(LINES))}")
    return LINES[name]


def vcek(line: str, chip: str, tcb: str) -> Item:
    """The key of a chip. Raises ValueError if the three do not fit the line."""
    found = product_line(line)
    if not re.fullmatch(rf"[0-9a-f]{{{2 * found.chip_id_size}}}", chip):
        raise ValueError(f"a chip of {line} has {found.chip_id_size} bytes in hexadecimal")
    levels(line, tcb)
    return Item("vcek", (line, chip, tcb))


def levels(line: str, tcb: str) -> tuple[tuple[str, int], ...]:
    """The components of a patch level's text, in the line's order. Raises ValueError if it is not one of the line."""
    names = [name for name in LINES[line].tcb if name]
    found = re.fullmatch(r"\.".join(rf"{name}([0-9]{{1,3}})" for name in names), tcb)
    if found is None or any(int(value) > 255 for value in found.groups()):
        raise ValueError(f"{tcb!r} is no TCB of {line}, such as {'.'.join(name + '0' for name in names)}")
    return tuple(zip(names, map(int, found.groups()), strict=True))


def command(items: Iterable[Item]) -> str:
    """The command that fetches these items; empty if a vendor gives none of them to everyone."""
    words: dict[str, str] = {}
    for item in items:
        if item.kind in _OPTIONS:
            words |= _OPTIONS[item.kind](*item.key)
    options = " ".join(f"--{name} {words[name]}".rstrip() for name in _ORDER if name in words)
    return f"enarx-deploy collateral fetch {options}" if options else ""


def _role_options(line: str, role: str) -> dict[str, str]:
    return {"product": line, "vlek": ""} if role == "vlek" else {"product": line}


def _cut(part: str) -> str:
    return part if "." in part else part[:_SHOWN_HEX] + "…"


_WORDS: Final[dict[str, Callable[..., str]]] = {
    "vcek": lambda line, chip, tcb: f"VCEK of {line} chip {chip} at {tcb}",
    "vlek": lambda line, tcb, key: f"VLEK of {line} at {tcb}, key {key}",
    "amd-chain": lambda line, role: f"{role.upper()} issuers of {line}",
    "amd-crl": lambda line, role: f"revocation list of {line} ({role})",
    "tcb-info": lambda tee, fmspc: f"TCB info of {tee} for FMSPC {fmspc}",
    "qe-identity": lambda tee: f"QE identity of {tee}",
    "pck-crl": lambda ca: f"revocation list of the PCK {ca} CA",
    "root-crl": lambda vendor: f"revocation list of {vendor.capitalize()}'s root",
    "cca-key": lambda key: f"CCA platform key {key}",
}
_OPTIONS: Final[dict[str, Callable[..., dict[str, str]]]] = {
    "vcek": lambda line, chip, tcb: {"product": line, "chip": chip, "tcb": tcb},
    "amd-chain": lambda line, role: _role_options(line, role),
    "amd-crl": lambda line, role: _role_options(line, role),
    "tcb-info": lambda tee, fmspc: {"fmspc": fmspc, "tee": tee},
    "qe-identity": lambda tee: {"tee": tee},
    "pck-crl": lambda ca: {"ca": ca},
    "root-crl": lambda _: {"ca": "platform"},
}
"""Options of `collateral fetch`. Intel's root list comes with that of any PCK CA."""
_ORDER: Final = ("product", "vlek", "chip", "tcb", "fmspc", "tee", "ca")
