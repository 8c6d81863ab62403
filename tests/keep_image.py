"""The image of this tree, made once and kept in the user's cache by the digest of its inputs."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enarx_image import build, pins
from enarx_image.errors import MissingInput
from enarx_image.image import Image

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache") / "enarx-deploy/image"
_KEPT = 3


@pytest.fixture(scope="session")
def debs() -> dict[str, bytes]:
    """The pinned packages. Skips where there is no apt that has them."""
    with _locked():
        try:
            return build.obtain(pins.load(), CACHE, None, "", lambda _: None)
        except MissingInput as error:
            pytest.skip(f"the pinned packages cannot be had: {error}")


@pytest.fixture(scope="session")
def image(debs) -> Image:
    """The image of what is installed here."""
    place = build.place(CACHE, pins.load())
    with _locked():
        if not place.is_dir():
            build.build(place, pins.load(), debs, lambda _: None)
            _forget_old(place.parent)
    return build.find(CACHE, pins.load())


def _forget_old(images: Path) -> None:
    for old in sorted(images.iterdir(), key=lambda path: -path.stat().st_mtime)[_KEPT:]:
        shutil.rmtree(old)


@contextmanager
def _locked() -> Iterator[None]:
    """One test process at a time makes what all of them use."""
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (CACHE / "tests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
