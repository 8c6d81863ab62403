"""The Steward's two protocols, from the client's side (docs/steward.md).

Whatever answers is a stranger until its chain has been checked: answers have a size, a least pace and a time, a
redirect is an error, and nothing is sent in clear to another machine.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from enarx_attestation import der
from enarx_attestation.der import DerError
from enarx_deploy.errors import StewardAway, StewardError, VerificationRefused
from enarx_deploy.protocols import CertificateRequest, Challenge, Issued, ReleasedSecrets, SecretsRequest
from enarx_service import pace

MAX_ANSWER: Final = 1 << 20
"""Most bytes of an answer."""
MAX_SHOWN: Final = 16
"""Most failed checks that are told one by one."""
T = TypeVar("T")
_ALTOGETHER: Final = 180.0
"""Seconds for one answer: evidence is appraised within a few, and a module may be asked for a signature."""
_TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
_NO_STEWARD: Final = "is there a Steward at that URL?"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_JSON: Final = {"Content-Type": "application/json"}
_AS_IT_IS: Final = {"Accept-Encoding": "identity"}
_AWAY: Final = (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
"""What stands before a Steward says so while none is behind it."""
_PKCS10: Final = {"Content-Type": "application/pkcs10"}


class Info(msgspec.Struct, frozen=True):
    """What a Steward says of itself. A newer Steward may say more."""

    audience: str
    root_pem: str
    policy_sha256: str
    roots_pem: list[str] = []

    @property
    def roots(self) -> list[str]:
        """The roots by which it can be known (PEM), the one that new clients should pin first."""
        return [self.root_pem, *(pem for pem in self.roots_pem if pem != self.root_pem)]


class _Nonce(msgspec.Struct, frozen=True):
    nonce: bytes


class _Certificate(msgspec.Struct, frozen=True):
    chain: list[bytes]
    appraisal: dict[str, Any]


class _SealedSecret(msgspec.Struct, frozen=True):
    name: str
    sealed: bytes


class _Secrets(msgspec.Struct, frozen=True):
    secrets: list[_SealedSecret]
    signature: bytes


class _Finding(msgspec.Struct, frozen=True):
    id: str
    expected: str = ""
    actual: str = ""

    def __str__(self) -> str:
        if not self.actual:
            return self.id
        return f"{self.id}: {self.actual}" + (f"; expected: {self.expected}" if self.expected else "")


class _Appraisal(msgspec.Struct, frozen=True):
    checks: list[_Finding] = []


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    hint: str = ""
    checks: list[str] = []
    appraisal: _Appraisal = _Appraisal()

    @property
    def failed(self) -> str:
        """Each check that failed, with what was found and what was expected, where the Steward says so."""
        found = {finding.id: str(finding) for finding in self.appraisal.checks}
        shown = [_printable(found.get(id, id)) for id in self.checks[:MAX_SHOWN]]
        more = len(self.checks) - len(shown)
        return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def info(url: str, root_pem: str = "") -> Info:
    """Ask a Steward who it is. Raises StewardError.

    Here and below, TLS is verified under `root_pem` where that is given, and under the roots that this machine trusts.
    """
    return _decode(url, _ask(url, "GET", "/v1/info", root_pem=root_pem), Info)


def introduction(url: str) -> Info:
    """Ask a Steward of which nothing is known who it is. Raises StewardError.

    If this machine trusts no root of its TLS certificate, that must be issued under the root which it shows.
    """
    try:
        return info(url)
    except _Unverified:
        shown = _decode(url, _ask(url, "GET", "/v1/info", context=_looking()), Info)
    return info(url, shown.root_pem)


def nonce(url: str, root_pem: str = "") -> bytes:
    """Ask for a challenge's nonce. Raises StewardError."""
    return _decode(url, _ask(url, "POST", "/v1/nonce", root_pem=root_pem), _Nonce).nonce


def certificate(url: str, challenge: Challenge, request: CertificateRequest, root_pem: str = "") -> Issued:
    """Ask for a certificate by the v1 protocol. Raises StewardError, VerificationRefused."""
    body = {
        "csr": request.csr,
        **_evidence(challenge, request),
        **({"signatures": request.signatures} if request.signatures else {}),
    }
    answer = _ask(url, "POST", "/v1/certificate", msgspec.json.encode(body), _JSON, root_pem=root_pem)
    found = _decode(url, answer, _Certificate)
    return Issued(chain=tuple(found.chain), appraisal=found.appraisal)


def secrets(url: str, challenge: Challenge, request: SecretsRequest, root_pem: str = "") -> ReleasedSecrets:
    """Ask for secrets by the v1 protocol. Raises StewardError, VerificationRefused.

    That it is the Steward who sealed them is for the Keep to check, which alone can open them.
    """
    body = {
        "names": request.names,
        "key": request.key,
        **_evidence(challenge, request),
        **({"certified_by": request.certified_by} if request.certified_by else {}),
    }
    answer = _ask(url, "POST", "/v1/secrets", msgspec.json.encode(body), _JSON, root_pem=root_pem)
    found = _decode(url, answer, _Secrets)
    return ReleasedSecrets(sealed={one.name: one.sealed for one in found.secrets}, signature=found.signature)


