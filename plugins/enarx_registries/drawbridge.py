"""Drawbridge, Enarx's own registry (Drawbridge 0.4): slugs, and `drawbridge://HOST/USER/REPOSITORY:TAG`.

`drawbridge+http` asks for one without TLS. Nodes are put first, each after the directory that lists it, and the tag
last. Without a tag, a digest is looked for among the repository's tags.

Drawbridge keeps nothing beside a package. What is attached to one is a tree of its own, under a tag of this form, which
is a version so early that nobody is offered it, and which the commands do not list:

    0.0.0-attachment.xHEX.xHEX   digest of the package, and the first half of that of the tree
    KIND                         the one file of the tree: its content, under its media type
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import msgspec

from enarx_deploy import drawbridge_client, package_tree
from enarx_deploy import reference as references
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, PackageSource, Published
from enarx_deploy.protocols import (
    ATTACHMENT_LIMIT,
    ATTACHMENTS_LIMIT,
    Attachment,
    AttachmentKind,
    Progress,
    Registry,
    silent,
)
from enarx_deploy.reference import Reference
from enarx_drawbridge.client.errors import NotThere, Withdrawn
from enarx_drawbridge.directory_form import DIRECTORY_TYPE, Digests, Entry, directory_json, entry_of, media_type
from enarx_drawbridge.reading import ENTRY_TYPE, MAX_TAG, read_directory, read_tag

if TYPE_CHECKING:
    from enarx_drawbridge.client.connection import Connection

_KEEPS_API = "0.2.0"  # the version that a Keep speaks; later servers take it
_HTTPS = 443
_ATTACHED = "0.0.0-attachment."
_KINDS = get_args(AttachmentKind)
_TAGS_LIMIT = 10_000
_CHUNK = 1 << 20
_REPOSITORY = re.compile(r"[0-9A-Za-z]+/[0-9A-Za-z-]+")


class _Node(NamedTuple):
    """A node of a package that is published: a directory's bytes, or where a file is."""

    path: str
    entry: Entry
    content: bytes | Path

    def body(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


class _Found(NamedTuple):
    """A tag, or a tree without one: its path in the registry, its root, and why it was withdrawn, if it was."""

    path: str
    root: Entry
    tag: str
    yanked: str = ""


_OTHERS = "was it published by another tool?"


class Drawbridge:
    """Publishes nodes before the tag, and believes nothing that it fetches before it is checked."""

    name = "drawbridge"
    schemes: tuple[str, ...] = references.schemes("drawbridge")

    def publish(
        self,
        package: Package,
        reference: str,
        attachments: Sequence[Attachment] = (),
        progress: Progress = silent,
        created: int = 0,  # noqa: ARG002 — Drawbridge keeps no dates
    ) -> str:
        named = _parse(reference, for_a_tag=True)
        named.require(package.digest)
        nodes = _nodes(package)
        with _connected(named) as connection:
            for attachment in attachments:
                progress(f"attaching {attachment.kind}")
                _attach(connection, named, package.digest, attachment)
            _put_tree(connection, f"{named.path}/_tag/{named.tag}", nodes, progress)
        return str(named.pinned(package.digest))

    def fetch(self, reference: str, into: Path, progress: Progress = silent) -> Package:
        named = _parse(reference)
        with _connected(named) as connection:
            found = _find(connection, named)
            progress(f"fetching {named.path}:{found.tag}")
            files = _files(connection, found.path, found.root)
            return package_tree.lay_out(files, into, found.root.sha256, shown=str(named))

    def resolve(self, reference: str) -> Published:
        named = _parse(reference)
        with _connected(named) as connection:
            return _published(connection, named, _find(connection, named))

    def attachments(self, reference: str) -> list[Attachment]:
        named = _parse(reference)
        with _connected(named) as connection:
            digest = named.digest or _find(connection, named).root.sha256
            beginning = f"{_ATTACHED}x{digest.removeprefix('sha256:')}."
            tags = [tag for tag in _all_tags(connection, named) if tag.startswith(beginning)]
            return [_attachment(connection, named, tag) for tag in sorted(tags)[:ATTACHMENTS_LIMIT]]

    def source(self, reference: str) -> PackageSource:
        named = _parse(reference)
        if named.in_clear:
            raise UsageError(f"{reference} is spoken to in clear, and a Keep fetches by TLS", hint="have it serve TLS")
        if not named.digest:
            raise UsageError(f"{reference} does not say which package it is", hint=f"write {reference}@sha256:HEX")
        tag = named.tag or _tag_of(named)
        host, port = _address(named.host)
        path = f"/api/v{_KEEPS_API}/{named.path}/_tag/{tag}/tree"
        return PackageSource(host=host, port=port, path=path, roots=_roots())

    def tags(self, reference: str) -> list[str]:
        named = _parse(reference)
        with _connected(named) as connection:
            return _tags(connection, named)

    def search(self, place: str, words: Sequence[str]) -> Iterator[Published]:
        named = references.parse(place)
        with _connected(named) as connection:
            for one in _searched(connection, named, words):
                yield _published(connection, one, _find(connection, one))

    def yank(self, reference: str, reason: str) -> None:
        named = _parse(reference, for_a_tag=True)
        with _connected(named) as connection:
            connection.delete(f"{named.path}/_tag/{named.tag}", reason=reason)


def _parse(text: str, *, for_a_tag: bool = False) -> Reference:
    named = references.parse(text)
    if not named.host or not _REPOSITORY.fullmatch(named.path):
        raise UsageError(f"{text} does not name a repository", hint="write HOST/USER/REPOSITORY:TAG")
    if named.tag and not references.is_version(named.tag):
        raise UsageError(f"{text}: {named.tag} is not a version", hint="a tag is one such as 1.2.3")
    if not named.tag and (for_a_tag or not named.digest):
        raise UsageError(f"{text} has no tag", hint=f"write {named.place}:TAG, such as {named.place}:1.0.0")
    return named


def _with_tag(named: Reference, tag: str) -> Reference:
    return Reference(named.scheme, named.host, named.path, tag, "")


def _connected(named: Reference) -> contextlib.AbstractContextManager[Connection]:
    register = f"is the name right? `enarx-deploy repo register {named.host}/{named.path}` makes a repository"
    return drawbridge_client.connected(named.host, in_clear=named.in_clear, not_there=register)


def _find(connection: Connection, named: Reference) -> _Found:
    """What a reference names: by its tag, and the digest if it has one; or by the digest alone."""
    if not named.tag:
        return _by_digest(connection, named)
    path, yanked = f"{named.path}/_tag/{named.tag}", ""
    try:
        body, said = connection.get(path, MAX_TAG)
        root = read_tag(body, said.type)
    except Withdrawn as fault:
        if not named.digest:
            raise
        root, yanked = connection.head(f"{path}/tree"), fault.reason
    if named.digest and root.sha256 != named.digest:
        raise PackageError(
            f"{named.place} is {root.sha256}, not {named.digest}",
            hint="the registry has another package there: ask whoever published it",
        )
    return _Found(path, root, named.tag, yanked)


def _by_digest(connection: Connection, named: Reference) -> _Found:
    for tag in _tags(connection, named):
        found = _find(connection, _with_tag(named, tag))
        if found.root.sha256 == named.digest:
            return found
    raise NotPublished(f"no tag of {named.place} is the package {named.digest}", hint="name the tag too")


def _tag_of(named: Reference) -> str:
    """A tag that names the package of a digest, for a Keep asks by tags alone."""
    with _connected(named) as connection:
        return _by_digest(connection, named).tag


def _address(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    return ((name if colon else host).strip("[]"), int(port) if colon else _HTTPS)


def _roots() -> list[str]:
    """The only roots that are believed, as base64 of DER. Raises UsageError."""
    path = drawbridge_client.roots()
    if path is None:
        return []
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} is not a PEM file of certificates: {error}",
            hint="name a file of -----BEGIN CERTIFICATE----- blocks",
        ) from error
    return [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in found]


