"""The error that this room raises."""

from __future__ import annotations


class MeasurementFault(Exception):
    """A key, a firmware or a structure is not what it should be: `str(error)` says what, `hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
