"""How much room a Keep takes that runs a workload with this manifest."""

from __future__ import annotations

from enarx_deploy.manifest.types import Listen, Manifest

RING_BYTES = 64 * 1024
"""Size of each ring: a socket's worth of data, so that neither half waits while the other has work."""


def room(manifest: Manifest) -> dict[str, int]:
    """Entries, accepted connections, and connections of its own."""
    listens = any(isinstance(entry, Listen) for entry in manifest.files)
    return {
        "files": len(manifest.files),
        "connections": manifest.resources.connections if listens else 0,
        "outbound": manifest.network.connections if manifest.network else 0,
    }


def memory_bytes(manifest: Manifest) -> int:
    """Bytes that the workload, its file system and its channel may take at most."""
    resources = manifest.resources
    rings = 2 * RING_BYTES * (1 + sum(room(manifest).values()))
    return resources.memory_bytes + resources.filesystem_bytes + rings
