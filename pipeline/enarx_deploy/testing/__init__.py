"""Tests for plugins, to be run by pytest where the plugin is developed: `BackendConformance`."""

import pytest

pytest.register_assert_rewrite("enarx_deploy.testing.backend")  # so that a failure shows what was compared

from enarx_deploy.testing.backend import BackendConformance  # noqa: E402 - after that

__all__ = ["BackendConformance"]
