"""One way down: nothing imports upward, there are no circles, and no room imports one that it must not trust.

Every import counts, also one inside a function, save those for types alone (`if TYPE_CHECKING:`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOTS = (ROOT / "pipeline", ROOT / "plugins")
PLUGINS = tuple(sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()))

# What a room may import of the others.
ROOMS = {
    "enarx_sallyport": (),
    "enarx_keep": ("enarx_sallyport", "enarx_signing"),  # the latter where it runs code that packages bring
    "enarx_attestation": (),
    "enarx_collateral": ("enarx_attestation", "enarx_files"),
    "enarx_toml": (),
    "enarx_files": (),
    "enarx_service": (),
    "enarx_drawbridge": ("enarx_attestation", "enarx_toml", "enarx_files", "enarx_service"),
    "enarx_measurement": ("enarx_attestation", "enarx_signing"),
    "enarx_signing": (),
    "enarx_image": ("enarx_files", "enarx_signing"),
    "enarx_steward": (
        *("enarx_attestation", "enarx_collateral", "enarx_toml", "enarx_files", "enarx_service", "enarx_signing"),
    ),
    "enarx_deploy": (
        "enarx_sallyport",
        "enarx_attestation",
        "enarx_collateral",
        "enarx_toml",
        "enarx_files",
        "enarx_service",
        "enarx_measurement",
        "enarx_signing",
        "enarx_steward",
        "enarx_drawbridge",
        "enarx_image",
        "enarx_keep",
    ),
    # Where a Keep is a process of a protected guest, whoever starts it there has the guest attest.
    "enarx_backends": ("enarx_deploy", "enarx_image", "enarx_measurement", "enarx_sallyport", "enarx_keep"),
    "enarx_languages": ("enarx_deploy",),
    "enarx_targets": ("enarx_deploy", "enarx_files"),
    "enarx_registries": ("enarx_deploy", "enarx_drawbridge", "enarx_service"),
    "enarx_issuers": ("enarx_deploy", "enarx_attestation", "enarx_files", "enarx_service", "enarx_steward"),
    "enarx_sigstore": ("enarx_deploy", "enarx_signing"),
    "enarx_acme": (
        "enarx_deploy",
        "enarx_files",
        "enarx_service",
        "enarx_issuers",
    ),  # the latter for the check of a chain that every issuer makes
    # Its images are sent as the OCI registry sends packages, its pods are given the root that the issuer pinned, and a
    # Steward's policy is read before it is rendered.
    "enarx_kubernetes": ("enarx_deploy", "enarx_registries", "enarx_issuers", "enarx_steward"),
    "enarx_telemetry": ("enarx_deploy",),
}

# What every plugin may import of the core, and what some may beside that.
FOR_PLUGINS = {"hookspecs", "protocols", "models", "errors", "paths", "project", "machine", "manifest", "tools"}
FOR_SOME = {
    "enarx_targets": {
        "host",
        "package_tree",
        "package_attachments",
        "package_archive",
        "pruning",
    },  # the local target starts the core's host process
    "enarx_kubernetes": {"host"},  # how the log of a host process is read
    "enarx_sigstore": {"package_tree", "package_attachments"},  # it signs packages that are there
    "enarx_registries": {
        "package_tree",
        "package_archive",
        "package_attachments",
        "plain_files",
        "reference",
        "staging",
        "drawbridge_client",
        "job_identity",
    },  # what is fetched is a package, checked as one
}

# The core from the bottom up: a module imports from its own line or from those above it, never from below.
STOREYS = (
    {"__init__", "errors", "models", "sizes"},
    {"protocols", "hookspecs", "paths", "manifest", "reference", "entry_points", "built_in_plugins", "plain_files"},
    {"project", "machine"},
    {"tools"},
    {
        "wasm_binary",
        "wasm",
        "wasm_report",
        "wasm_sections",
        "wasm_opt",
        "tool_bytes",
        "lint",
        "watch",
        "job_identity",
        "drawbridge_client",
        "staging",
        "package_tree",
        "package_attachments",
        "package_archive",
        "trusted_signers",
        "package_signing",
        "reference_statement",
        "description",
        "template",
        "templates",
        "records",
        "lock",
        "enarx_lock",
        "pruning",
    },
    {"stages", "verification"},
    {"plugin_manager"},
    {"choice"},
    {"attest_first", "fetching", "rendering"},
    {"steps"},
    {"plan"},
    {"runner"},
    {"rebuild"},
    {"host"},
    {"testing"},
    {"console"},
    {"cli"},
    {"__main__"},
)


def is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not is_for_types_alone(child):
            yield from import_nodes(child)


@cache
def modules() -> dict[str, Path]:
    """Every module of the house by its dotted name."""
    found = {}
    for root in ROOTS:
        for path in root.glob("enarx_*/**/*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of the house that a module imports."""
    path = modules()[module]
    found = set()
    for node in import_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = absolute(node, module, is_package=path.name == "__init__.py")
            # `from a import b` is an import of the module a.b where there is one, and of a otherwise.
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in modules() else base for a in node.names}
    return frozenset(name for name in found if name.partition(".")[0] in ROOMS and name != module)


def absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def room(module: str) -> str:
    return module.partition(".")[0]


def part(module: str) -> str:
    """The part of its room that a module belongs to: `cli` for `enarx_deploy.cli.up`."""
    return [*module.split("."), "__init__"][1]


def storey(module: str) -> int:
    return next(number for number, names in enumerate(STOREYS) if part(module) in names)


def test_every_room_is_known():
    assert {room(module) for module in modules()} == set(ROOMS)
    assert set(PLUGINS) == {
        "enarx_acme",
        "enarx_backends",
        "enarx_issuers",
        "enarx_kubernetes",
        "enarx_languages",
        "enarx_registries",
        "enarx_sigstore",
        "enarx_targets",
        "enarx_telemetry",
    }


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_those_that_it_may(name):
    crossing = {
        f"{module} -> {imported}"
        for module in modules()
        if room(module) == name
        for imported in imports(module)
        if room(imported) not in (name, *ROOMS[name])
    }
    assert crossing == set()


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_imports_only_what_plugins_are_offered(name):
    offered = FOR_PLUGINS | FOR_SOME.get(name, set())
    private = {
        f"{module} -> {imported}"
        for module in modules()
        if room(module) == name
        for imported in imports(module)
        if room(imported) == "enarx_deploy" and part(imported) not in offered
    }
    assert private == set()


def test_every_module_of_the_core_has_its_storey():
    known = set().union(*STOREYS)
    assert {part(module) for module in modules() if room(module) == "enarx_deploy"} <= known


def test_nothing_imports_upward():
    upward = {
        f"{module} -> {imported}"
        for module in modules()
        if room(module) == "enarx_deploy"
        for imported in imports(module)
        if room(imported) == "enarx_deploy" and storey(imported) > storey(module)
    }
    assert upward == set()


def test_no_command_imports_another():
    commands = {f"enarx_deploy.cli.{name}" for name in command_names()}
    crossing = {f"{module} -> {other}" for module in commands for other in imports(module) & commands}
    assert crossing == set()


def command_names() -> list[str]:
    from enarx_deploy.cli.app import COMMANDS

    return list(COMMANDS)


def test_there_are_no_circles():
    circles, finished = [], set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            circles.append(" -> ".join([*path[path.index(module) :], module]))
        elif module in modules() and module not in finished:
            for imported in sorted(imports(module)):
                visit(imported, (*path, module))
            finished.add(module)

    for module in modules():
        visit(module, ())
    assert circles == []


def test_only_the_host_process_knows_the_keep():
    """It speaks with the Keep over the channel that the Keep defines."""
    assert {part(m) for m in modules() if room(m) == "enarx_deploy" and "enarx_keep" in map(room, imports(m))} == {
        "host"
    }


def test_only_its_own_face_imports_the_compiled_module():
    importers = {module for module in modules() if "_native" in modules()[module].read_text().split("import", 1)[-1]}
    users = {
        module
        for module in importers
        for node in import_nodes(ast.parse(modules()[module].read_text()))
        if "_native" in ast.unparse(node)
    }
    assert users <= {"enarx_sallyport"}


def test_the_specification_of_the_hooks_imports_nothing_of_the_house():
    assert imports("enarx_deploy.hookspecs") == frozenset()


def test_the_reader_of_imports_sees_each_kind(tmp_path, monkeypatch):
    source = """
import enarx_keep.boot
from enarx_deploy import errors
from enarx_deploy.errors import UsageError
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import enarx_steward
def lazily():
    from enarx_attestation.model import Claims
"""
    path = tmp_path / "x.py"
    path.write_text(source)
    monkeypatch.setitem(modules(), "enarx_deploy.x", path)
    assert imports("enarx_deploy.x") == {"enarx_keep.boot", "enarx_deploy.errors", "enarx_attestation.model"}
