"""Finds plugins, keeps each one's faults its own, and looks providers up.

Invariants, each of which pluggy alone leaves open:

1. The default stages are registered before any plugin that may have one, so that a plugin's stage is asked before them.
2. Entry points are taken in the order of their names, whatever `sys.path` says; built-ins before strangers.
3. Plugins are loaded one by one: one that fails is recorded in `failures`, and the others go on.
4. Two entry points of one name, or two providers of one name, are refused, naming both sides.
5. A plugin with a hook that no spec has is recorded as failed: its author meant something that would not happen.
6. What plugin code raises arrives as an EnarxDeployError that names the plugin; the cause is kept.
7. A stage that nobody answers is NoStageAnswered, not None.

Built-in plugins are those of this distribution. They are looked in first: the one that has the provider's name, then
the others that have providers of its kind, as a table says. Strangers, of which no table knows, are loaded when the
built-ins have no answer or when a stage is run, since a stranger may take a stage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

import pluggy

from enarx_deploy import entry_points, hookspecs, protocols
from enarx_deploy.built_in_plugins import may_have
from enarx_deploy.errors import EnarxDeployError, NoStageAnswered, PluginError, UsageError

if TYPE_CHECKING:
    import click

Kind = Literal["toolchain", "backend", "target", "registry", "issuer"]
Trace = Callable[[str], None]

DISTRIBUTION = "enarx-deploy"
DEFAULT_STAGES = ("compile", "package", "attest", "deploy", "provision_tls")  # modules of enarx_deploy.stages
_HOOK_OF_KIND: dict[Kind, str] = {
    "toolchain": "register_toolchains",
    "backend": "register_backends",
    "target": "register_targets",
    "registry": "register_registries",
    "issuer": "register_issuers",
}
_PROTOCOL_OF_KIND: dict[Kind, type] = {
    "toolchain": protocols.Toolchain,
    "backend": protocols.Backend,
    "target": protocols.Target,
    "registry": protocols.Registry,
    "issuer": protocols.Issuer,
}
_ALL_HOOKS = (*_HOOK_OF_KIND.values(), "register_commands", *DEFAULT_STAGES)
_PROTOCOLS = (
    "docs/how-to/write-a-plugin.md has the protocols; uninstall the plugin, or leave it out with ENARX_DEPLOY_DISABLE"
)
KINDS: tuple[Kind, ...] = tuple(_HOOK_OF_KIND)


@dataclass
class Plugin:
    """A plugin as found: its entry point, where that comes from, and what became of it.

    `state` is "found" until it is loaded. `providers` are the kind and the name of what it has registered so far.
    `error` says in one line why a plugin is "failed"; `cause` is the exception.
    """

    name: str
    module: str
    distribution: str
    version: str
    state: Literal["found", "loaded", "disabled", "failed"] = "found"
    hooks: tuple[str, ...] = ()
    providers: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""
    cause: BaseException | None = None

    @property
    def built_in(self) -> bool:
        """Whether this distribution ships it."""
        return self.distribution == DISTRIBUTION

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}"


class Registered(NamedTuple):
    """A provider or a command, and the plugin that it comes from."""

    name: str
    value: Any
    plugin: Plugin


class PluginManager:
    """The plugins of this installation. Makes no import of a plugin before it is needed."""

    def __init__(self, *, disabled: Collection[str] = (), trace: Trace | None = None) -> None:
        self._pluggy = pluggy.PluginManager(hookspecs.NAME)
        self._pluggy.add_hookspecs(hookspecs)
        self._disabled = frozenset(disabled)
        self._collected: dict[tuple[str, str], list[Registered]] = {}  # (plugin, hook) -> what it registered
        if trace is not None:
            _monitor(self._pluggy, trace)
        self._plugins = _find_plugins(self._disabled)

    @classmethod
    def from_environment(cls, *, trace: Trace | None = None) -> PluginManager:
        """A manager that leaves out the plugins and distributions named in `ENARX_DEPLOY_DISABLE` (a,b)."""
        words = os.environ.get("ENARX_DEPLOY_DISABLE", "").split(",")
        return cls(disabled={word.strip() for word in words if word.strip()}, trace=trace)

    @property
    def plugins(self) -> list[Plugin]:
        """Every plugin that was found, built-ins first, each group in the order of names."""
        return list(self._plugins)

    @property
    def failures(self) -> list[Plugin]:
        """The plugins that failed to load, so far."""
        return [plugin for plugin in self._plugins if plugin.state == "failed"]

    def load(self, hook: str = "", *, strangers: bool = True) -> None:
        """Load the built-in plugins, of which a `hook` asks for those that have it, and with `strangers` all others.

        A plugin is loaded once.
        """
        others = [plugin for plugin in self._plugins if not plugin.built_in] if strangers else []
        # Before strangers, which may have stages, come the built-ins that have: the order of loading is that of stages.
        hooks = {*([hook] if hook else _ALL_HOOKS), *(DEFAULT_STAGES if others else ())}
        if not hooks.isdisjoint(DEFAULT_STAGES):
            self._register_default_stages()
        for plugin in self._plugins:
            if plugin.built_in and any(may_have(plugin.name, one) for one in hooks):
                self._load_one(plugin)
        for plugin in others:
            self._load_one(plugin)

    def call_stage(self, stage: str, **arguments: Any) -> Any:
        """Run one stage hook; the record of the first plugin that answers.

        Raises NoStageAnswered, PluginError, and whatever EnarxDeployError the plugin raises itself.
        """
        self.load(stage)
        hook = getattr(self._pluggy.hook, stage)
        with self.boundary():
            record = hook(**arguments)
        if record is None:
            raise NoStageAnswered(stage, [impl.plugin_name for impl in reversed(hook.get_hookimpls())])
        return record

    def plugins_of_stage(self, stage: str) -> list[str]:
        """Those who will be asked for a stage, in that order, wrappers first."""
        self.load(stage)
        impls = getattr(self._pluggy.hook, stage).get_hookimpls()
        return [impl.plugin_name for impl in reversed(impls)]

    @overload
    def get(self, kind: Literal["toolchain"], name: str) -> protocols.Toolchain: ...
    @overload
    def get(self, kind: Literal["backend"], name: str) -> protocols.Backend: ...
    @overload
    def get(self, kind: Literal["target"], name: str) -> protocols.Target: ...
    @overload
    def get(self, kind: Literal["registry"], name: str) -> protocols.Registry: ...
    @overload
    def get(self, kind: Literal["issuer"], name: str) -> protocols.Issuer: ...
    def get(self, kind: Kind, name: str) -> Any:
        """The provider of this name or alias. Raises UsageError that tells the nearest name and what failed to load."""
        for found in self._nearest_first(kind, name):
            for registered in found:
                if name in (registered.name, *getattr(registered.value, "aliases", ())):
                    return registered.value
        raise self._unknown(kind, name)

    @overload
    def all(self, kind: Literal["toolchain"]) -> list[protocols.Toolchain]: ...
    @overload
    def all(self, kind: Literal["backend"]) -> list[protocols.Backend]: ...
    @overload
    def all(self, kind: Literal["target"]) -> list[protocols.Target]: ...
    @overload
    def all(self, kind: Literal["registry"]) -> list[protocols.Registry]: ...
    @overload
    def all(self, kind: Literal["issuer"]) -> list[protocols.Issuer]: ...
    def all(self, kind: Kind) -> Any:
        """Every provider of a kind, built-ins first."""
        return [registered.value for registered in self.registered(kind)]

    def registered(self, kind: Kind, *, strangers: bool = True) -> list[Registered]:
        """Every provider of a kind with the plugin it comes from. Raises PluginError where two have one name."""
        self.load(_HOOK_OF_KIND[kind], strangers=strangers)
        found = self._providers(kind, [plugin for plugin in self._plugins if plugin.built_in or strangers])
        _refuse_duplicates(kind, found)
        return found

    def commands(self, taken: Collection[str] = ()) -> dict[str, click.Command]:
        """The commands that plugins bring, by name. Raises PluginError where two have one name, or it is `taken`."""
        self.load("register_commands")
        found = self._collect("command", "register_commands", self._plugins, _command_name)
        for registered in found:
            if registered.name in taken:
                raise PluginError(
                    f"command {registered.name!r} of {registered.plugin} has the name of a command of {DISTRIBUTION}",
                    hint=f"uninstall {registered.plugin.distribution}, or leave it out with ENARX_DEPLOY_DISABLE",
                )
        _refuse_duplicates("command", found)
        return {registered.name: cast("click.Command", registered.value) for registered in found}

    @contextmanager
    def boundary(self) -> Iterator[None]:
        """Around code that may call into a plugin: what the plugin's own code raises becomes PluginError naming it."""
        try:
            yield
        except EnarxDeployError:
            raise
        except Exception as error:
            blamed = self.blame(error)
            if blamed is None:
                raise
            raise blamed from error

    def blame(self, error: Exception) -> PluginError | None:
        """The error that names the plugin which `error` comes from; None where no plugin's code was running."""
        plugin = self._culprit(error)
        if plugin is None:
            return None
        return PluginError(
            f"{plugin} failed: {_describe(error)}", hint="-vv shows where; its authors will want to see it"
        )

    def _register_default_stages(self) -> None:
        for stage in DEFAULT_STAGES:
            name = f"stages.{stage}"
            if name not in self._disabled and not self._pluggy.has_plugin(name):
                self._pluggy.register(import_module(f"enarx_deploy.stages.{stage}"), name=name)

    def _load_one(self, plugin: Plugin) -> None:
        if plugin.state != "found":
            return
        try:
            module = import_module(plugin.module)
            self._pluggy.register(module, name=plugin.name)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's module raises is its own failure, not ours
            _mark_failed(plugin, error)
            return
        hooks = sorted(caller.name for caller in self._pluggy.get_hookcallers(module) or ())
        unknown = [hook for hook in hooks if not self._has_spec(hook)]
        if unknown:
            self._pluggy.unregister(module)
            _mark_failed(plugin, self._no_such_hook(unknown[0]))
        else:
            plugin.state, plugin.hooks = "loaded", tuple(hooks)

    def _no_such_hook(self, hook: str) -> PluginError:
        known = [name for name in vars(hookspecs) if self._has_spec(name)]
        return PluginError(f"it implements a hook {hook!r} that does not exist{_nearest(hook, known)}")

    def _has_spec(self, hook: str) -> bool:
        caller = getattr(self._pluggy.hook, hook, None)
        return isinstance(caller, pluggy.HookCaller) and caller.has_spec()

    def _providers(self, kind: Kind, plugins: Sequence[Plugin]) -> list[Registered]:
        return self._collect(kind, _HOOK_OF_KIND[kind], plugins, lambda value: _provider_name(kind, value))

    def _collect(
        self, kind: str, hook: str, plugins: Sequence[Plugin], name_of: Callable[[object], str]
    ) -> list[Registered]:
        found: list[Registered] = []
        for plugin in plugins:
            if plugin.state == "loaded" and hook in plugin.hooks:
                found += self._collect_from(plugin, kind, hook, name_of)
        return found

    def _collect_from(self, plugin: Plugin, kind: str, hook: str, name_of: Callable[[object], str]) -> list[Registered]:
        key = (plugin.name, hook)
        if key not in self._collected:
            others = [p for name, p in self._pluggy.list_name_plugin() if name != plugin.name and p is not None]
            caller = self._pluggy.subset_hook_caller(hook, others)
            try:
                values = [value for values in caller() for value in values]
                self._collected[key] = [Registered(name_of(value), value, plugin) for value in values]
            except Exception as error:  # noqa: BLE001  # as in _load_one
                _mark_failed(plugin, error, f"{hook}: ")
                return []
            plugin.providers += [(kind, registered.name) for registered in self._collected[key]]
        return self._collected[key]

    def _nearest_first(self, kind: Kind, name: str) -> Iterator[list[Registered]]:
        """Where to look for a provider: each place only if those before have none, for what is loaded takes time."""
        namesakes = [plugin for plugin in self._plugins if plugin.built_in and plugin.name == name]
        for plugin in namesakes:
            self._load_one(plugin)
        yield self._providers(kind, namesakes)
        yield self.registered(kind, strangers=False)
        yield self.registered(kind)

    def _unknown(self, kind: Kind, name: str) -> UsageError:
        known = [registered.name for registered in self.registered(kind)]
        return UsageError(
            f"{kind} {name!r} is not known{_nearest(name, known)}{self.suspicion(name)}",
            hint=f"known: {', '.join(known) or 'none'}; `enarx-deploy plugins` shows where each comes from",
        )

    def suspicion(self, name: str) -> str:
        """The end of a message that something of this name is not known: which failed plugin may have brought it."""
        suspects = [plugin for plugin in self.failures if plugin.name == name] or self.failures
        if len(suspects) == 1:
            return f"; {suspects[0]} failed to load: {suspects[0].error}"
        return f"; plugins that failed to load: {', '.join(plugin.name for plugin in suspects)}" if suspects else ""

    def _culprit(self, error: BaseException) -> Plugin | None:
        """The plugin whose code is innermost in the traceback: by its own module, else by its import package."""
        modules = _modules_innermost_first(error)
        loaded = [plugin for plugin in self._plugins if plugin.state in ("loaded", "failed")]
        for belongs in (_is_module_of, _is_package_of):
            for module in modules:
                for plugin in loaded:
                    if belongs(plugin, module):
                        return plugin
        return None


