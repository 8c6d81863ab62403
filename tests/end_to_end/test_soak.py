"""Clients that come and go leave nothing behind in a Keep or its host process: the short form of benches.soak."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import peers, soak

CYCLES = 200


@pytest.mark.parametrize("prot", ["tcp", "tls"])
def test_neither_descriptors_nor_memory_grow_while_clients_come_and_go(
    prot: str, tmp_path: Path, shared_cache: Path, zig_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(shared_cache))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
    with peers.keep(tmp_path, prot) as keep:
        before, after = soak.soak(keep, CYCLES, tls=prot == "tls")
    assert before.growth(after) == []


def test_growth_is_told() -> None:
    before, after = soak.Use(20, 30_000), soak.Use(21, 30_000 + soak.ALLOWED_KIB + 1)
    assert len(before.growth(after)) == 2
    assert before.growth(before) == []
