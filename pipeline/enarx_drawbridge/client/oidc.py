"""Getting a token from an OpenID Connect provider, whose endpoints are those of its discovery document.

By a device code, which a user confirms in a browser (RFC 8628), or by a client's own secret (RFC 6749, section 4.4);
and a new one by a refresh token.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from . import http
from .errors import Refused, Unreachable
from .logins import Login

DISCOVERY: Final = "/.well-known/openid-configuration"
SCOPES: Final = "manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"
DEVICE_SCOPES: Final = f"openid profile offline_access {SCOPES}"
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER: Final = 5
"""Seconds by which `slow_down` has the client wait longer."""
_LONGEST: Final = 1800
"""Most seconds that a user is waited for."""

Read = TypeVar("Read")


class Device(msgspec.Struct, frozen=True):
    """What a user is to open and to confirm."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str = ""
    expires_in: int = 600
    interval: int = 5


class _Tokens(msgspec.Struct, frozen=True):
    access_token: str
    refresh_token: str = ""
    expires_in: int = 0


class _Problem(msgspec.Struct, frozen=True):
    error: str = ""
    error_description: str = ""


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    token_endpoint: str = ""
    device_authorization_endpoint: str = ""
    userinfo_endpoint: str = ""


class Provider(NamedTuple):
    """A provider of identities, as its discovery document tells."""

    client: httpx.Client
    found: _Discovery

    def by_device(self, client_id: str, audience: str, show: Callable[[Device], None]) -> Login:
        """Wait until a user has confirmed what `show` tells. Raises `Refused`, `Unreachable`."""
        form = {"client_id": client_id, "scope": DEVICE_SCOPES, "audience": audience}
        device = self._post("device_authorization_endpoint", form, Device)
        show(device)
        interval, end = max(device.interval, 1), time.monotonic() + min(device.expires_in, _LONGEST)
        form = {"client_id": client_id, "grant_type": _DEVICE_GRANT, "device_code": device.device_code}
        while time.monotonic() < end:
            time.sleep(interval)
            answer = self._ask("token_endpoint", form)
            if answer.status == 200:
                return self._login(_decode(answer.body, _Tokens, self.found.issuer), client_id, audience)
            problem = _decode(answer.body, _Problem, self.found.issuer).error
            if problem == "slow_down":
                interval += _SLOWER
            elif problem != "authorization_pending":
                raise _refused(self.found.issuer, answer)
        raise Refused("the login was not confirmed in time", hint="`enarx-deploy user login` begins again")

    def by_secret(self, client_id: str, secret: str, audience: str) -> Login:
        """With a client's own secret. Raises `Refused`, `Unreachable`."""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        form |= {"audience": audience, "scope": SCOPES}
        return self._login(self._post("token_endpoint", form, _Tokens), client_id, audience)

    def refreshed(self, login: Login) -> Login:
        """The same login with a new token. Raises `Refused`, `Unreachable`."""
        form = {"grant_type": "refresh_token", "client_id": login.client_id, "refresh_token": login.refresh_token}
        form |= {"audience": login.audience}
        tokens = self._post("token_endpoint", form, _Tokens)
        renewed = self._login(tokens, login.client_id, login.audience)
        return renewed if renewed.refresh_token else msgspec.structs.replace(renewed, refresh_token=login.refresh_token)

    def subject(self, token: str) -> str:
        """Whose token it is, by the provider's answer. Raises `Refused`, `Unreachable`."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = http.ask(self.client, "GET", _endpoint(self.found, "userinfo_endpoint"), headers=headers)
        subject = _decode(answer.body, dict[str, Any], self.found.issuer).get("sub") if answer.status == 200 else None
        if not isinstance(subject, str):
            raise Refused(
                f"Failed to make user info request: {self.found.userinfo_endpoint}: status code {answer.status}",
                hint="`enarx-deploy user login` gets a new token",
            )
        return subject

    def _login(self, tokens: _Tokens, client_id: str, audience: str) -> Login:
        return Login(
            issuer=self.found.issuer,
            client_id=client_id,
            audience=audience,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires=int(time.time()) + tokens.expires_in if tokens.expires_in > 0 else 0,
        )

    def _post(self, endpoint: str, form: Mapping[str, str], kind: type[Read]) -> Read:
        answer = self._ask(endpoint, form)
        if answer.status != 200:
            raise _refused(self.found.issuer, answer)
        return _decode(answer.body, kind, self.found.issuer)

    def _ask(self, endpoint: str, form: Mapping[str, str]) -> http.Answer:
        return http.ask(self.client, "POST", _endpoint(self.found, endpoint), form=form)


def provider(client: httpx.Client, issuer: str) -> Provider:
    """The provider of this name. Raises `Unreachable`."""
    url = urlsplit(issuer)
    if url.scheme != "https" and not (url.scheme == "http" and http.is_own_machine(url.netloc)):
        raise Unreachable(f"{issuer} is not an https:// URL", hint="--oidc-issuer names the provider of identities")
    answer = http.ask(client, "GET", issuer.rstrip("/") + DISCOVERY)
    if answer.status != 200:
        raise Unreachable(f"{issuer} is no OpenID Connect provider: status {answer.status}")
    found = _decode(answer.body, _Discovery, issuer)
    if found.issuer.rstrip("/") != issuer.rstrip("/"):
        raise Unreachable(f"{issuer} calls itself {found.issuer!a}", hint="give --oidc-issuer as it calls itself")
    return Provider(client, found)


def _endpoint(found: _Discovery, name: str) -> str:
    url = str(getattr(found, name))
    if not url or urlsplit(url).scheme != urlsplit(found.issuer).scheme:
        raise Unreachable(f"{found.issuer} has no {name} that can be used")
    return url


def claimed_subject(token: str) -> str:
    """Whose a JWT says to be, unverified: the registry verifies it. Empty if it is no JWT."""
    try:
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, binascii.Error, ValueError, RecursionError):
        return ""
    subject = found.get("sub") if isinstance(found, dict) else None
    return subject if isinstance(subject, str) else ""


def _decode(data: bytes, kind: type[Read], who: str) -> Read:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"{who} does not answer as an OpenID Connect provider: {error}") from error


def _refused(issuer: str, answer: http.Answer) -> Refused:
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = _Problem(f"status {answer.status}")
    said = " ".join(filter(None, (problem.error, problem.error_description)))[:200]
    return Refused(f"{issuer} refuses the login: {said if said.isprintable() else ascii(said)}")
