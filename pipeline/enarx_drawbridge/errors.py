"""Every error that a Drawbridge server raises, with the status that its client is told.

DrawbridgeFault
├── Malformed         the request cannot be read, or what came is not what it said       HTTP 400
├── Unauthorized      no token, a token that is not good, or another user's              HTTP 401
├── Forbidden         known, and not allowed: a quota, another package's certificate     HTTP 403
├── NotFound          there is nothing of that name                                      HTTP 404
├── NoSuchMethod      this is not how it is asked                                        HTTP 405
├── TooSlow           the body did not come in time                                      HTTP 408
├── Conflict          there is something else of that name, and names do not change      HTTP 409
├── Gone              a tag that was yanked                                              HTTP 410
├── TooLarge          more bytes than a thing of this kind may have                      HTTP 413
├── OtherVersion      the protocol's version is not spoken here                          HTTP 501
├── Unavailable       the provider of identities cannot be reached                       HTTP 503
└── Full              the disk is full                                                   HTTP 507

`ConfigurationError` is that of every service: the server does not start.
"""

from __future__ import annotations

from typing import ClassVar

from enarx_service.errors import ConfigurationError, ServiceFault

__all__ = [
    "ConfigurationError",
    "Conflict",
    "DrawbridgeFault",
    "Forbidden",
    "Full",
    "Gone",
    "Malformed",
    "NoSuchMethod",
    "NotFound",
    "OtherVersion",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
]


class DrawbridgeFault(ServiceFault):
    """Head of the tree: `str(fault)` is what the client is told, as text."""

    status: ClassVar[int] = 500


class Malformed(DrawbridgeFault):
    """The request is not one that can be acted on."""

    status = 400


class Unauthorized(DrawbridgeFault):
    """Who asks is not known, or is another."""

    status = 401


class Forbidden(DrawbridgeFault):
    """Who asks is known and may not."""

    status = 403


class NotFound(DrawbridgeFault):
    """There is nothing of that name."""

    status = 404


class NoSuchMethod(DrawbridgeFault):
    """The thing is not asked by this method."""

    status = 405


class TooSlow(DrawbridgeFault):
    """The body did not come in time."""

    status = 408


class Conflict(DrawbridgeFault):
    """What a name stands for does not change."""

    status = 409


class Gone(DrawbridgeFault):
    """It was there and was withdrawn."""

    status = 410


class TooLarge(DrawbridgeFault):
    """Over the limit for a thing of this kind."""

    status = 413


class OtherVersion(DrawbridgeFault):
    """A later version of the protocol."""

    status = 501


class Unavailable(DrawbridgeFault):
    """What is needed for an answer cannot be reached now."""

    status = 503


class Full(DrawbridgeFault):
    """The disk takes no more."""

    status = 507
