"""What can go wrong with an image. Each says what and where in one line, and in `hint` what to do next.

ImageError
├── BadPins          the table of pinned inputs cannot be read
├── MissingInput     an input is not where it was looked for, or cannot be fetched
│   └── MovedOn      the archive has another version than the one that is pinned
├── WrongInput       an input is not the one that is pinned, or does not fit the others
├── MissingImage     there is no image yet
└── WrongImage       an image is not the one that its record describes
"""

from __future__ import annotations


class ImageError(Exception):
    """Head of the tree."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadPins(ImageError):
    """The table of pinned inputs cannot be read."""


class MissingInput(ImageError):
    """An input is not where it was looked for, or cannot be fetched."""


class MovedOn(MissingInput):
    """The archive has another version than the one that is pinned."""


class WrongInput(ImageError):
    """An input is not the one that is pinned, or does not fit the others."""


class MissingImage(ImageError):
    """There is no image yet."""


class WrongImage(ImageError):
    """An image is not the one that its record describes. `parts` names what differs."""

    def __init__(self, message: str, *, parts: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.parts = parts
