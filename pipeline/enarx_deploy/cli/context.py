"""What every command shares: the options that all of them take, and how they answer.

An option given before the command's name means the same as one given after it; the latter wins.

A command is written so, and gets the `Context` as its first argument:

    @click.command()
    @common_options("manifest", "backend")
    @click.argument("keep")
    def command(context: Context, keep: str) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from enarx_deploy.cli.printable import printable
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.cli.unchanged import Asked
    from enarx_deploy.errors import PluginError
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.project import Project, Settings
    from enarx_deploy.protocols import Target
    from enarx_deploy.reference import Reference
    from enarx_signing import Signers, SigningKey

P = ParamSpec("P")
R = TypeVar("R")
Extra = Literal["manifest", "backend", "target", "cluster", "metrics", "force", "registry", "sign", "locked", "yes"]


@dataclass
class Context:
    """The common options as given, and the way out for a command's answer."""

    directory: Path = field(default_factory=Path)
    json: bool = False
    verbosity: int = 0
    quiet: bool = False
    overrides: tuple[str, ...] = ()  # KEY=VALUE, in the order given
    manifest_file: Path | None = None
    backend: str = ""
    image: Path | None = None
    target: str = ""
    takes_target: bool = False  # whether the command has --target
    cluster: str = ""  # a context of the kubeconfig
    metrics: str = ""
    force: bool = False
    wait_lock: float | None = None  # seconds
    yes: bool = False
    locked: bool = False
    registry_host: str = ""
    trust: Path | None = None
    allow_unsigned: bool = False
    sign: str = ""  # a private key: a file, or a PKCS#11 URI
    passphrase_file: Path | None = None
    passphrase_fd: int | None = None
    trace_hooks: bool = False
    given_before: dict[str, str] = field(default_factory=dict)  # field -> option, given before the command's name
    warned: set[str] = field(default_factory=set, init=False)  # what was warned of: a copy of this begins anew
    answered: bool = False  # whether the command's answer is on stdout
    asked: Asked | None = None  # what a stamp could answer the next time
    only_unchanged: bool = False  # run no stage: whoever asks wants to know what is said where none need be
    skipped: bool = False  # whether no stage had to be run

    @functools.cached_property
    def plugins(self) -> PluginManager:
        """The plugin manager, made when a command first needs it."""
        from enarx_deploy.plugin_manager import PluginManager

        return PluginManager.from_environment(trace=self.trace if self.trace_hooks else None)

    @functools.cached_property
    def signing_key(self) -> SigningKey | None:
        """The key of `--sign`, opened once: its passphrase may be asked for. Raises UsageError."""
        from enarx_deploy.cli.signing_key import given_passphrase, open_key

        return open_key(self.sign, given_passphrase(self.passphrase_file, self.passphrase_fd)) if self.sign else None

    @property
    def signers(self) -> Signers | None:
        """Of whom one must have signed what is fetched, as the options say; None where they say nothing."""
        if self.allow_unsigned:
            from enarx_signing import Signers

            return Signers()
        if self.trust is None:
            return None
        from enarx_deploy import trusted_signers

        return trusted_signers.load(self.trust)

    def blame(self, error: Exception) -> PluginError | None:
        """The error that names the plugin which `error` comes from, if any plugin's code was running."""
        return self.plugins.blame(error) if "plugins" in vars(self) else None

    @property
    def options(self) -> Settings:
        """What the options say of a deployment."""
        from enarx_deploy.project import Settings

        return Settings(
            backend=self.backend,
            image=str(self.image.absolute()) if self.image else "",
            target=self.target,
            cluster=self.cluster,
            metrics=self.metrics,
            force=self.force,
            wait_lock=self.wait_lock,
            locked=self.locked,
        )

    def project(self) -> Project:
        """The project in the directory, its manifest read and checked. Raises ManifestError, UsageError."""
        from enarx_deploy.project import load_project

        project = load_project(
            self.directory,
            overrides=self.overrides,
            manifest_file=self.manifest_file,
            asked=self.options,
            environment=self.target if self.takes_target else None,
            signing_key=self.signing_key,
        )
        for line in project.warnings:
            self.warn(line)
        return project

    def named_target(self) -> Target:
        """The target that `--target` names, itself or as an environment. Raises ManifestError, UsageError."""
        from enarx_deploy.project import named_environment
        from enarx_deploy.protocols import Located

        settings = named_environment(self.directory, self.options)
        found = self.plugins.get("target", settings.target)
        if settings.deploy and isinstance(found, Located):
            return found.within(self.directory.resolve(), settings)
        return found

    def reference(self, text: str) -> Reference:
        """A package's reference, `--host` standing in where it names no registry. Raises UsageError."""
        from enarx_deploy.reference import parse

        try:
            return parse(text, self.registry_host)
        except UsageError as error:
            if not Path(text).is_dir():
                raise
            hint = f"-C {text} before the command works in it, where it is a project; dir:{text} is a registry"
            raise UsageError(f"{text} is a directory, and no reference to a package", hint=hint) from error

    def emit(self, human: str | Callable[[], str], record: Any) -> None:
        """Answer on stdout: `record` as JSON with `--json`, else the text that `human` is or returns."""
        text = _as_json(record) if self.json else _as_text(human)
        if text:
            click.echo(text if self.json else printable(text))
        self.answered = True

    def note(self, line: str) -> None:
        """A line that a user wants to see on stderr, unless quiet or a program is listening."""
        if not self.quiet and (not self.json or self.verbosity):
            click.echo(printable(line), err=True)

    def warn(self, line: str) -> None:
        """A warning on stderr, shown even with `--quiet`, and once however often it is come by."""
        if line not in self.warned:
            self.warned.add(line)
            click.echo(printable(f"warning: {line}"), err=True)

    def trace(self, line: str) -> None:
        """A line of `--trace-hooks`, on stderr."""
        click.echo(line, err=True)


