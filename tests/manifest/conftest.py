"""Fixtures for the tests of the manifest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest import Manifest, parse


@pytest.fixture
def read() -> Callable[..., Manifest]:
    """Read a manifest's text, with `--set` arguments after it."""
    return lambda text, *overrides: parse(text.encode(), "Enarx.toml", overrides).manifest


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """The problems of a manifest's text, as a user sees them, each followed by its hint."""

    def find(text: str | bytes, *overrides: str) -> list[str]:
        data = text.encode() if isinstance(text, str) else text
        with pytest.raises(ManifestError) as caught:
            parse(data, "Enarx.toml", overrides)
        assert caught.value is caught.value.problems[0]
        return [f"{problem} ({problem.hint})" for problem in caught.value.problems]

    return find
