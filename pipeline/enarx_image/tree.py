"""The root of a Keep's machine: which files, from where, in which form. Order plays no part: see `cpio`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import lzma
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

from enarx_image import cpio, elf
from enarx_image.contents import contents
from enarx_image.errors import MissingInput, WrongInput
from enarx_image.pins import Installed
from enarx_image.unpacked import LIBRARIES, Unpacked

_STANDARD = "usr/lib/python3.13"
_OWN = "usr/lib/keep"
_MODULES = "usr/lib/modules"
_INIT = f"""#!/usr/bin/python3.13 -ISB
import sys
sys.path.append("/{_OWN}")
from enarx_keep.machine import main
main()
"""
_OURS = "enarx-deploy"


def entries(unpacked: Unpacked) -> list[cpio.Entry]:
    """Everything but the directories. Raises ImageError."""
    found = [
        cpio.file("init", _INIT.encode(), _OURS, executable=True),
        cpio.device("dev/console", 5, 1, 0o600),
        cpio.device("dev/null", 1, 3, 0o666),
        *(cpio.directory(name) for name in ("proc", "sys")),
        cpio.link("lib64/ld-linux-x86-64.so.2", f"../{LIBRARIES}/ld-linux-x86-64.so.2", "libc6"),
        *_libraries(unpacked),
        *_kernel_modules(unpacked),
        *_python(unpacked),
    ]
    _check_links(found)
    return found


def _libraries(unpacked: Unpacked) -> Iterator[cpio.Entry]:
    for paths in contents().files.values():
        for path in paths:
            real = str((unpacked.root / path).resolve().relative_to(unpacked.root.resolve()))
            yield cpio.file(path, unpacked.read(path), unpacked.owner.get(real, ""), executable=True)


def _kernel_modules(unpacked: Unpacked) -> Iterator[cpio.Entry]:
    """The listed modules, unpacked, and their order, in which each must come behind those that it depends on."""
    loaded: list[str] = []
    for name in contents().kernel.all:
        path = unpacked.find(f"usr/lib/modules/*/kernel/**/{name}.ko.xz")
        module = lzma.decompress(unpacked.read(path))
        depends = elf.module_information(module, name).get("depends", "")
        missing = {one for one in depends.split(",") if one} - {other.replace("-", "_") for other in loaded}
        if missing:
            raise WrongInput(
                f"the kernel module {name} depends on {', '.join(sorted(missing))}",
                hint="list that before it in contents.toml",
            )
        loaded.append(name)
        yield cpio.file(f"{_MODULES}/{name}.ko", module, unpacked.owner[path])
    for order, names in (("order", contents().kernel.modules), ("vsock", contents().kernel.vsock)):
        yield cpio.file(f"{_MODULES}/{order}", "".join(f"{name}\n" for name in names).encode(), _OURS)


def _python(unpacked: Unpacked) -> Iterator[cpio.Entry]:
    """The standard library's part and the distributions that are installed here, as code of the image's interpreter."""
    sources: list[tuple[str, bytes, str]] = []
    for name in contents().python.modules:
        path = _source_of(unpacked, name)
        sources.append((path, unpacked.read(path), unpacked.owner[path]))
    for name in contents().python.extensions:
        path = unpacked.find(f"{_STANDARD}/lib-dynload/{name}.cpython-*.so")
        yield cpio.file(path, unpacked.read(path), unpacked.owner[path])
    for distribution in contents().installed:
        origin = f"{distribution} {metadata.version(distribution)}"
        for path, content in installed(distribution).items():
            if path.endswith(".py"):
                sources.append((f"{_OWN}/{path}", content, origin))
            else:
                yield cpio.file(f"{_OWN}/{path}", unpacked.strip(content), origin)
    yield from _compiled(unpacked, sources)
    # By this folder's name the Keep finds which wasmtime it runs.
    yield cpio.directory(f"{_OWN}/wasmtime-{metadata.version('wasmtime')}.dist-info")


def _source_of(unpacked: Unpacked, module: str) -> str:
    path = f"{_STANDARD}/{module.replace('.', '/')}"
    return f"{path}/__init__.py" if f"{path}/__init__.py" in unpacked.owner else f"{path}.py"


def _compiled(unpacked: Unpacked, sources: Iterable[tuple[str, bytes, str]]) -> Iterator[cpio.Entry]:
    listed = list(sources)
    asked = json.dumps([(f"/{path}c", source.decode()) for path, source, _ in listed])
    made = unpacked.compile(asked.encode())
    for path, _, origin in listed:
        size = int.from_bytes(made[:4], "big")
        yield cpio.file(f"{path}c", made[4 : 4 + size], origin)
        made = made[4 + size :]


def installed(distribution: str) -> dict[str, bytes]:
    """The files of a distribution that go into the image, by their paths there. Raises MissingInput."""
    found: dict[str, bytes] = {}
    for folder in contents().installed[distribution]:
        left_out = contents().left_out.get(folder, ())
        for file in sorted(_folder(folder).iterdir()):
            if file.suffix in (".py", ".so") and file.name not in left_out:
                # The extension fits every interpreter from 3.11 on, whichever it was built by.
                name = "_native.abi3.so" if file.name.startswith("_native.") else file.name
                found[f"{folder}/{name}"] = file.read_bytes()
    return found


def _folder(name: str) -> Path:
    package, *rest = PurePosixPath(name).parts
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingInput(f"the package {package} is not installed", hint="install enarx-deploy whole")
    place = Path(spec.origin).parent.joinpath(*rest)
    if not place.is_dir():
        raise MissingInput(f"{place} is not there", hint="an image is built on x86-64, with what its wheels bring")
    return place


def digest_of(files: dict[str, bytes]) -> str:
    """SHA-256 (hex) over a line for each file, sorted by path: its SHA-256 in hexadecimal, a space and its path."""
    lines = (f"{hashlib.sha256(content).hexdigest()} {path}\n" for path, content in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_installed(pin: Installed) -> None:
    """That a distribution is installed as it is pinned. Raises MissingInput, WrongInput."""
    try:
        version = metadata.version(pin.name)
    except metadata.PackageNotFoundError as error:
        raise MissingInput(f"{pin.name} is not installed", hint=f"pip install '{pin.name}=={pin.version}'") from error
    if version != pin.version:
        raise WrongInput(
            f"{pin.name} {version} is installed, and {pin.version} is pinned",
            hint=f"pip install '{pin.name}=={pin.version}', or pin what is here with `enarx-deploy image lock`",
        )
    if digest_of(installed(pin.name)) != pin.sha256:
        raise WrongInput(
            f"the files of {pin.name} {version} are not those that are pinned",
            hint=f"pip install --force-reinstall '{pin.name}=={pin.version}'",
        )


def _check_links(found: Iterable[cpio.Entry]) -> None:
    """That every library which a file asks for is there, in a version that has what it asks for. Raises WrongInput."""
    asked = {entry.path: elf.links(entry.content, entry.path) for entry in found if entry.content[:4] == elf.MAGIC}
    there = {PurePosixPath(path).name: link.defined for path, link in asked.items() if not path.startswith(_MODULES)}
    for path, link in sorted(asked.items()):
        for library in sorted(link.needed - there.keys()):
            raise WrongInput(f"{path} needs {library}, which the image does not have")
        for library, version in sorted(link.versions):
            if version not in there[library]:
                raise WrongInput(
                    f"{path} needs {version} of {library}, which the pinned one does not have",
                    hint="it was built on a newer system than the image is made of: build it on an older one",
                )
