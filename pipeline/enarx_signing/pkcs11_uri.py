"""The names of keys in tokens: PKCS#11 URIs (RFC 7512), of which these attributes are read::

    pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/libx.so&pin-source=file:/etc/x/pin

`pin-value` is refused: a command line is no place for a secret.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from .errors import KeyFault
from .token import Token

SCHEME: Final = "pkcs11:"
MAX_URI: Final = 4096
_FORM: Final = "pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/libx.so&pin-source=file:/etc/x/pin"
_KNOWN: Final = {"token", "object", "type", "module-path", "pin-source"}


def parse(uri: str) -> Token:
    """The token and the key in it. Raises KeyFault naming the attribute."""
    if len(uri) > MAX_URI or not uri.startswith(SCHEME):
        raise KeyFault("this is not a PKCS#11 URI", hint=_FORM)
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    found = _attributes([*path.split(";"), *query.split("&")])
    for name in ("token", "object", "module-path", "pin-source"):
        if not found.get(name):
            raise KeyFault(f"the PKCS#11 URI lacks {name!r}", hint=_FORM)
    if found.get("type", "private") != "private":
        raise KeyFault(f"the PKCS#11 URI names a key of the type {found['type']!a}, not a private one", hint=_FORM)
    pin_file = found["pin-source"].removeprefix("file://").removeprefix("file:")
    return Token(module=found["module-path"], token=found["token"], key=found["object"], pin_file=pin_file)


def _attributes(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in filter(None, words):
        name, _, value = word.partition("=")
        if name == "pin-value":
            raise KeyFault("the PKCS#11 URI has a PIN in it", hint="put it into a file, and give pin-source=file:PATH")
        if name not in _KNOWN or name in found:
            raise KeyFault(f"the PKCS#11 URI has {name!a} twice, or it means nothing here", hint=_FORM)
        found[name] = unquote(value)
    return found
