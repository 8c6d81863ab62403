"""What can be done with one repository of an OCI registry: blobs, manifests, tags and referrers, each checked.

Whatever is got by a digest is checked against it; where a tag is asked for, the registry's word is taken for what it
names, and for nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from enarx_deploy.errors import PackageError, RegistryError
from enarx_registries import oci_forms, oci_http
from enarx_registries.oci_forms import Blob, Descriptor, Manifest
from enarx_registries.oci_http import Answer, Body, Connection, Interrupted
from enarx_registries.transfer import CHUNK

BLOB_LIMIT = 4_400_000_000
"""Bytes of the largest blob that is read: a package's, and what its tar adds."""

_WHOLE = 16 << 20  # bytes of a blob that is sent in one piece
_PORTION = 64 << 20  # bytes that are sent at a time of a larger one
_REWRITES = 4
_PAGES = 50
_ENTRIES = 5_000
_LIST_PAGES = 500
_LIST_LIMIT = 16 << 20  # bytes of a list, whose pages come to no more
_MANIFESTS = f"{oci_forms.MANIFEST}, {oci_forms.INDEX}"
_NEXT = re.compile(r"<([^<>]+)>\s*;\s*rel=\"?next\"?")
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,12})")
_NUMBER = re.compile(r"[0-9]{1,12}")

Content = Callable[[int], Iterator[bytes]]
"""Makes the content of a blob, from an offset on."""


class _List(msgspec.Struct, frozen=True):
    tags: list[str] | None = None
    repositories: list[str] | None = None

    def named(self, key: str) -> list[str]:
        return getattr(self, key) or []


