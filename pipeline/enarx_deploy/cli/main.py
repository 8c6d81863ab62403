"""The console script: runs a command, and is the one place where errors are caught and shown.

Nothing is imported at the top that `--version`, and a command that finds nothing changed, do not need.
"""

from __future__ import annotations

import atexit
import gc
import sys

from enarx_deploy.cli import PROGRAM, unchanged

# For annotations alone; `typing` would be an import too.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130  # exit status after SIGINT, as shells have it

atexit.register(gc.freeze)  # else the interpreter goes through all that was imported, for garbage, before it ends


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    _have_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        from enarx_deploy import __version__

        print(f"{PROGRAM} {__version__}")
        return 0
    asked = unchanged.asked(words)
    if asked is not None and unchanged.answer(asked):
        return _flushed(0)
    try:
        return _run(words, asked)
    except KeyboardInterrupt:  # before or after the command, which has its own answer: most of a short one is imports
        return INTERRUPTED


def _run(words: list[str], asked: unchanged.Asked | None) -> int:
    import click

    from enarx_deploy.cli import show_error
    from enarx_deploy.cli.app import app
    from enarx_deploy.cli.context import Context
    from enarx_deploy.errors import EnarxDeployError

    # An error of parsing is answered in JSON too.
    context = Context(json="--json" in _before_double_dash(words), asked=asked)
    try:
        status = app.main(words, PROGRAM, standalone_mode=False, obj=context)
        return _flushed(status if isinstance(status, int) else 0)
    except EnarxDeployError as error:
        return show_error.of_ours(context, error)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return show_error.of_usage(context, error)
    except Exception as error:  # noqa: BLE001  # the edge: what is not ours is a plugin's, the system's, or a bug
        return show_error.of_others(context, error)


def _have_streams() -> None:
    """Give a program that was started with a closed stream one that goes nowhere: else a file would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            import os

            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # pathlib is an import


def _before_double_dash(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words


def _flushed(status: int) -> int:
    """The status, once everything is written; a reader that went away, as `head` does, is no fault of ours."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
