"""What a single value of `Enarx.toml` may be: one type per form, with its limits, and in words what is expected.

Patterns end in ``(?!\\n)$`` where a final newline must not pass: Python's ``$`` alone would allow it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta


def _expected(words: str) -> dict[str, str]:
    return {"expected": words}


Text = Annotated[str, Meta(pattern=r"^[^\u0000]*$", extra=_expected("a string without NUL characters"))]
Word = Annotated[str, Meta(pattern=r"^[^\u0000-\u001f\u007f]+(?!\n)$", extra=_expected("a string of one line"))]
StdioName = Annotated[
    str,
    Meta(
        pattern=r"^[^:\u0000-\u001f\u007f]*(?!\n)$",
        extra=_expected("a name without ':' (which joins the names in FD_NAMES) and without control characters"),
    ),
]
SocketName = Annotated[
    str,
    Meta(
        pattern=r"^[^:\u0000-\u001f\u007f]+(?!\n)$",
        extra=_expected(
            "a name that is not empty, without ':' (which joins the names in FD_NAMES) and without control characters"
        ),
    ),
]
Host = Annotated[str, Meta(pattern=r"^[^\u0000-\u0020\u007f]+(?!\n)$", extra=_expected("a host name or an IP address"))]
Seconds = Annotated[int, Meta(ge=1, le=1 << 31)]
Port = Annotated[int, Meta(ge=0, le=65535)]
LoopbackAddress = Annotated[
    str,
    Meta(
        pattern=r"^(localhost|127(\.[0-9]{1,3}){3}|\[::1\]):[0-9]{1,5}(?!\n)$",
        extra=_expected("a port of a loopback address, such as 127.0.0.1:9464"),
    ),
]
_REMOTE_HOST = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_REMOTE_USER = r"[A-Za-z_][A-Za-z0-9._-]{0,63}"
RemoteHost = Annotated[
    str,
    Meta(
        # Nothing that a command line could take for an option, and nothing that a shell would read.
        pattern=rf"^(({_REMOTE_USER}@)?{_REMOTE_HOST}|ssh://({_REMOTE_USER}@)?({_REMOTE_HOST}|\[[0-9A-Fa-f:.]+\])"
        r"(:[0-9]{1,5})?/?)(?!\n)$",
        max_length=320,
        extra=_expected("a host as ssh takes it: HOST, USER@HOST or ssh://USER@HOST:PORT"),
    ),
]
Prot = Literal["tls", "tcp"]
Url = Annotated[
    str,
    Meta(
        pattern=(
            r"^([Hh][Tt][Tt][Pp][Ss]://[^/?#\u0000-\u0020\u007f]"
            r"|[Hh][Tt][Tt][Pp]://([Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?(/|\?|#|$))"
            r"[^\u0000-\u0020\u007f]*(?!\n)$"
        ),
        extra=_expected("an absolute https:// URL (http:// only for this machine: localhost, 127.0.0.0/8, [::1])"),
    ),
]
ProjectPath = Annotated[
    str,
    Meta(
        pattern=r"^(?!/)(?!\.[/.]*$)(?!(.*/)?\.\.(/|$))[^\u0000-\u001f\u007f]+(?!\n)$",
        extra=_expected("a path inside the project: relative, without '..', and not the project itself"),
    ),
]
GuestPath = Annotated[
    str,
    Meta(
        pattern=r"^(/|(/(?!\.{0,2}(/|$))[^/\u0000-\u001f\u007f]+)+)(?!\n)$",
        extra=_expected("an absolute path without '.', '..', doubled or trailing '/'"),
    ),
]
Roots = Annotated[
    str,
    Meta(
        pattern=r"^(system|steward|(?!/)(?!(.*/)?\.\.(/|$))(?=.*[./])[^\u0000-\u001f\u007f]+)(?!\n)$",
        extra=_expected('"system", "steward", or the path of a PEM file inside the project (such as "ca.pem")'),
    ),
]
Peer = Annotated[
    str,
    Meta(
        pattern=r"^([a-z][a-z0-9+.-]*://[^\u0000-\u0020\u007f]+|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(?!\n)$",
        extra=_expected('a name of a certificate, such as "spiffe://TRUST-DOMAIN/package/sha256/HEX" or a DNS name'),
    ),
]
ServerName = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)(?!\n)$",
        extra=_expected("a DNS name or an IP address"),
    ),
]
DnsName = Annotated[
    str,
    Meta(
        pattern=r"^(?=.{1,253}(?!\n)$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(?!\n)$",
        extra=_expected("a DNS name in small letters, without wildcards, such as app.example.org"),
    ),
]
Alpn = Annotated[
    str,
    Meta(
        pattern=r"^[\u0021-\u007e]{1,255}(?!\n)$",
        extra=_expected('the name of a protocol, such as "http/1.1" or "h2"'),
    ),
]
Destination = Annotated[
    str,
    Meta(
        pattern=r"^(tcp://)?([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}(?!\n)$",
        extra=_expected('"HOST:PORT", or "tcp://HOST:PORT" for plain TCP'),
    ),
]
SecretName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(?!\n)$",
        extra=_expected("1 to 64 small letters, digits, '.', '_' and '-', the first a letter or a digit"),
    ),
]
VariableName = Annotated[
    str,
    Meta(
        pattern=r"^(?!FD_COUNT$|FD_NAMES$)[A-Za-z_][A-Za-z0-9_]{0,254}(?!\n)$",
        extra=_expected("a variable's name: letters, digits and '_', the first no digit; not FD_COUNT, not FD_NAMES"),
    ),
]
KeepName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(?!\n)$",
        extra=_expected("1 to 63 letters, digits, '.', '_' and '-', the first a letter or a digit"),
    ),
]
Size = Annotated[
    Annotated[int, Meta(ge=0, le=1 << 40)] | Annotated[str, Meta(pattern=r"^[0-9]{1,12} ?(B|KiB|MiB|GiB)(?!\n)$")],
    Meta(extra=_expected('a number of bytes, or a size such as "256 MiB" (units: B, KiB, MiB, GiB)')),
]

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size_in_bytes(size: int | str) -> int:
    """The number of bytes that a `Size` stands for."""
    if isinstance(size, int):
        return size
    unit = size.lstrip("0123456789")
    return int(size.removesuffix(unit)) * _UNITS[unit.strip()]
