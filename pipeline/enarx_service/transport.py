"""How a service is spoken to, as its options say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .errors import ConfigurationError
from .sockets import is_loopback

Transport = Literal["loopback-http", "insecure-http", "tls", "unsaid"]


def transport(host: str, tls_certificate: Path | None, tls_key: Path | None, *, insecure_http: bool) -> Transport:
    """TLS with the operator's certificate, or plain HTTP: on this machine, and elsewhere only where it was asked for.

    `unsaid` is what no option decides. Raises ConfigurationError if they exclude each other.
    """
    if (tls_certificate is None) != (tls_key is None):
        raise ConfigurationError("--tls-cert and --tls-key go together")
    if tls_certificate is not None:
        if insecure_http:
            raise ConfigurationError("--insecure-http and --tls-cert exclude each other")
        return "tls"
    if is_loopback(host):
        return "loopback-http"
    return "insecure-http" if insecure_http else "unsaid"
