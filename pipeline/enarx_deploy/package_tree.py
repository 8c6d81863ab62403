"""A package: the tree that a Keep runs and that attestation speaks about, named by its digest.

What lies in a tree, by one rule for whoever makes it and for the Keep that reads it:

- `main.wasm`: the module.
- `Enarx.toml`: the manifest, as it was after overrides.
- `assets/PATH`: the file or folder of the `[[package.assets]]` entry whose `guest` is `/PATH`; what has the guest
  path `/` is a folder and fills `assets` itself.
- `compiled/NAME`: the module as compiled for a wasmtime and a processor that the name tells, if it was asked for.
- `roots/NAME`: each PEM file that a `roots` of `[tls.SOCKET]` names, under its own file name.

The digest of a package is the SHA-256 of its root directory in Drawbridge's form (`enarx_drawbridge.directory_form`).

A directory that holds no file is not part of a package.

Invariants, on making, copying and reading: a tree holds regular files and directories alone; a name is 1 to 255 of
`[0-9A-Za-z._:-]` and neither `.` nor `..`; no two names in a directory differ in case alone; sizes, depth and count
keep the limits below. Every file is opened without following a link and read once: what was hashed is what was written.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from enarx_deploy import plain_files, staging
from enarx_deploy.errors import PackageError
from enarx_deploy.models import Module, Package, PackageFile
from enarx_deploy.wasm import MODULE_LIMIT
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Digests, Entry, directory_json, entry_of, media_type

if TYPE_CHECKING:
    from enarx_deploy.project import Project

MODULE = "main.wasm"
MANIFEST = "Enarx.toml"
ASSETS = "assets"
ROOTS = "roots"
COMPILED = "compiled"

# In bytes; the first two are Enarx's own, as is that of the module.
MANIFEST_LIMIT = 1_000_000
DIRECTORY_LIMIT = 1_000_000
ROOTS_LIMIT = 1_000_000
TOTAL_LIMIT = 4_000_000_000

NAMES_LIMIT = 10_000  # files and directories
DEPTH_LIMIT = 32

_Place: TypeAlias = tuple[str, ...]
_Tree: TypeAlias = "dict[str, Entry | _Tree]"

_LIMITS: dict[_Place, int] = {(MODULE,): MODULE_LIMIT, (MANIFEST,): MANIFEST_LIMIT}
_TOP = {MODULE: "file", MANIFEST: "file", ASSETS: "directory", ROOTS: "directory", COMPILED: "directory"}
_NAME = re.compile(r"[0-9A-Za-z._:-]{1,255}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SMALLER = "package less: large data is better fetched by the workload itself, and checked against a digest"
_OWN_PLACE = "give each [[package.assets]] its own guest path, and each file in `roots` its own name"


def build(project: Project, module: Module | bytes) -> Package:
    """Lay out a project's package under `.enarx/packages/DIGEST`; `module` may be its content. Raises PackageError."""
    with _new_tree(project.work_dir / "packages") as (tree, root):
        if isinstance(module, bytes):
            tree.add_bytes(module, MODULE, (MODULE,))
        else:
            _add_module(tree, module)
        if project.manifest.package.aot:
            _add_compiled(tree, project, module)
        tree.add_bytes(project.manifest_text, MANIFEST, (MANIFEST,))
        for asset in project.manifest.package.assets:
            _add_asset(tree, project, asset.source, asset.guest)
        for source in _root_files(project):
            _add_roots(tree, project, source)
        return _settle(tree.package(root))


def read(root: Path, digest: str = "") -> Package:
    """The package whose tree is `root`, every file of it hashed.

    With `digest`, or where the directory is named by one, it must be that package. Raises PackageError.
    """
    tree = _TreeBuilder(None)
    _add_package(tree, root)
    named = f"sha256:{root.name}"
    return tree.package(root, digest or (named if _DIGEST.fullmatch(named) else ""))


def is_package(directory: Path) -> bool:
    """Whether this looks like a package's tree rather than a project: a module, a manifest, and nothing foreign."""
    names = {path.name for path in directory.iterdir()}
    return {MODULE, MANIFEST} <= names <= _TOP.keys()


def copy(source: Path, into: Path, digest: str = "") -> Package:
    """Copy a package's tree to `into/DIGEST`, all of it or nothing. With `digest`, only that package is taken.

    Raises PackageError.
    """
    with _new_tree(into) as (tree, root):
        _add_package(tree, source)
        return _settle(tree.package(root, digest))