class Repository:
    """One repository, over one connection."""

    def __init__(self, connection: Connection, shown: str) -> None:
        self._connection = connection
        self._shown = shown

    def manifest(self, name: str) -> tuple[Manifest, Descriptor]:
        """The manifest of a tag or a digest. Raises NotPublished, PackageError."""
        answer = self._connection.ask("GET", self._connection.url(f"manifests/{name}"), headers={"Accept": _MANIFESTS})
        digest = oci_forms.digest_of(answer.body)
        if name.startswith("sha256:") and digest != name:
            raise PackageError(f"{self._shown}: the manifest {name} is damaged", hint="ask whoever runs the registry")
        media_type = answer.headers.get("content-type", oci_forms.MANIFEST)
        descriptor = Descriptor(media_type, digest, len(answer.body))
        return oci_forms.read_manifest(answer.body, f"{self._shown}: the manifest {name}"), descriptor

    def unchecked_blob(self, digest: str, limit: int = BLOB_LIMIT) -> Iterator[bytes]:
        """A blob as it comes, in large chunks, for whoever checks what becomes of it. Raises PackageError."""
        left = limit
        for chunk in _gathered(self._connection.blob(digest)):
            left -= len(chunk)
            if left < 0:
                raise PackageError(f"{self._shown}: a blob is over {limit:,} bytes: {digest}", hint="it is not fetched")
            yield chunk

    def blob(self, digest: str, limit: int = BLOB_LIMIT) -> Iterator[bytes]:
        """A blob as it comes; at its end it is what its digest says. Raises PackageError."""
        found = hashlib.sha256()
        for chunk in self.unchecked_blob(digest, limit):
            found.update(chunk)
            yield chunk
        if f"sha256:{found.hexdigest()}" != digest:
            raise PackageError(f"{self._shown}: the blob {digest} is damaged", hint="ask whoever runs the registry")

    def put_blob(self, blob: Descriptor, content: Content) -> None:
        """Store a blob, unless it is there.

        What was interrupted goes on where the registry says that it stands, else from the beginning. Some registries
        refuse what another publisher has stored meanwhile.
        """
        if self._has(f"blobs/{blob.digest}"):
            return
        upload = _Upload(self._connection, blob, content)
        for attempt in oci_http.attempts():
            with attempt:
                try:
                    upload.run()
                except RegistryError as error:
                    if isinstance(error, Interrupted) or not self._has(f"blobs/{blob.digest}"):
                        raise
                return

    def put_bytes(self, blob: Blob) -> None:
        """Store a blob that is held in memory, unless it is there."""
        self.put_blob(blob.descriptor, lambda offset: iter([blob.content[offset:]]))

    def put_manifest(self, blob: Blob, name: str = "") -> bool:
        """Store a manifest under a tag, else under its digest. Answers whether the registry lists it as a referrer."""
        answer = self._connection.ask(
            "PUT",
            self._connection.url(f"manifests/{name or blob.descriptor.digest}"),
            headers={"Content-Type": blob.descriptor.media_type, "Content-Length": str(len(blob.content))},
            body=lambda: [blob.content],
            accept=(200, 201, 202),
        )
        return "oci-subject" in answer.headers

    def tags(self) -> list[str]:
        """Every tag, in the registry's order. Raises NotPublished."""
        return self._listed(self._connection.url("tags/list?n=1000"), "tags")

    def repositories(self) -> list[str]:
        """Every repository of the registry. Raises RegistryError where it does not tell."""
        return self._listed(f"{self._connection.catalog}?n=1000", "repositories")

    def referrers(self, digest: str) -> list[Descriptor]:
        """What is said to refer to a manifest: by the registry, or under the tag that stands in for that."""
        url = self._connection.url(f"referrers/{digest}")
        found: list[Descriptor] = []
        for _ in range(_PAGES):
            answer = self._connection.ask("GET", url, accept=(200, 404))
            if answer.status == httpx.codes.NOT_FOUND:
                return found or self._fallback(digest)
            found += oci_forms.read_index(answer.body, f"{self._shown}: the referrers").manifests
            url = _next(answer)
            if not url or len(found) > _ENTRIES:
                break
        return found[:_ENTRIES]

    def refer(self, digest: str, referrers: list[tuple[Blob, str]]) -> None:
        """Add to the tag that stands in for the referrers of a manifest, where the registry has no list of its own.

        Each comes with the type of what it is an artifact of, which other tools look for in the list.
        """
        ours = [_entry(*one) for one in referrers]
        for _ in range(_REWRITES):  # somebody else may write at the same time: what is lost is written again
            there = self._fallback(digest)
            missing = [entry for entry in ours if entry.digest not in {one.digest for one in there}]
            if not missing:
                return
            data = oci_forms.index_json([*there, *missing])
            self.put_manifest(oci_forms.blob(oci_forms.INDEX, data), _fallback_tag(digest))

    def _fallback(self, digest: str) -> list[Descriptor]:
        url = self._connection.url(f"manifests/{_fallback_tag(digest)}")
        answer = self._connection.ask("GET", url, headers={"Accept": oci_forms.INDEX}, accept=(200, 404))
        if answer.status == httpx.codes.NOT_FOUND:
            return []
        return oci_forms.read_index(answer.body, f"{self._shown}: the referrers").manifests[:_ENTRIES]

    def _has(self, path: str) -> bool:
        answer = self._connection.ask("HEAD", self._connection.url(path), accept=(200, 404))
        return answer.status == httpx.codes.OK

    def _listed(self, url: str, key: str) -> list[str]:
        found: list[str] = []
        left = _LIST_LIMIT
        for _ in range(_LIST_PAGES):
            answer = self._connection.ask("GET", url)
            left -= len(answer.body)
            try:
                found += msgspec.json.decode(answer.body, type=_List).named(key)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise RegistryError(
                    f"{self._shown}: the registry's list of {key} is none", hint=oci_http.ASK
                ) from error
            url = _next(answer)
            if not url:
                return [name for name in found if name.isprintable()]
            if left < 0:
                break
        raise RegistryError(
            f"{self._shown}: the registry's list of {key} has no end after {_LIST_LIMIT - left:,} bytes",
            hint="name what you look for: `enarx-deploy info oci://HOST/REPOSITORY:TAG`",
        )


