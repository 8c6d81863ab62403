"""What a web server hands out: a package in the one file that `enarx-deploy package pack` writes.

References: `https://HOST/PATH@sha256:HEX`. The digest must be there: nobody vouches for what a web
server has under a name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from enarx_deploy import package_archive, reference
from enarx_deploy.errors import NotPublished, PackageError, RegistryError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package
from enarx_deploy.protocols import Registry

FILE_LIMIT: Final = 4_200_000_000
"""Most bytes of a file: a package, what is said of it, and what tar puts around them."""
_TIMEOUT: Final = 60.0  # seconds for each read; the pace of the whole is bound too


class Web:
    """Fetches by TLS and takes nothing: no redirect is followed, and no login is sent."""

    name = "web"
    schemes: tuple[str, ...] = ("https://",)

    def publish(self, package: Package, reference: str) -> str:  # noqa: ARG002  # shape of a registry
        raise UsageError(
            f"{reference}: a web server takes no packages",
            hint="`enarx-deploy package pack` writes the file for it to hand out",
        )

    def fetch(self, reference: str, into: Path) -> Package:
        url, digest = _parse(reference)
        with tempfile.TemporaryFile() as file:
            _download(url, file)
            file.seek(0)
            package = package_archive.read(file, into, url)
        if package.digest != digest:
            raise PackageError(f"{url} is {package.digest}, not {digest}", hint="ask whoever put it there")
        return package


def _parse(text: str) -> tuple[str, str]:
    """The URL and the digest of a reference."""
    named = reference.parse(text)
    if not named.digest:
        raise UsageError(f"{text} does not say which package", hint=f"write {text}@sha256:HEX, as `pack` printed it")
    if not urlsplit(named.path).hostname:
        raise UsageError(f"{text} names no host", hint="write https://HOST/PATH@sha256:HEX")
    return named.path, named.digest


def _download(url: str, file: IO[bytes]) -> None:
    import httpx

    from enarx_service import pace

    try:
        with httpx.Client(follow_redirects=False, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"}) as client:
            pace.bound(client)
            with client.stream("GET", url) as answer:
                _require_file(url, answer.status_code)
                for chunk in answer.iter_raw():
                    file.write(chunk)
                    if file.tell() > FILE_LIMIT:
                        raise PackageError(f"{url} has more than {FILE_LIMIT:,} bytes", hint="no package is that large")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = " ".join((str(error) or type(error).__name__).split())
        raise RegistryError(
            f"{url} cannot be fetched: {reason}", hint="if its server has a root of its own, name it in SSL_CERT_FILE"
        ) from error


def _require_file(url: str, status: int) -> None:
    if status in (404, 410):
        raise NotPublished(f"{url}: there is nothing ({status})", hint="is the path right?")
    if status != 200:
        raise RegistryError(f"{url} answers with status {status}", hint="name the file itself: no redirect is followed")


@hookimpl
def register_registries() -> Iterable[Registry]:
    return [Web()]
