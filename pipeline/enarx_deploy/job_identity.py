"""The identity that a CI job has: a short-lived token of its CI's OpenID Connect provider, so that no secret is stored.

`ENARX_DEPLOY_ID_TOKEN` is the token itself, as `id_tokens` of GitLab CI gives it. On GitHub Actions the job asks for
one: its audience is what `ENARX_DEPLOY_ID_TOKEN_AUDIENCE` says, and `permissions: id-token: write` lets it.

It goes to the registry that the user named by `--host` or `ENARX_REGISTRY`, and to no other: a reference may come from
anybody.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import msgspec

from enarx_deploy import reference as references
from enarx_deploy.errors import RegistryError

TOKEN = "ENARX_DEPLOY_ID_TOKEN"  # noqa: S105 — the name of a variable
AUDIENCE = "ENARX_DEPLOY_ID_TOKEN_AUDIENCE"
_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
_BEARER = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_TIMEOUT = 30.0  # seconds
_LIMIT = 64 << 10  # bytes


class _Answer(msgspec.Struct, frozen=True):
    value: str


def for_registry(host: str) -> str:
    """The job's token for a registry, "" where there is none or it is for another one. Raises RegistryError."""
    named = references.default_registry().rpartition("://")[2].rstrip("/")
    return token() if named and named.lower() == host.lower() else ""


def token() -> str:
    """The job's token, "" where it has none and nobody asked for one. Raises RegistryError."""
    given = os.environ.get(TOKEN, "").strip()
    audience = os.environ.get(AUDIENCE, "")
    if given or not audience:
        return given
    url, bearer = os.environ.get(_URL, ""), os.environ.get(_BEARER, "")
    if not url or not bearer:
        raise RegistryError(
            f"{AUDIENCE} is set, and this job can get no token",
            hint=f"on GitHub Actions: `permissions: id-token: write`; elsewhere put the token into {TOKEN}",
        )
    return _ask(url, bearer, audience)


def _ask(url: str, bearer: str, audience: str) -> str:
    import httpx

    from enarx_service import pace

    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise RegistryError(f"{_URL} is not https", hint="is this GitHub's own runner?")
    headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        address = httpx.URL(url).copy_merge_params({"audience": audience})
        with httpx.Client(timeout=_TIMEOUT) as client:
            pace.bound(client, _TIMEOUT)
            with client.stream("GET", address, headers=headers) as answer:
                data = b""
                for piece in answer.iter_raw():
                    data += piece
                    if len(data) > _LIMIT:
                        raise RegistryError(f"{parts.netloc} answered with more than a token", hint="is it GitHub's?")
        if answer.status_code != httpx.codes.OK:
            raise RegistryError(
                f"{parts.netloc} gave no token: status {answer.status_code}",
                hint="has the job `permissions: id-token: write`?",
            )
        return msgspec.json.decode(data, type=_Answer).value
    except httpx.HTTPError as error:
        raise RegistryError(f"{parts.netloc} cannot be asked for a token: {error}", hint="try the job again") from error
    except msgspec.MsgspecError as error:
        raise RegistryError(f"{parts.netloc} answered with what is no token", hint="is it GitHub's?") from error
