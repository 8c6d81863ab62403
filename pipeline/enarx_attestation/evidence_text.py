"""Evidence as tools print it and services put it into JSON: hexadecimal, base64, or PEM with any label.

Binary evidence is never taken for text: each of its forms has bytes at its beginning that no text has.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_TEXT: Final = re.compile(rb"[\t\n\r\x20-\x7e]+")
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s([A-Za-z0-9+/=\s]*)-----END \1-----")
_HEX: Final = re.compile(rb"(?:0[xX])?((?:[0-9A-Fa-f]{2})+)")


def plain(data: bytes) -> bytes:
    """The bytes that a text stands for; what is no such text is left as it is."""
    if _TEXT.fullmatch(data) is None:
        return data
    text = data.strip()
    if (block := _PEM.fullmatch(text)) is not None:
        text = block[2]
    bare = b"".join(text.split())
    if (digits := _HEX.fullmatch(bare)) is not None:
        return bytes.fromhex(digits[1].decode())
    try:
        return base64.b64decode(bare.replace(b"-", b"+").replace(b"_", b"/"), validate=True) or data
    except binascii.Error:
        return data