def _published(connection: Connection, named: Reference, found: _Found) -> Published:
    size = sum(entry.length for _, entry in _walk(connection, found.path, found.root))
    digest = found.root.sha256
    return Published(
        reference=str(named.pinned(digest)), digest=digest, size=size, tags=[found.tag], yanked=found.yanked
    )


def _searched(connection: Connection, named: Reference, words: Sequence[str]) -> Iterator[Reference]:
    """The tags of a repository; of a whole registry, or one user's part of it, if it can be asked for them."""
    if _REPOSITORY.fullmatch(named.path):
        found = [(named.path, tag) for tag in _tags(connection, named)]
    else:
        found = [(one.repository, one.tag) for one in connection.search(words)]
    for path, tag in found:
        here = not named.path or f"{path}/".startswith(f"{named.path.rstrip('/')}/")
        if here and not tag.startswith(_ATTACHED) and all(word in f"{path}:{tag}" for word in words):
            yield Reference(named.scheme, named.host, path, tag, "")


def _tags(connection: Connection, named: Reference) -> list[str]:
    return sorted(tag for tag in _all_tags(connection, named) if not tag.startswith(_ATTACHED))


def _all_tags(connection: Connection, named: Reference) -> list[str]:
    body, _ = connection.get(f"{named.path}/_tag")
    try:
        tags = msgspec.json.decode(body, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(
            f"{named.host} does not list tags as a Drawbridge does", hint="is it one? oci://HOST is an OCI registry"
        ) from error
    return [tag for tag in tags[:_TAGS_LIMIT] if references.is_version(tag)]


def _files(connection: Connection, path: str, root: Entry) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Every file of a tree and its content, as it comes."""
    for place, entry in _walk(connection, path, root):
        yield place, connection.chunks(f"{path}/tree/{place}", entry)


def _walk(connection: Connection, path: str, root: Entry) -> Iterator[tuple[str, Entry]]:
    """Every file of a tree; each directory is checked against the entry that names it."""
    if root.type != DIRECTORY_TYPE:
        raise PackageError(
            f"{path} is one file and no package: it has no manifest", hint="publish it with an Enarx.toml"
        )
    due, names = [("", root)], 0
    while due:
        place, entry = due.pop()
        if entry.type != DIRECTORY_TYPE:
            yield place, entry
            continue
        body = b"".join(connection.chunks(f"{path}/tree/{place}".rstrip("/"), _bounded(entry)))
        below = read_directory(body)
        names += len(below)
        if names > package_tree.NAMES_LIMIT or place.count("/") > package_tree.DEPTH_LIMIT:
            raise PackageError(f"{path} has too many files, or too deep: it is no package of ours", hint=_OTHERS)
        due += [(f"{place}/{name}".lstrip("/"), one) for name, one in sorted(below.items(), reverse=True)]


def _bounded(directory: Entry) -> Entry:
    if directory.length > package_tree.DIRECTORY_LIMIT:
        raise PackageError(
            f"a directory has {directory.length:,} bytes, and at most {package_tree.DIRECTORY_LIMIT:,} may be",
            hint=_OTHERS,
        )
    return directory


def _nodes(package: Package) -> list[_Node]:
    """The nodes of a package, each directory before what it lists. Raises PackageError if it is damaged."""
    root = Path(package.root)
    entries = {file.path: _Node(file.path, _entry(root / file.path), root / file.path) for file in package.files}
    nodes = _directory("", entries)
    if nodes[0].entry.sha256 != package.digest:
        raise PackageError(
            f"{root} is damaged: its digest is {nodes[0].entry.sha256}, not {package.digest}",
            hint="package it again: `enarx-deploy package --force`",
        )
    return nodes


def _directory(place: str, files: dict[str, _Node]) -> list[_Node]:
    """A directory and all below it; `files` are by their paths below it."""
    inside: dict[str, dict[str, _Node]] = {}
    entries: dict[str, Entry] = {}
    below: list[_Node] = []
    for path, node in files.items():
        name, _, rest = path.partition("/")
        if rest:
            inside.setdefault(name, {})[rest] = node
        else:
            entries[name] = node.entry
            below.append(node)
    for name, held in inside.items():
        nodes = _directory(f"{place}/{name}".lstrip("/"), held)
        entries[name] = nodes[0].entry
        below += nodes
    body = directory_json(entries)
    return [_Node(place, entry_of(body, DIRECTORY_TYPE), body), *below]


def _entry(path: Path) -> Entry:
    digests = Digests()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digests.update(chunk)
    return digests.entry(media_type(path.name))


def _put_tree(connection: Connection, path: str, nodes: Sequence[_Node], progress: Progress) -> None:
    """Put nodes and then the tag; where the tag is there already and names the same, nothing."""
    root = nodes[0].entry
    tag = json.dumps({"digest": root.digest, "length": root.length, "type": root.type}, separators=(",", ":")).encode()
    with contextlib.suppress(NotThere):
        if connection.get(path, MAX_TAG)[0] == tag:
            return
    for number, node in enumerate(nodes, 1):
        progress(f"putting {number} of {len(nodes)}: {node.path or 'the root'}")
        connection.put(f"{path}/tree/{node.path}".rstrip("/"), node.entry, node.body)
    connection.put_bytes(path, tag, ENTRY_TYPE)
    connection.head(path)  # a registry that has not all of it says so now


def _attach(connection: Connection, named: Reference, digest: str, attachment: Attachment) -> None:
    if len(attachment.content) > ATTACHMENT_LIMIT:
        raise PackageError(f"the {attachment.kind} is over {ATTACHMENT_LIMIT:,} bytes", hint="attach less")
    entry = entry_of(attachment.content, attachment.media_type)
    body = directory_json({attachment.kind: entry})
    root = entry_of(body, DIRECTORY_TYPE)
    tag = f"{_ATTACHED}x{digest.removeprefix('sha256:')}.x{root.hex[:32]}"
    nodes = [_Node("", root, body), _Node(attachment.kind, entry, attachment.content)]
    _put_tree(connection, f"{named.path}/_tag/{tag}", nodes, silent)


def _attachment(connection: Connection, named: Reference, tag: str) -> Attachment:
    path = f"{named.path}/_tag/{tag}"
    body, said = connection.get(path, MAX_TAG)
    files = list(_walk(connection, path, read_tag(body, said.type)))
    if len(files) != 1 or files[0][0] not in _KINDS or files[0][1].length > ATTACHMENT_LIMIT:
        raise PackageError(f"{named.host}/{named.path}:{tag} is no attachment", hint="yank that tag")
    kind, entry = files[0]
    content = b"".join(connection.chunks(f"{path}/tree/{kind}", entry))
    return msgspec.convert({"kind": kind, "media_type": entry.type, "content": content}, Attachment)


@hookimpl
def register_registries() -> Iterable[Registry]:
    return [Drawbridge()]