@dataclass(frozen=True)
class _Option:
    """One common option: its words, the field of `Context` that it fills, and its environment variables."""

    fills: str
    words: tuple[str, ...]
    help: str
    environment: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


_ALWAYS = (
    _Option(
        "directory",
        ("-C", "--directory"),
        "Work in DIR instead of the current directory.",
        ("ENARX_DEPLOY_DIRECTORY",),
        {"metavar": "DIR", "type": click.Path(exists=True, file_okay=False, path_type=Path)},
    ),
    _Option("json", ("--json",), "Answer in JSON on stdout.", ("ENARX_DEPLOY_JSON",), {"is_flag": True}),
    _Option(
        "verbosity",
        ("-v", "--verbose"),
        "Say more; -vv shows tracebacks.",
        ("ENARX_DEPLOY_VERBOSE",),
        {"count": True},
    ),
    _Option("quiet", ("-q", "--quiet"), "Say only what went wrong.", ("ENARX_DEPLOY_QUIET",), {"is_flag": True}),
    _Option(
        "trace_hooks",
        ("--trace-hooks",),
        "Print each hook call, its plugins and its time.",
        ("ENARX_DEPLOY_TRACE_HOOKS",),
        {"is_flag": True, "hidden": True},
    ),
)
_EXTRA: dict[Extra, tuple[_Option, ...]] = {
    "manifest": (
        _Option(
            "overrides",
            ("--set",),
            "Override a manifest value, such as --set files.web.port=8443; can be repeated.",
            ("ENARX_DEPLOY_SET",),
            {"metavar": "KEY=VALUE", "multiple": True},
        ),
        _Option(
            "manifest_file",
            ("--manifest",),
            "Read this manifest instead of DIR/Enarx.toml.",
            ("ENARX_DEPLOY_MANIFEST", "ENARX_WASMCFGFILE"),
            {"metavar": "FILE", "type": click.Path(path_type=Path)},
        ),
    ),
    "backend": (
        _Option(
            "backend",
            ("--backend",),
            "The kind of Keep: nil, kvm, snp, tdx, sgx or a plugin's.",
            ("ENARX_DEPLOY_BACKEND", "ENARX_BACKEND"),
            {"metavar": "NAME"},
        ),
        _Option(
            "image",
            ("--image",),
            "Boot the image in DIR, by `image build --output`, and not the one of this version.",
            ("ENARX_DEPLOY_IMAGE",),
            {"metavar": "DIR", "type": click.Path(path_type=Path)},
        ),
    ),
    "target": (
        _Option(
            "target",
            ("--target",),
            "The environment of the project ([deploy.NAME]), or a target such as local.",
            ("ENARX_DEPLOY_TARGET",),
            {"metavar": "NAME"},
        ),
    ),
    "cluster": (
        _Option(
            "cluster",
            ("--context",),
            "The cluster, for targets that are one: a context of the kubeconfig.",
            ("ENARX_DEPLOY_CONTEXT",),
            {"metavar": "NAME"},
        ),
    ),
    "metrics": (
        _Option(
            "metrics",
            ("--metrics",),
            "Serve metrics and health of the Keep here, such as 127.0.0.1:9464.",
            ("ENARX_DEPLOY_METRICS",),
            {"metavar": "HOST:PORT"},
        ),
    ),
    "force": (
        _Option(
            "force",
            ("--force",),
            "Run every stage again, changed or not.",
            ("ENARX_DEPLOY_FORCE",),
            {"is_flag": True},
        ),
        _Option(
            "wait_lock",
            ("--wait-lock",),
            "Wait so long for another run in this project, then fail; 0 is not at all. Default: 600.",
            ("ENARX_DEPLOY_WAIT_LOCK",),
            {"metavar": "SECONDS", "type": click.FloatRange(min=0, max=1 << 31)},
        ),
    ),
    "yes": (
        _Option(
            "yes",
            ("-y", "--yes"),
            "Do it without asking. Without a terminal nobody is asked.",
            ("ENARX_DEPLOY_YES",),
            {"is_flag": True},
        ),
    ),
    "locked": (
        _Option(
            "locked",
            ("--locked",),
            "Refuse whatever differs from Enarx.lock.",
            ("ENARX_DEPLOY_LOCKED",),
            {"is_flag": True},
        ),
    ),
    "registry": (
        _Option(
            "registry_host",
            ("--host",),
            "The registry of slugs without a host: HOST for a Drawbridge, oci://HOST for OCI.",
            ("ENARX_DEPLOY_HOST", "ENARX_REGISTRY"),
            {"metavar": "HOST"},
        ),
        _Option(
            "trust",
            ("--trust",),
            "Who must have signed what is fetched. Default: the keys that you trust, if any.",
            ("ENARX_DEPLOY_TRUST",),
            {"metavar": "FILE", "type": click.Path(path_type=Path)},
        ),
        _Option(
            "allow_unsigned",
            ("--allow-unsigned",),
            "Fetch it though nobody whom you trust has signed it.",
            (),
            {"is_flag": True},
        ),
    ),
    "sign": (
        _Option(
            "sign",
            ("--sign",),
            "Sign the package with this private key: a file, or a PKCS#11 URI.",
            ("ENARX_DEPLOY_SIGN",),
            {"metavar": "KEY"},
        ),
        _Option(
            "passphrase_file",
            ("--passphrase-file",),
            "Read the key's passphrase from this file, which only you can read.",
            ("ENARX_DEPLOY_PASSPHRASE_FILE",),
            {"metavar": "FILE", "type": click.Path(path_type=Path)},
        ),
        _Option(
            "passphrase_fd",
            ("--passphrase-fd",),
            "Read it from this open file descriptor.",
            (),
            {"metavar": "N", "type": click.IntRange(0, 1 << 16)},
        ),
    ),
}
_ALL = _ALWAYS + tuple(option for options in _EXTRA.values() for option in options)


