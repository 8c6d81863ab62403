"""What a Steward for a cluster is to be: replicas over one PostgreSQL, under one root.

The root's key is in a Secret that the operator makes, or stays in a token that the pods reach by PKCS#11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import tomli_w

from enarx_deploy.errors import UsageError

NAME = "steward"
PORT = 8443
CA_SECRET, DATABASE_SECRET, PIN_SECRET = "steward-ca", "steward-database", "steward-pin"
STATE = "/run/enarx/state"


@dataclass(frozen=True)
class Wanted:
    """What was asked for. `policy` is its text."""

    url: str
    namespace: str
    replicas: int
    image: str
    pkcs11: str
    policy: str
    database_image: str

    @property
    def host(self) -> str:
        """The name under which it is reached. Raises UsageError where the URL has none."""
        url = urlsplit(self.url)
        if url.scheme != "https" or not url.hostname:
            raise UsageError(f"{self.url} is no URL of a Steward", hint="it begins with https://")
        return url.hostname

    @property
    def configuration(self) -> dict[str, str]:
        """What is in the ConfigMap: the policy, and where the key is if it is in a token."""
        return {"steward.toml": self.policy} | ({"ca.toml": _token(self.pkcs11)} if self.pkcs11 else {})


def require_policy(text: str, url: str) -> None:
    """Raise UsageError where a Steward would not start with the policy, or would be known by another name."""
    from enarx_steward import policy
    from enarx_steward.errors import ConfigurationError

    try:
        read = policy.parse(text.encode())
    except ConfigurationError as error:
        raise UsageError(f"the policy: {error}", hint=error.hint) from error
    if read.audience != url:
        raise UsageError(
            f"the policy says audience = {read.audience!r}, and Keeps are to know the Steward by {url}",
            hint=f'write audience = "{url}" in its [ca]',
        )


def digest(content: Mapping[str, str]) -> str:
    """What is in a ConfigMap, in short, for its name."""
    text = "\0".join(f"{name}\0{value}" for name, value in sorted(content.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _token(uri: str) -> str:
    """`ca.toml` for a PKCS#11 URI (RFC 7512) with the token, the key's label, and the vendor's library."""
    found = _attributes(uri)
    try:
        section = {"module": found["module-path"], "token": found["token"], "key": found["object"]}
    except KeyError as error:
        raise UsageError(
            f"--pkcs11 {uri}: it does not say {error.args[0]!r}",
            hint="pkcs11:token=LABEL;object=KEY?module-path=/path/of/the/library.so",
        ) from error
    return tomli_w.dumps({"pkcs11": {**section, "pin_file": f"{STATE}/pin"}})


def _attributes(uri: str) -> dict[str, str]:
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    if not uri.startswith("pkcs11:"):
        raise UsageError(f"--pkcs11 {uri}: not a PKCS#11 URI", hint="it begins with pkcs11:")
    pairs: list[Any] = [one.partition("=") for one in [*path.split(";"), *query.split("&")] if one]
    return {name: value for name, _, value in pairs}
