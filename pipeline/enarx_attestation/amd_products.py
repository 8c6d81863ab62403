"""AMD's product lines as data: a new line is a new row here and a root in `amd_roots`.

Component names are those of the certificate extensions: `bl` boot loader, `tee` operating system of the security
processor, `snp` firmware, `ucode` microcode, `fmc` first mutable code. VCEK certificate specification, section 3.1.
"""

from __future__ import annotations

from typing import Final

import msgspec

Tcb = dict[str, int]


class ProductLine(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between lines."""

    name: str
    products: frozenset[str]
    """Names in the certificates' productName extension, without the stepping."""
    models: tuple[tuple[int, int, int], ...]
    """Family, first model, last model; from CPUID Fn0000_0001."""
    tcb: tuple[str, ...]
    """The component in each byte of a TCB_VERSION, from the lowest; empty where the byte is reserved."""
    chip_id_size: int
    """Bytes of the chip's identity; the rest of CHIP_ID is zero."""


_ZEN3_TCB = ("bl", "tee", "", "", "", "", "snp", "ucode")

LINES: Final = {
    line.name: line
    for line in (
        ProductLine(
            name="milan", products=frozenset({"Milan"}), models=((0x19, 0x00, 0x0F),), tcb=_ZEN3_TCB, chip_id_size=64
        ),
        ProductLine(
            name="genoa",
            products=frozenset({"Genoa", "Siena", "Bergamo"}),
            models=((0x19, 0x10, 0x1F), (0x19, 0xA0, 0xAF)),
            tcb=_ZEN3_TCB,
            chip_id_size=64,
        ),
        ProductLine(
            name="turin",
            products=frozenset({"Turin"}),
            models=((0x1A, 0x00, 0x1F),),
            tcb=("fmc", "bl", "tee", "snp", "", "", "", "ucode"),
            chip_id_size=8,
        ),
    )
}


def line_of_cpu(family: int, model: int) -> str | None:
    """The name of the line to which a processor belongs."""
    for line in LINES.values():
        if any(family == wanted and first <= model <= last for wanted, first, last in line.models):
            return line.name
    return None


def line_of_product(product: str) -> str | None:
    """The name of the line that a certificate's product name (`Milan-B0`, `Turin`) belongs to."""
    return next((line.name for line in LINES.values() if product.partition("-")[0] in line.products), None)


def tcb_components(line: ProductLine, raw: bytes) -> Tcb:
    """The components of a TCB_VERSION of 8 bytes."""
    return {name: raw[index] for index, name in enumerate(line.tcb) if name}


def reserved_zero(line: ProductLine, raw: bytes) -> bool:
    """Whether the reserved bytes of a TCB_VERSION are zero."""
    return all(raw[index] == 0 for index, name in enumerate(line.tcb) if not name)


def at_least(tcb: Tcb, minimum: Tcb) -> bool:
    """Whether each component is at least its minimum; a component that the line lacks is below any minimum."""
    return all(tcb.get(name, -1) >= value for name, value in minimum.items())


def show(tcb: Tcb) -> str:
    """`bl 4 tee 0 snp 24 ucode 219`."""
    return " ".join(f"{name} {value}" for name, value in tcb.items())