def common_options(
    *extra: Extra,
) -> Callable[[Callable[Concatenate[Context, P], R]], Callable[P, R]]:
    """Give a command the options that all commands have, and those of `extra` that mean something to it."""
    options = _ALWAYS + tuple(option for word in extra for option in _EXTRA[word])
    accepted = frozenset(option.fills for option in options)

    def decorate(function: Callable[Concatenate[Context, P], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_context(*args: P.args, **kwargs: P.kwargs) -> R:
            click_context = click.get_current_context()
            context = click_context.ensure_object(Context)
            _refuse_unused(context, accepted, click_context.info_name or "")
            context.takes_target = "target" in extra
            _name_registry(context.registry_host)
            return function(context, *args, **kwargs)

        return _attach(with_context, options, before=False)

    return decorate


def _name_registry(host: str) -> None:
    """Tell those who have secrets for the user's own registry which one it is."""
    if host:
        from enarx_deploy.reference import named_registry

        named_registry.set(host)


def common_environment() -> list[tuple[str, str]]:
    """Each environment variable of a common option, with the option that it stands for."""
    return [(variable, option.words[-1]) for option in _ALL for variable in option.environment]


def group_options(function: Callable[P, R]) -> Callable[P, R]:
    """Give the command group every common option, and their environment variables."""
    return _attach(function, _ALL, before=True)


def _attach(function: Callable[P, R], options: tuple[_Option, ...], *, before: bool) -> Callable[P, R]:
    for option in reversed(options):
        function = click.option(
            *option.words,
            option.fills,
            help=option.help,
            # The environment speaks once, at the group: a command's own option must not be overruled by it.
            envvar=list(option.environment) if before else None,
            allow_from_autoenv=False,
            expose_value=False,
            callback=functools.partial(_store, option=option, before=before),
            **option.attributes,
        )(function)
    return function


def _store(
    click_context: click.Context, parameter: click.Parameter, value: Any, *, option: _Option, before: bool
) -> None:
    source = click_context.get_parameter_source(parameter.name or "")
    if source not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
        return
    context = click_context.ensure_object(Context)
    if option.fills == "overrides":
        value = (*context.overrides, *value)
    setattr(context, option.fills, value)
    if before and source is ParameterSource.COMMANDLINE:
        context.given_before[option.fills] = option.words[-1]


def _refuse_unused(context: Context, accepted: frozenset[str], command: str) -> None:
    for name, word in context.given_before.items():
        if name not in accepted:
            raise UsageError(f"{word} means nothing to {command!r}", hint=f"`{command} --help` lists its options")


def _as_text(human: str | Callable[[], str]) -> str:
    return human if isinstance(human, str) else human()


def _as_json(record: Any) -> str:
    import msgspec

    try:
        return msgspec.json.format(msgspec.json.encode(record), indent=2).decode()
    except UnicodeEncodeError:  # of a path that is not UTF-8, which only an escape can stand for
        import json

        return json.dumps(msgspec.to_builtins(record), indent=2)
