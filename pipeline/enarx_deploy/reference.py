"""References: how packages in registries are named.

    [HOST/]USER/REPOSITORY:TAG            a slug, as Enarx writes it; its registry is a Drawbridge
    drawbridge://HOST/USER/REPOSITORY:TAG
    oci://HOST/REPOSITORY:TAG             REPOSITORY of any depth
    dir:PATH, file://PATH                 a directory of this machine
    https://HOST/PATH                     what a web server hands out
    SCHEME:ANYTHING                       what the registry of a plugin understands

Each may end in `@sha256:HEX`, the package's digest: whatever is fetched by it is that package or an error. The tag may
then be left out. `oci+http` and `drawbridge+http` ask for a registry in clear.

No host is built in: a slug without one needs a default that the user gave (`--host`, `ENARX_REGISTRY`).
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from enarx_deploy.errors import UsageError

LIMIT = 1024
"""Characters of the longest reference."""
SLUG_SCHEME = "drawbridge"
IN_CLEAR = "+http"
"""The end of a scheme whose registry is spoken to without TLS."""
HOST_VARIABLE = "ENARX_REGISTRY"
named_registry: ContextVar[str] = ContextVar("named_registry", default="")
"""The registry that a command line names with `--host`."""
named_roots: ContextVar[str] = ContextVar("named_roots", default="")
"""The file of roots of registries that a command line names with `--registry-roots`."""

_WITH_HOST = re.compile(r"(?P<scheme>(oci|drawbridge)(\+http)?)://(?P<rest>.*)", re.DOTALL)
_FORM = "write [HOST/]USER/REPOSITORY:TAG, oci://HOST/REPOSITORY:TAG or dir:PATH, each perhaps with @sha256:HEX"

_DIGEST = re.compile(r"(?P<place>.*?)(@(?P<digest>sha256:[0-9a-f]{64}))?", re.DOTALL)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(://|:(?=[^0-9]))")
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SLUG = re.compile(r"((?P<host>[^/@\s]+)/)?(?P<path>[0-9A-Za-z]+/[0-9A-Za-z-]+)(:(?P<tag>[0-9A-Za-z.+-]+))?", re.ASCII)
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Reference:
    """A reference in its parts; "" for a part that it does not have.

    `scheme` is what stands before the first `:`. `host` (HOST or HOST:PORT) and `tag` are "" for paths and URLs, of
    which `path` is all but the digest. `digest` is `sha256:HEX`.
    """

    scheme: str
    host: str
    path: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return f"{self.place}{f'@{self.digest}' if self.digest else ''}"

    @property
    def place(self) -> str:
        """The reference without its digest."""
        if not self.host:
            return self.path
        return f"{self.scheme}://{self.host}/{self.path}{f':{self.tag}' if self.tag else ''}".removesuffix("/")

    @property
    def in_clear(self) -> bool:
        """Whether the user asked for a registry without TLS."""
        return self.scheme.endswith(IN_CLEAR)

    @property
    def name(self) -> str:
        """What to call a Keep that runs it: the last part of its path, in the letters of a Keep's name."""
        last = unquote(urlsplit(self.path).path).rstrip("/").rpartition("/")[2]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", last.partition(":")[2] or last).strip("-._")[:63] or "package"

    def require(self, digest: str) -> None:
        """That this package can be published there. Raises UsageError."""
        if self.digest and self.digest != digest:
            raise UsageError(f"{self} names another package than {digest}", hint="leave the digest away")

    def pinned(self, digest: str) -> Reference:
        """The same place, and this package alone."""
        return Reference(self.scheme, self.host, self.path, self.tag, digest)


def parse(text: str, host: str = "") -> Reference:
    """The parts of a reference. `host` is where slugs without one are looked for. Raises UsageError."""
    if len(text) > LIMIT or not text.isprintable() or not text:
        raise UsageError(f"{text[:80]!a} is not a reference to a package", hint=_FORM)
    found = _DIGEST.fullmatch(text)
    place, digest = (found["place"], found["digest"] or "") if found else (text, "")
    with_host = _WITH_HOST.fullmatch(place)
    user, _, _ = place.partition("://")[2].partition("/")[0].rpartition("@")
    if ":" in user or (with_host and user):
        raise UsageError("a reference holds no user name and no password", hint="log in with the registry's own tool")
    if _SCHEME.match(place) and with_host is None:  # a path, a URL, or what a plugin's registry understands
        return Reference(place.partition(":")[0], "", place, "", digest)
    if "@" in place:
        raise UsageError(f"{text}: {place.partition('@')[2]!a} is no digest", hint="write @sha256: and 64 hex digits")
    if with_host:
        return _with_host(text, with_host["scheme"], with_host["rest"], digest)
    return _slug(text, place, digest, host)


def default_registry() -> str:
    """The registry that the user named for what has no host of its own: [SCHEME://]HOST, or "" for none."""
    return named_registry.get() or os.environ.get(HOST_VARIABLE, "")


def schemes(name: str) -> tuple[str, str]:
    """How references to a registry begin that is spoken to by TLS, or in clear where that is asked for."""
    return f"{name}://", f"{name}{IN_CLEAR}://"


def names_a_registry(text: str) -> bool:
    """Whether this can only be meant as a reference: it has a scheme, or the form of a slug with a tag or a digest."""
    place, _, digest = text.partition("@")
    slug = _SLUG.fullmatch(place)
    return bool(_SCHEME.match(text)) or (slug is not None and bool(slug["tag"] or digest))


def is_version(tag: str) -> bool:
    """Whether a tag is a version (Semantic Versioning 2.0.0), which once published means one package for ever."""
    return _SEMVER.fullmatch(tag) is not None


def _with_host(text: str, scheme: str, rest: str, digest: str) -> Reference:
    host, _, path = rest.partition("/")
    path, tag = _without_tag(path)
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"{text}: {host!a} is not a host", hint=f"write {scheme}://HOST/REPOSITORY:TAG, with HOST:PORT if need be"
        )
    return Reference(scheme, host, path, tag, digest)


def _without_tag(path: str) -> tuple[str, str]:
    before, slash, last = path.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{before}{slash}{name}", tag


def _slug(text: str, place: str, digest: str, default: str) -> Reference:
    found = _SLUG.fullmatch(place)
    if found is None:
        raise UsageError(f"{text} is not a reference to a package", hint=_FORM)
    if found["tag"] and not is_version(found["tag"]):
        raise UsageError(f"{text}: {found['tag']} is not a version", hint="a slug's tag is one such as 1.2.3")
    host = found["host"] or default
    if not host:
        raise UsageError(
            f"{text} does not say in which registry it is",
            hint=f"write HOST/{text}, or name the registry with --host or in {HOST_VARIABLE}; none is built in",
        )
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = SLUG_SCHEME, host
    tag = f":{found['tag']}" if found["tag"] else ""
    return _with_host(text, scheme, f"{rest.rstrip('/')}/{found['path']}{tag}", digest)
