"""The errors that every service has. Its own are below the same head.

ServiceFault
└── ConfigurationError     what the operator gave cannot be used: the service does not start
"""

from __future__ import annotations


class ServiceFault(Exception):
    """Head of the tree: `str(fault)` is one line of what and where, `hint` one line of what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(ServiceFault):
    """The service's own files or options cannot be used as they are."""