def _find_plugins(disabled: Collection[str]) -> list[Plugin]:
    found = [Plugin(*entry) for entry in entry_points.of_group(hookspecs.NAME)]
    found.sort(key=lambda plugin: (not plugin.built_in, plugin.name, plugin.distribution))
    for plugin in found:
        if plugin.name in disabled or plugin.distribution in disabled:
            plugin.state = "disabled"
    _refuse_duplicates("plugin", [Registered(p.name, None, p) for p in found if p.state != "disabled"])
    return found


def _refuse_duplicates(kind: str, found: Sequence[Registered]) -> None:
    first: dict[str, Registered] = {}
    for registered in found:
        other = first.setdefault(registered.name, registered)
        if other is not registered:
            raise PluginError(
                f"two {kind}s are named {registered.name!r}: {other.plugin} and {registered.plugin}",
                hint="uninstall one, or leave its distribution out with ENARX_DEPLOY_DISABLE",
            )


def _provider_name(kind: Kind, value: object) -> str:
    protocol = _PROTOCOL_OF_KIND[kind]
    if not isinstance(value, protocol):
        lacking = sorted(name for name in _members(protocol) if not hasattr(value, name))
        raise PluginError(f"{value!r} is not a {kind}: it lacks {', '.join(lacking)}", hint=_PROTOCOLS)
    return cast(str, getattr(value, "name"))  # noqa: B009  # every protocol has it, which mypy cannot see


