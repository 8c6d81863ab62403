"""What shared libraries and programs ask of each other, and what kernel modules say of themselves."""

from __future__ import annotations

import io
from typing import NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection

from enarx_image.errors import WrongInput

MAGIC = b"\x7fELF"


class Links(NamedTuple):
    """The libraries that a file needs by name, the versions that it needs of each, and those that it has itself."""

    needed: frozenset[str]
    versions: frozenset[tuple[str, str]]
    defined: frozenset[str]


def links(content: bytes, name: str) -> Links:
    """See `Links`. Raises WrongInput."""
    try:
        sections = list(ELFFile(io.BytesIO(content)).iter_sections())
    except ELFError as error:
        raise WrongInput(f"{name} is no ELF file that can be read: {error}") from error
    needed, versions, defined = set[str](), set[tuple[str, str]](), set[str]()
    for section in sections:
        if isinstance(section, DynamicSection):
            needed |= {vars(tag)["needed"] for tag in section.iter_tags() if tag.entry.d_tag == "DT_NEEDED"}
        elif isinstance(section, GNUVerNeedSection):
            versions |= {(str(need.name), str(one.name)) for need, each in section.iter_versions() for one in each}
        elif isinstance(section, GNUVerDefSection):
            defined |= {str(one.name) for _, each in section.iter_versions() for one in each}
    return Links(frozenset(needed), frozenset(versions), frozenset(defined))


def module_information(content: bytes, name: str) -> dict[str, str]:
    """What a kernel module says of itself (section `.modinfo`). Raises WrongInput."""
    try:
        section = ELFFile(io.BytesIO(content)).get_section_by_name(".modinfo")
    except ELFError as error:
        raise WrongInput(f"{name} is no kernel module that can be read: {error}") from error
    text = b"" if section is None else section.data()
    return dict(line.decode(errors="replace").split("=", 1) for line in text.split(b"\0") if b"=" in line)
