"""Where a service listens and how it is spoken to, as its options say. What is the service's own, it adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from .errors import ConfigurationError
from .sockets import LOOPBACK, is_loopback, parse_listen


class ListenerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """See the module."""

    host: str = LOOPBACK
    port: int | None = None
    tls_certificate: Path | None = None
    """The operator's certificate for TLS (PEM), with `tls_key`."""
    tls_key: Path | None = None
    metrics: tuple[str, int] | None = None
    """Address and port where metrics are served, in plain HTTP; default: nowhere."""
    insecure_http: bool = False
    """Whether plain HTTP will do for other machines too."""

    @classmethod
    def given(
        cls,
        *,
        listen: str | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        insecure_http: bool,
        metrics: str | None,
        **own: Any,
    ) -> Self:
        """Options as they were written on a command line, `own` as they are. Raises `ConfigurationError`."""
        host, port = parse_listen(listen) if listen else (LOOPBACK, None)
        return cls(
            host=host,
            port=port,
            tls_certificate=tls_cert.absolute() if tls_cert else None,
            tls_key=tls_key.absolute() if tls_key else None,
            insecure_http=insecure_http,
            metrics=parse_listen(metrics) if metrics else None,
            **own,
        )

    @property
    def said(self) -> Literal["loopback-http", "insecure-http", "tls", "unsaid"]:
        """TLS with the operator's certificate, or plain HTTP: on this machine, elsewhere only if asked for.

        `unsaid` is what no option decides. Raises `ConfigurationError` if they exclude each other.
        """
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key go together", hint="give both, or neither")
        if self.tls_certificate is not None:
            if self.insecure_http:
                raise ConfigurationError(
                    "--insecure-http and --tls-cert exclude each other", hint="give one of the two"
                )
            return "tls"
        if is_loopback(self.host):
            return "loopback-http"
        return "insecure-http" if self.insecure_http else "unsaid"