def _members(protocol: type) -> set[str]:
    own = {name for name in vars(protocol) if not name.startswith("_")}
    return own | {name for name in protocol.__annotations__ if not name.startswith("_")}


def _command_name(value: object) -> str:
    import click

    if not isinstance(value, click.Command) or not value.name:
        raise PluginError(f"{value!r} is not a click command with a name", hint=_PROTOCOLS)
    return value.name


def _mark_failed(plugin: Plugin, error: BaseException, where: str = "") -> None:
    plugin.state, plugin.error, plugin.cause = "failed", where + _describe(error), error


def _describe(error: BaseException) -> str:
    if isinstance(error, EnarxDeployError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _nearest(name: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _modules_innermost_first(error: BaseException) -> list[str]:
    modules = []
    frame = error.__traceback__
    while frame is not None:
        modules.append(str(frame.tb_frame.f_globals.get("__name__", "")))
        frame = frame.tb_next
    return modules[::-1]


def _is_module_of(plugin: Plugin, module: str) -> bool:
    return module == plugin.module or module.startswith(f"{plugin.module}.")


def _is_package_of(plugin: Plugin, module: str) -> bool:
    return module.partition(".")[0] == plugin.module.partition(".")[0]


def _monitor(manager: pluggy.PluginManager, trace: Trace) -> None:
    started: list[float] = []

    def before(hook: str, impls: Sequence[pluggy.HookImpl], arguments: object) -> None:  # noqa: ARG001  # pluggy's shape
        trace(
            f"{'  ' * len(started)}hook {hook}: {', '.join(impl.plugin_name for impl in reversed(impls)) or 'nobody'}"
        )
        started.append(time.monotonic())

    def after(outcome: pluggy.Result[Any], hook: str, impls: object, arguments: object) -> None:  # noqa: ARG001  # pluggy's shape
        seconds = time.monotonic() - started.pop()
        ended = "raised" if outcome.exception else "returned"
        trace(f"{'  ' * len(started)}hook {hook}: {ended} after {seconds:.3f} s")

    manager.add_hookcall_monitoring(before, after)