def lay_out(
    files: Iterable[tuple[str, Iterable[bytes]]],
    into: Path,
    digest: str = "",
    shown: str = "it",
    listed: Mapping[str, Entry] | None = None,
) -> Package:
    """Lay a tree out in `into/DIGEST` from its files as they come: each one's path in the package, and its content.

    All of it or nothing; with `digest`, only that package is taken. `shown` is what messages call the source.
    `listed` are the entries that the files are said to have, by path: each file must have the SHA-256 that is listed,
    and with `digest` the tree of the listed entries must have that, so that nobody need be believed; the other digests
    of the files, which take long, are then not taken. Raises PackageError; what iterating raises goes through.
    """
    with _new_tree(into, listed if digest else None) as (tree, root):
        for path, chunks in files:
            place = tuple(path.split("/"))
            name = _printable(f"{shown}: {path}")
            _require_top(place[0], name, directory=len(place) > 1)
            tree.add_chunks(chunks, name, place)
        package = tree.package(root, digest)
        if package.module is None:
            raise PackageError(
                f"{shown} is not a package: it holds no {MODULE}", hint="was it published by another tool?"
            )
        return _settle(package)


def kept(into: Path, digest: str) -> Package | None:
    """The package that lies in `into` already, every file of it hashed; None where it does not, or is damaged."""
    place = into / digest.removeprefix("sha256:")
    try:
        return read(place, digest) if place.is_dir() else None
    except PackageError:
        return None


def _require_top(name: str, shown: str, *, directory: bool) -> None:
    if _TOP.get(name) != ("directory" if directory else "file"):
        raise PackageError(
            f"{shown} is not part of a package",
            hint=f"a package holds {MODULE}, {MANIFEST}, {ASSETS}/, {COMPILED}/ and {ROOTS}/",
        )


def _add_module(tree: _TreeBuilder, module: Module) -> None:
    with plain_files.opened(Path(module.path)) as descriptor:
        tree.add(descriptor, module.path, (MODULE,))
    if tree.files[0].sha256 != module.sha256:
        raise PackageError(
            f"{module.path} is not the module that was compiled", hint="it was changed since: build with --force"
        )


def _add_compiled(tree: _TreeBuilder, project: Project, module: Module | bytes) -> None:
    """Have the Keep's own program compile the module, in a process of its own."""
    with staging.directory(project.work_dir / "packages") as folder:
        path = folder / MODULE
        path.write_bytes(module if isinstance(module, bytes) else Path(module.path).read_bytes())
        words = [sys.executable, "-P", "-m", "enarx_keep.ahead_of_time", str(path), str(folder)]
        options = ["--deadline"] if project.manifest.resources.has_deadline else []
        ended = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise PackageError(
                f"the module cannot be compiled ahead of time: {ended.stderr.strip()}",
                hint="leave out --aot, or `aot` in [package]",
            )
        name = ended.stdout.strip()
        with plain_files.opened(folder / name) as descriptor:
            tree.add(descriptor, name, (COMPILED, name))


def _add_asset(tree: _TreeBuilder, project: Project, source: str, guest: str) -> None:
    place = (ASSETS, *PurePosixPath(guest).parts[1:])
    with plain_files.opened_below(project.root, source) as descriptor:
        if place == (ASSETS,) and not plain_files.is_directory(descriptor):
            raise PackageError(f"{source} is a file, and the guest path / is a folder", hint="name it: guest = '/NAME'")
        tree.add(descriptor, source, place)


def _root_files(project: Project) -> list[str]:
    """The PEM files that `[tls]` names, each once and in a fixed order."""
    named = {root for table in project.manifest.tls.values() for root in table.roots}
    return sorted(named - {"system", "steward"})


def _add_roots(tree: _TreeBuilder, project: Project, source: str) -> None:
    with plain_files.opened_below(project.root, source) as descriptor:
        plain_files.require_file(descriptor, source)
        data = b"".join(plain_files.chunks(descriptor, source, ROOTS_LIMIT))
    if b"PRIVATE KEY-----" in data:
        raise PackageError(
            f"{source} holds a private key, and a package is public",
            hint="name a PEM file that holds nothing but the certificates to trust",
        )
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise PackageError(f"{source} holds no certificate", hint="name a PEM file with the certificates to trust")
    tree.add_bytes(data, source, (ROOTS, PurePosixPath(source).name))