def _evidence(challenge: Challenge, request: CertificateRequest | SecretsRequest) -> dict[str, Any]:
    """What is sent with every request: evidence, and all that belongs to it."""
    return {
        "nonce": challenge.nonce,
        "evidence": {"kind": request.evidence_kind, "data": request.evidence},
        **({"package": request.package} if request.package else {}),
        **({"endorsements": dict(request.endorsements)} if request.endorsements else {}),
    }


def certificate_enarx(url: str, request: CertificateRequest, root_pem: str = "") -> Issued:
    """Ask for a certificate by Enarx's protocol, which gives no reasons. Raises StewardError, VerificationRefused."""
    body = _ask(url, "POST", "", request.csr, _PKCS10, root_pem=root_pem)
    try:
        path = [member.raw for member in der.children(der.whole(body, der.SEQUENCE))]
    except DerError as error:
        raise StewardError(
            f"the Steward at {url} answered with what is not a PkiPath: {error}", hint=_NO_STEWARD
        ) from error
    return Issued(chain=tuple(reversed(path)), appraisal={"ok": True, "kind": request.evidence_kind, "checks": []})


def check_audience(url: str, audience: str) -> None:
    """Evidence is made for the Steward that was asked for, and for no other that stands behind it."""
    asked, named = urlsplit(url), urlsplit(audience)
    same_machine = asked.port == named.port and {asked.hostname, named.hostname} <= set(_LOOPBACK)
    if not same_machine and url.rstrip("/") != audience.rstrip("/"):
        raise StewardError(
            f"the Steward at {url} calls itself {_printable(audience)!r}",
            hint="name it so in the manifest, or set `[ca] audience` in its policy to the URL that Keeps use",
        )


class _Unverified(StewardError):
    """Nothing that is trusted vouches for the TLS certificate."""


def _ask(
    url: str,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    root_pem: str = "",
    context: ssl.SSLContext | None = None,
) -> bytes:
    """The body of a good answer. Raises StewardError for any other, VerificationRefused for a refusal."""
    address = url.rstrip("/") + path if path else url
    try:
        with (
            _client(url, context or _context(url, root_pem)) as client,
            client.stream(method, address, content=body, headers=headers) as response,
        ):
            answer = bytearray()
            for chunk in response.iter_raw():  # packed, a small answer could fill the memory
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise StewardError(
                        f"the Steward at {url} answered with more than {MAX_ANSWER} bytes",
                        hint=_NO_STEWARD,
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            raise _Unverified(
                f"the TLS certificate of the Steward at {url} is not good: {reason}",
                hint="if it has a new root, bring that here by a way that you trust (docs/how-to/trust-a-steward.md)",
            ) from error
        raise StewardAway(
            f"the Steward at {url} cannot be reached: {reason}",
            hint="is it running, and is `steward` in the manifest its URL?",
        ) from error
    if response.status_code != httpx.codes.OK:
        raise _complaint(url, path, response.status_code, bytes(answer))
    return bytes(answer)


@contextlib.contextmanager
def _client(url: str, context: ssl.SSLContext) -> Iterator[httpx.Client]:
    parts = urlsplit(url)
    loopback = parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise StewardError(
            f"{url} is neither https nor on this machine", hint="evidence and certificates go over https"
        )
    # No proxy of the environment's stands between this machine and itself.
    with httpx.Client(
        verify=context, trust_env=not loopback, timeout=_TIMEOUT, follow_redirects=False, headers=_AS_IT_IS
    ) as client:
        pace.bound(client, _ALTOGETHER)
        yield client


def _context(url: str, root_pem: str) -> ssl.SSLContext:
    # Without roots for http: it would trust nobody, and the system's roots take long to load.
    if urlsplit(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = httpx.create_ssl_context()
    if root_pem:
        context.load_verify_locations(cadata=root_pem)
    return context


def _looking() -> ssl.SSLContext:
    """Verifies nothing: what is seen through it is believed by nobody before it has been verified otherwise."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _complaint(url: str, path: str, status: int, answer: bytes) -> StewardError | VerificationRefused:
    if not path:
        return _complaint_enarx(url, status)
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = _Problem()
    if status == httpx.codes.FORBIDDEN and problem.checks:
        return VerificationRefused(
            f"the Steward at {url} refused the evidence: {problem.failed}",
            hint=_printable(problem.hint),
        )
    detail = f": {_printable(problem.detail)}" if problem.detail else ""
    kind = StewardAway if status in _AWAY else StewardError
    return kind(f"the Steward at {url} answered {path} with status {status}{detail}", hint=_printable(problem.hint))


def _complaint_enarx(url: str, status: int) -> StewardError | VerificationRefused:
    if status in {httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED}:
        return VerificationRefused(
            f"the Steward at {url} refused the certificate request (status {status})",
            hint="Enarx's protocol gives no reason; the Steward's log does, and so does `[attest] protocol = \"v1\"`",
        )
    return StewardError(f"the Steward at {url} answered with status {status}")


def _decode(url: str, answer: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StewardError(
            f"the Steward at {url} answered with something else than was asked: {error}",
            hint='is it a Steward? One of Enarx 0.2 needs `[attest] protocol = "enarx"`',
        ) from error


def _printable(text: str) -> str:
    """One line without control characters: it comes from another machine and goes to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)[:500]
