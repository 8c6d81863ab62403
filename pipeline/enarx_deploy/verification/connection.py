"""The connection: what the peer shows, and whether OpenSSL finds it issued under the pinned root."""

from __future__ import annotations

import socket
import ssl
from datetime import timedelta
from typing import Final, NamedTuple

from enarx_deploy.errors import EnarxDeployError, VerificationRefused

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which `ssl` does not name
_SELF_SIGNED: Final = (18, 19)  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN

_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_TOO_OLD: Final = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")


class NotReachable(EnarxDeployError):
    """Nothing answers there."""


class NoHandshake(VerificationRefused):
    """Something answers there, and it is not TLS as it should be."""


class Peer(NamedTuple):
    """What was seen. `certificate` is the leaf in DER.

    `chain_fault` is empty if it was issued under the root, and `time_fault` if all of its chain is valid now.
    """

    address: str
    version: str
    cipher: str
    certificate: bytes
    chain_fault: str = ""
    time_fault: str = ""


def observe(host: str, port: int, name: str, root_pem: str, patience: timedelta) -> Peer:
    """Connect and shake hands, for at most `patience` each. Raises NotReachable, NoHandshake.

    1. With the chain verified against the root. Only this handshake ends without a fault.
    2. The same without a look at the clock, to tell an expired certificate from a foreign one.
    3. Without verification, to see what the peer shows.
    """
    where = (host, port, name, patience)
    try:
        return _shake_hands(_verifying(root_pem), *where)
    except ssl.SSLCertVerificationError as error:
        first = error
    try:
        return _shake_hands(_verifying(root_pem, _NO_CHECK_TIME), *where)._replace(time_fault=first.verify_message)
    except ssl.SSLCertVerificationError as error:
        fault = _why(error) if root_pem else "there is no root certificate to trust"
        return _shake_hands(_looking(), *where)._replace(chain_fault=fault)


def _shake_hands(context: ssl.SSLContext, host: str, port: int, name: str, patience: timedelta) -> Peer:
    with _connect(host, port, patience) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=name) as tls:
                return _look(tls)
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError as error:
            seconds = f"{patience.total_seconds():g} seconds"
            raise NoHandshake(f"it accepts connections and says nothing for {seconds}") from error
        except ssl.SSLError as error:
            raise NoHandshake(_reason(error)) from error
        except OSError as error:
            raise NoHandshake(f"it closed the connection in the handshake ({error.strerror or error})") from error


def _connect(host: str, port: int, patience: timedelta) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=patience.total_seconds())
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise NotReachable(f"{host} port {port}: {reason}") from error


def _look(tls: ssl.SSLSocket) -> Peer:
    certificate, cipher = tls.getpeercert(binary_form=True), tls.cipher()
    if certificate is None or cipher is None:
        raise NoHandshake("the peer shows no certificate")
    return Peer(tls.getpeername()[0], tls.version() or "", cipher[0], certificate)


def _verifying(root_pem: str, flags: int = 0) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a check of its own, so that its failure does not hide the others
    context.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_STRICT | flags)
    if root_pem:
        context.load_verify_locations(cadata=root_pem)
    return context


def _looking() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _why(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _SELF_SIGNED:
        return "issued under another root than the pinned one (self-signed)"
    return f"not issued under the pinned root: {error.verify_message}"


def _reason(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection in the handshake"
    if reason in _NOT_TLS:
        return "it answers with something that is not TLS, such as plain HTTP"
    if reason in _TOO_OLD:
        return "it speaks no version of TLS from 1.2 on"
    return f"the handshake failed: {reason.replace('_', ' ').lower() or error}"