def _add_package(tree: _TreeBuilder, root: Path) -> None:
    with plain_files.opened(root) as descriptor:
        if not plain_files.is_directory(descriptor):
            raise PackageError(f"{root} is not a directory", hint="name the directory that holds main.wasm")
        names = plain_files.names(descriptor, str(root), NAMES_LIMIT)
        if MODULE not in names:
            raise PackageError(f"{root} is not a package: it holds no {MODULE}", hint=_hint_for(root, names))
        for name in names:
            _add_top(tree, descriptor, root, name)


def _hint_for(root: Path, names: list[str]) -> str:
    """What to name in the place of a directory with these names."""
    if MANIFEST in names:
        return f"it is a project: `enarx-deploy -C {root} package` makes its package"
    return "name a package's directory"


def _add_top(tree: _TreeBuilder, directory: int, root: Path, name: str) -> None:
    shown = _printable(f"{root}/{name}")
    with plain_files.opened_in(directory, name, shown) as descriptor:
        _require_top(name, shown, directory=plain_files.is_directory(descriptor))
        tree.add(descriptor, shown, (name,))


class _TreeBuilder:
    """A tree that grows file by file. It is written to `root`, or only hashed where that is None."""

    def __init__(self, root: Path | None, listed: Mapping[str, Entry] | None = None) -> None:
        self.files: list[PackageFile] = []
        self._root = root
        self._listed = listed
        self._tree: _Tree = {}
        self._size = 0
        self._names: dict[str, _Place] = {}

    def add(self, descriptor: int, shown: str, place: _Place) -> None:
        """Add an opened file, or a directory with all below it. `shown` is its path in messages."""
        if plain_files.is_directory(descriptor):
            self._add_directory(descriptor, shown, place)
        else:
            self._add_file(plain_files.chunks(descriptor, shown, _LIMITS.get(place, TOTAL_LIMIT)), shown, place)

    def add_chunks(self, chunks: Iterable[bytes], shown: str, place: _Place) -> None:
        """Add a file whose content comes from elsewhere."""
        self._add_file(_bounded(chunks, shown, _LIMITS.get(place, TOTAL_LIMIT)), shown, place)

    def add_bytes(self, data: bytes, shown: str, place: _Place) -> None:
        """Add a file with this content."""
        if len(data) > _LIMITS.get(place, TOTAL_LIMIT):
            raise PackageError(f"{shown} is larger than {_LIMITS[place]:,} bytes", hint=_SMALLER)
        self._add_file([data], shown, place)

    def package(self, root: Path, digest: str = "") -> Package:
        """The record of the tree, which lies in `root`. With `digest`, it must have it."""
        found = _fold(self._tree, str(root)).sha256
        if digest and found != digest:
            raise PackageError(
                f"{root} is damaged, or another package: its digest is {found}, not {digest}",
                hint="remove it, then make or fetch the package again",
            )
        files = sorted(self.files, key=lambda file: file.path)
        return Package(digest=found, root=str(root.absolute()), size=self._size, files=files)

    def _add_directory(self, descriptor: int, shown: str, place: _Place) -> None:
        _require_depth(place, shown)
        for name in plain_files.names(descriptor, shown, NAMES_LIMIT):
            child_shown = _printable(f"{shown}/{name}")
            with plain_files.opened_in(descriptor, name, child_shown) as child:
                self.add(child, child_shown, (*place, name))

    def _add_file(self, chunks: Iterable[bytes], shown: str, place: _Place) -> None:
        directory = self._directory(place[:-1], shown)
        _require_name(place[-1], shown)
        if place[-1] in directory:
            raise PackageError(
                f"{shown} would lie where {'/'.join(place)} of the package lies already", hint=_OWN_PLACE
            )
        self._count(place, shown)
        entry = self._write(chunks, shown, place)
        directory[place[-1]] = entry
        self.files.append(
            PackageFile(
                path="/".join(place), sha256=entry.sha256, size=entry.length, type=entry.type, digests=entry.digest
            )
        )

    def _directory(self, place: _Place, shown: str) -> _Tree:
        _require_depth(place, shown)
        tree = self._tree
        for depth, name in enumerate(place):
            _require_name(name, shown)
            if name not in tree:
                self._count(place[: depth + 1], shown)
                tree[name] = {}
            below = tree[name]
            if isinstance(below, Entry):
                raise PackageError(f"{shown} would lie below {name}, which is a file of the package", hint=_OWN_PLACE)
            tree = below
        if self._root is not None:
            self._root.joinpath(*place).mkdir(parents=True, exist_ok=True)
        return tree

    def _count(self, place: _Place, shown: str) -> None:
        """Take a new name into account; two that differ in case alone would be one file on some machines."""
        other = self._names.setdefault("/".join(place).lower(), place)
        if other != place:
            raise PackageError(f"{shown} differs from {'/'.join(other)} in upper and lower case alone", hint=_OWN_PLACE)
        if len(self._names) > NAMES_LIMIT:
            raise PackageError(f"with {shown} the package is over {NAMES_LIMIT:,} files and folders", hint=_SMALLER)

    def _write(self, chunks: Iterable[bytes], shown: str, place: _Place) -> Entry:
        digests = Digests() if self._listed is None else Digests("sha-256")
        with contextlib.ExitStack() as stack:
            file = None if self._root is None else stack.enter_context(self._root.joinpath(*place).open("xb"))
            for chunk in chunks:
                self._size += len(chunk)
                if self._size > TOTAL_LIMIT:
                    raise PackageError(f"with {shown} the package is over {TOTAL_LIMIT:,} bytes", hint=_SMALLER)
                digests.update(chunk)
                if file is not None:
                    file.write(chunk)
        entry = digests.entry(media_type(place[-1]))
        return entry if self._listed is None else _as_listed(entry, self._listed.get("/".join(place)), shown)


