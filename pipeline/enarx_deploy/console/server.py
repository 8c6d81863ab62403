"""Serves the console on one listener, by TLS alone, until the process is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
from cryptography import x509
from starlette.types import ASGIApp

from enarx_deploy import paths
from enarx_deploy.console.app import Place, make_app
from enarx_deploy.console.certificate import ROOT_FILE, Own
from enarx_deploy.console.entry import Entry
from enarx_deploy.errors import UsageError
from enarx_deploy.models import Record
from enarx_service.connections import configure
from enarx_service.errors import ConfigurationError
from enarx_service.sockets import OWN_NAMES, listen, parse_listen, url_of
from enarx_service.tls import Given, Listener

DIRECTORY: Final = "console"
MAX_CONNECTIONS: Final = 64
SHUTDOWN: Final = timedelta(seconds=2)
_HTTPS: Final = 443


class Serving(Record, frozen=True):
    """Where the console is, and how to come in. `link` works once; `root_pem_path` is "" with the operator's own."""

    url: str
    link: str
    token_file: str
    root_pem_path: str


def serve(place: Place, address: str, given: tuple[Path, Path] | None, ready: Callable[[Serving], None]) -> None:
    """Serve `place` on `address` (HOST:PORT), with these files (certificate, key) or a certificate of its own.

    `ready` is called once it listens. Raises UsageError.
    """
    try:
        host, port = parse_listen(address)
        directory = paths.state_dir(DIRECTORY)
        source = Own(directory, host) if given is None else Given(*given)
        tls = Listener(source, directory, datetime.now(UTC))
        with listen(host, [port]) as listener:
            url = url_of(listener, "https")
            entry = Entry()
            certified = _names(given[0]) if given else ()
            token = directory / f"token-{listener.getsockname()[1]}"  # several consoles may serve at the same time
            paths.write_atomically(token, f"{entry.token}\n".encode())
            config = configure(
                _app(place, entry, host, url, certified), most=MAX_CONNECTIONS, shutdown=SHUTDOWN, access_log=False
            )
            config.load()
            config.ssl = tls.context
            root = "" if given else str(directory / ROOT_FILE)
            ready(Serving(url=url, link=f"{url}/enter/{entry.link}", token_file=str(token), root_pem_path=root))
            try:
                uvicorn.Server(config).run(sockets=[listener])
            finally:
                token.unlink(missing_ok=True)
    except ConfigurationError as error:
        raise UsageError(str(error), hint=error.hint) from error


def _names(certificate: Path) -> list[str]:
    """The DNS names in the operator's certificate, by which the console is asked for as well."""
    try:
        leaf, *_ = x509.load_pem_x509_certificates(certificate.read_bytes())
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return []  # what is wrong with it, the listener says
    return [name.lower() for name in found.get_values_for_type(x509.DNSName)]


def _app(place: Place, entry: Entry, host: str, url: str, certified: Sequence[str]) -> ASGIApp:
    """Known by the names of this machine, the address that it listens on, and those of the operator's certificate."""
    names = {*OWN_NAMES, host, *certified}
    port = int(url.rpartition(":")[2])
    after = "" if port == _HTTPS else f":{port}"  # as a browser writes an origin (RFC 6454, section 6.2)
    origins = {f"https://[{name}]{after}" if ":" in name else f"https://{name}{after}" for name in names}
    return make_app(place, entry, frozenset(names), frozenset(origins))
