"""Which built-in plugin has which hooks, so that none is imported for a hook that it does not have.

A test holds this table to the plugins. Of a plugin that it does not name, any hook may be expected.
"""

from __future__ import annotations

_HOOKS = {
    "register_toolchains": (
        "assemblyscript",
        "c",
        "command",
        "cpp",
        "dotnet",
        "go",
        "grain",
        "javascript",
        "prebuilt",
        "python",
        "rust",
        "swift",
        "tinygo",
        "wat",
        "zig",
    ),
    "register_backends": ("kvm", "nil", "sgx", "snp", "tdx"),
    "register_targets": ("kubernetes", "local", "ssh"),
    "register_registries": ("directory", "drawbridge", "oci", "web"),
    "register_issuers": ("acme", "selfsigned", "steward"),
    "register_commands": ("acme", "keyless", "kubernetes-commands"),
    # The stages, which it surrounds where traces are asked for.
    **dict.fromkeys(("compile", "package", "attest", "deploy", "provision_tls"), ("tracing",)),
}
_NAMED = frozenset(name for names in _HOOKS.values() for name in names)


def may_have(plugin: str, hook: str) -> bool:
    """Whether a built-in plugin may have a hook."""
    return plugin in _HOOKS[hook] or plugin not in _NAMED