def _as_listed(entry: Entry, listed: Entry | None, shown: str) -> Entry:
    """The entry that a file is said to have, if its content is the one that is listed."""
    if listed is None or (listed.sha256, listed.length, listed.type) != (entry.sha256, entry.length, entry.type):
        raise PackageError(f"{shown} is damaged: it is not what the package lists", hint="fetch or publish it again")
    return listed


def _bounded(chunks: Iterable[bytes], shown: str, limit: int) -> Iterator[bytes]:
    left = limit
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise PackageError(f"{shown} is larger than {limit:,} bytes", hint=_SMALLER)
        yield chunk


def _fold(tree: _Tree, shown: str) -> Entry:
    """The entry of a directory, made from the entries in it."""
    entries = {
        name: below if isinstance(below, Entry) else _fold(below, f"{shown}/{name}") for name, below in tree.items()
    }
    data = directory_json(entries)
    if len(data) > DIRECTORY_LIMIT:
        raise PackageError(
            f"{shown} holds too many names: its listing is over {DIRECTORY_LIMIT:,} bytes", hint=_SMALLER
        )
    return entry_of(data, DIRECTORY_TYPE)


@contextlib.contextmanager
def _new_tree(parent: Path, listed: Mapping[str, Entry] | None = None) -> Iterator[tuple[_TreeBuilder, Path]]:
    try:
        with staging.directory(parent) as root:
            yield _TreeBuilder(root, listed), root
    except OSError as error:
        long = error.errno == errno.ENAMETOOLONG
        raise PackageError(
            f"cannot lay the package out in {parent}: {error.strerror}",
            hint="put it into a folder with a shorter path" if long else "is there space, and may you write there?",
        ) from error


def _settle(package: Package) -> Package:
    """Move a new tree beside itself, to the directory that its digest names.

    A sound tree of that name is kept, and a damaged one replaced: the same digest is the same package.
    """
    new = Path(package.root)
    place = new.with_name(package.digest.removeprefix("sha256:"))
    if not _is_sound(place):
        _set_aside(place, new.with_name(f"{new.name}-damaged"))
        try:
            new.rename(place)
        except OSError:
            if not _is_sound(place):  # else another process was first
                raise
    return msgspec.structs.replace(package, root=str(place))


def _is_sound(place: Path) -> bool:
    try:
        read(place)
    except PackageError:
        return False
    return True


def _set_aside(damaged: Path, aside: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        damaged.rename(aside)
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _require_name(name: str, shown: str) -> None:
    if name in (".", "..") or not _NAME.fullmatch(name):
        raise PackageError(
            f"{shown}: {name!a} is not a name for a package",
            hint="use letters, digits and . _ : - in file names, at most 255",
        )


def _require_depth(directory: _Place, shown: str) -> None:
    if len(directory) > DEPTH_LIMIT:
        raise PackageError(f"{shown} lies deeper than {DEPTH_LIMIT} directories in the package", hint=_SMALLER)


def _printable(path: str) -> str:
    """A name found on disk may hold anything, a terminal's control sequences too."""
    return path if path.isprintable() else ascii(path)
