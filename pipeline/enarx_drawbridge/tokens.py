"""Bearer tokens of OpenID Connect, and the subject that each stands for.

A JWT is verified with the keys of the issuer's discovery document: signature, issuer, audience, times. Any other token
is shown to the issuer (userinfo), whose answer counts for a minute. No token is written anywhere, not even in part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt

from enarx_service import pace

from .errors import Unauthorized, Unavailable
from .policy import Oidc

MAX_TOKEN: Final = 16_384
MAX_ANSWER: Final = 1 << 20
TIMEOUT: Final = 10.0
"""Seconds for one answer."""
KEYS_LAST: Final = 600.0
"""Seconds after which the issuer's keys are asked for anew."""
KEYS_REST: Final = 10.0
"""Seconds for which the issuer is not asked again, for a key that is not known or since it did not answer."""
KEYS_STALE: Final = 3600.0
"""Seconds after which keys are no longer believed if the issuer does not answer."""
ANSWERS_LAST: Final = 60.0
MAX_ANSWERS: Final = 1024
LEEWAY: Final = 10
"""Seconds that clocks may differ."""
DISCOVERY: Final = "/.well-known/openid-configuration"

_CLAIMS: Final = ["exp", "iat", "iss", "aud", "sub"]


class Identity(NamedTuple):
    """Who asks. `scopes` is None where the issuer was asked about the token, and tells no scopes."""

    subject: str
    scopes: frozenset[str] | None

    def may(self, level: str, what: str) -> bool:
        """Whether the token is for this: `manage` is for everything."""
        return self.scopes is None or not self.scopes.isdisjoint({f"{level}:{what}", f"manage:{what}"})


class Tokens:
    """Knows whose tokens to believe. Safe to use from many threads."""

    def __init__(self, oidc: Oidc, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._oidc = oidc
        self._monotonic = monotonic
        self._context = httpx.create_ssl_context(trust_env=False)
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_at = self._asked_at = -KEYS_STALE
        self._answers: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    def identify(self, token: str) -> Identity:
        """Whose token it is. Raises `Unauthorized`, `Unavailable`."""
        if len(token) > MAX_TOKEN:
            raise Unauthorized("Invalid token provided")
        return self._by_key(token) if self._oidc.verify == "jwt" else self._by_asking(token)

    def _by_key(self, token: str) -> Identity:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                self._key(str(header.get("kid", ""))),
                algorithms=list(self._oidc.algorithms),
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                leeway=LEEWAY,
                options={"require": _CLAIMS},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorized("Invalid token provided") from error
        subject, scope = claims["sub"], claims.get("scope", "")
        if not isinstance(subject, str) or not subject or not isinstance(scope, str):
            raise Unauthorized("Invalid token provided")
        return Identity(subject, frozenset(scope.split() if "scope" in claims else self._oidc.scopes))

    def _key(self, kid: str) -> jwt.PyJWK:
        # Whose key is known does not wait for an issuer that another request is asking.
        if self._lock.acquire(blocking=kid not in self._keys):
            try:
                self._ask_if_due(kid)
            finally:
                self._lock.release()
        if self._monotonic() - self._keys_at >= KEYS_STALE:
            raise Unavailable(f"The OpenID Connect provider {self._oidc.issuer} cannot be asked now")
        found = self._keys.get(kid)
        if found is None:
            raise Unauthorized("Invalid token provided")
        return found

    def _ask_if_due(self, kid: str) -> None:
        now = self._monotonic()
        due = now - self._keys_at >= KEYS_LAST or kid not in self._keys
        if due and now - self._asked_at >= KEYS_REST:
            self._asked_at = now
            with contextlib.suppress(Unavailable):
                self._keys, self._keys_at = self._fetch_keys(), now

    def _fetch_keys(self) -> dict[str, jwt.PyJWK]:
        listed = self._get(self._endpoint("jwks_uri")).get("keys")
        found: dict[str, jwt.PyJWK] = {}
        for one in listed if isinstance(listed, list) else []:
            try:
                key = jwt.PyJWK.from_dict(one)
            except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
                continue  # of a kind that is not used here
            if key.key_id and one.get("use", "sig") == "sig":
                found[key.key_id] = key
        return found

    def _by_asking(self, token: str) -> Identity:
        name, now = hashlib.sha256(token.encode()).digest(), self._monotonic()
        with self._lock:
            at, known = self._answers.get(name, (0.0, None))
        if known is not None and now - at < ANSWERS_LAST:
            return known
        subject = self._get(self._endpoint("userinfo_endpoint"), token).get("sub")
        if not isinstance(subject, str) or not subject:
            raise Unauthorized("Invalid token provided")
        identity = Identity(subject, None)
        with self._lock:
            self._answers[name] = (now, identity)
            self._answers.move_to_end(name)
            if len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
        return identity

    def _endpoint(self, name: str) -> str:
        """A URL of the issuer's discovery document, which must be the issuer's own and as well protected."""
        issuer = self._oidc.issuer
        document = self._get(issuer.rstrip("/") + DISCOVERY)
        url = document.get(name)
        if document.get("issuer") != issuer or not isinstance(url, str):
            raise Unavailable(f"The discovery document of {issuer} is not that of this issuer, or has no {name}")
        if urlsplit(url).scheme != "https" and urlsplit(issuer).scheme == "https":
            raise Unavailable(f"The {name} of {issuer} is not an https:// URL")
        return url

    def _get(self, url: str, token: str = "") -> dict[str, Any]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            with self._asking() as client, client.stream("GET", url, headers=headers) as answer:
                if token and answer.status_code in (400, 401, 403):
                    raise Unauthorized("Invalid token provided")
                answer.raise_for_status()
                data = _bounded(answer)
            document = json.loads(data)
        except (httpx.HTTPError, ValueError, RecursionError, UnicodeError) as error:
            raise Unavailable(f"The OpenID Connect provider {self._oidc.issuer} cannot be asked now") from error
        if not isinstance(document, dict):
            raise Unavailable(f"The OpenID Connect provider {self._oidc.issuer} does not answer as one")
        return document

    def _asking(self) -> httpx.Client:
        """For one question: the issuer is asked rarely, so that no connection is kept for the next time."""
        client = httpx.Client(verify=self._context, timeout=TIMEOUT, follow_redirects=False, trust_env=False)
        pace.bound(client, TIMEOUT)
        return client


def _bounded(answer: httpx.Response) -> bytes:
    data = bytearray()
    for chunk in answer.iter_raw():  # packed, a small answer could fill the memory
        data += chunk
        if len(data) > MAX_ANSWER:
            raise ValueError("too long")
    return bytes(data)