class _Upload:
    """The upload of one blob: a session of the registry, and how far it is."""

    def __init__(self, connection: Connection, blob: Descriptor, content: Content) -> None:
        self._connection = connection
        self._blob = blob
        self._content = content
        self._location = ""
        self._offset = 0
        self._least = 0

    def run(self) -> None:
        """Send what the registry does not have yet. Raises Interrupted where it is worth to be run again."""
        if self._location:
            self._resume()
        if not self._location:
            self._begin()
        if self._blob.size <= _WHOLE:
            location, self._location = self._location, ""  # sent in one piece, or anew
            self._finish(location, _Portions(self._content(0)), self._blob.size)
            return
        rest = _Portions(self._content(self._offset))
        while self._offset < self._blob.size:
            self._send(rest, min(max(_PORTION, self._least), self._blob.size - self._offset))
        self._finish(self._location, rest, 0)

    def _begin(self) -> None:
        url = self._connection.url("blobs/uploads/")
        begun = self._connection.ask("POST", url, headers={"Content-Length": "0"}, body=list, accept=(202,))
        self._location, self._offset = self._next(begun), 0
        least = begun.headers.get("oci-chunk-min-length", "")
        self._least = min(int(least), self._blob.size) if _NUMBER.fullmatch(least) else 0

    def _resume(self) -> None:
        """Ask how far the registry is; where it does not say, begin anew."""
        location, self._location = self._location, ""
        standing = self._connection.ask("GET", location, accept=(204, 400, 404, 416))
        found = _RANGE.fullmatch(standing.headers.get("range", ""))
        if standing.status == httpx.codes.NO_CONTENT and found and int(found[1]) < self._blob.size:
            self._location = self._next(standing) if "location" in standing.headers else location
            self._offset = int(found[1]) + 1 if int(found[1]) else 0

    def _send(self, rest: _Portions, count: int) -> None:
        end = self._offset + count
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(count),
            "Content-Range": f"{self._offset}-{end - 1}",
        }
        answer = self._once("PATCH", self._location, headers, lambda: rest.take(count))
        self._location, self._offset = self._next(answer), end

    def _finish(self, location: str, rest: _Portions, count: int) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(count)}
        url = f"{location}{'&' if '?' in location else '?'}digest={self._blob.digest}"
        self._once("PUT", url, headers, lambda: rest.take(count))

    def _once(self, method: str, url: str, headers: dict[str, str], body: Body) -> Answer:
        accept = (201, 202, 204, 416)
        answer = self._connection.ask(method, url, headers=headers, body=body, accept=accept, tries=1)
        if answer.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise Interrupted("the registry has another part of the upload than was sent", hint="try again")
        return answer

    def _next(self, answer: Answer) -> str:
        return self._connection.follow(answer.url, answer.headers.get("location", ""))


class _Portions:
    """Bytes that come in chunks, taken in other portions."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def take(self, count: int) -> Iterator[bytes]:
        """The next so many bytes, fewer where there are no more."""
        while count and (chunk := self._held or next(self._chunks, b"")):
            taken, self._held = chunk[:count], chunk[count:]
            count -= len(taken)
            yield taken


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks that are worth a thread's while."""
    held: list[bytes] = []
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk)
        if count >= CHUNK:
            yield b"".join(held)
            held, count = [], 0
    yield b"".join(held)


def _entry(blob: Blob, artifact_type: str) -> Descriptor:
    return msgspec.structs.replace(blob.descriptor, artifact_type=artifact_type)


def _fallback_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _next(answer: Answer) -> str:
    """The address of the next page, on the same registry; "" where there is none."""
    found = _NEXT.search(answer.headers.get("link", ""))
    try:
        url = urljoin(answer.url, found[1]) if found else ""
        return url if urlsplit(url)[:2] == urlsplit(answer.url)[:2] else ""
    except ValueError:
        return ""
