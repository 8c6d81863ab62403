"""How an error reaches the user: one line of what and where, one line of what to do, and JSON for programs.

Each function answers the exit status. A traceback is shown with -vv only.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli import PROGRAM
from enarx_deploy.cli.printable import printable
from enarx_deploy.errors import EnarxDeployError, ManifestError, UsageError
from enarx_files.turns import NO_LOCKS

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context

_TRACEBACK_FROM = 2  # -vv
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})  # a write tells no file's name
_ROOM = "make room, and do it again"
_OF_FILES = {
    errno.ENOENT: "is the path right?",
    errno.EACCES: "may you read, or write, it?",
    errno.EPERM: "may you read, or write, it?",
    errno.EROFS: "its file system can only be read: name another place",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a directory",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ELOOP: "it leads through a symbolic link that is not followed, or in a circle",
    **dict.fromkeys(_DISK, _ROOM),
}
_LOCKS = (
    "its file system has no locks (flock): have the project, and state and cache (ENARX_DEPLOY_STATE_DIR, "
    "ENARX_DEPLOY_CACHE_DIR), on one that has"
)
_EXTRA = "unexpected extra argument ("  # click's words


def of_ours(context: Context, error: EnarxDeployError) -> int:
    """An error that a user is meant to see."""
    problems = error.problems if isinstance(error, ManifestError) else [error]
    for problem in problems:
        _line(f"{PROGRAM}: {problem}")
        if problem.hint:
            _line(f"  hint: {problem.hint}")
    _trace(context, error)
    if context.json:
        _answer(context, error, [_as_record(problem) for problem in problems])
    return error.exit_status


def of_usage(context: Context, error: click.ClickException) -> int:
    """What click says of the command line."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not context.json:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_status
    message = " ".join(error.format_message().split())
    return of_ours(context, UsageError(message, hint=_hint(command, message)))


def _hint(command: str, message: str) -> str:
    """How the command is used; a directory is named before it, which many do after it."""
    import shlex
    from pathlib import Path

    extra = message.partition(_EXTRA)[2].removesuffix(")").removesuffix(").")
    if extra and Path(extra).is_dir():
        return f"to work in that directory: {PROGRAM} -C {shlex.quote(extra)} {command.removeprefix(PROGRAM).strip()}"
    return f"`{command} --help` shows how it is used"


def of_others(context: Context, error: Exception) -> int:
    """What nobody expected: a plugin's fault, a refusal of the system, or else a fault of this program."""
    ours = context.blame(error) or _of_system(error) or _bug(error)
    ours.__cause__ = error
    return of_ours(context, ours)


def _of_system(error: Exception) -> EnarxDeployError | None:
    if not isinstance(error, OSError):
        return None
    if error.filename is not None:
        hint = _OF_FILES.get(error.errno or 0, "-vv shows what was being done")
        return EnarxDeployError(f"{error.filename}: {error.strerror}", hint=hint)
    if error.errno in NO_LOCKS:
        return EnarxDeployError(f"a file cannot be locked: {error.strerror}", hint=_LOCKS)
    if error.errno in _DISK:
        return EnarxDeployError(f"a file cannot be written: {error.strerror}", hint=_ROOM)
    return None


def _bug(error: Exception) -> EnarxDeployError:
    text = " ".join(str(error).split())
    return EnarxDeployError(
        f"internal error: {type(error).__name__}{f': {text}' if text else ''}",
        hint="this is a fault of enarx-deploy: please report it with what -vv shows",
    )


def _line(text: str) -> None:
    click.echo(printable(text), err=True)


def _trace(context: Context, error: EnarxDeployError) -> None:
    if context.verbosity >= _TRACEBACK_FROM:
        import traceback

        _line("".join(traceback.format_exception(error)).rstrip())


def _answer(context: Context, error: EnarxDeployError, problems: list[dict[str, Any]]) -> None:
    if context.answered:  # with an answer that tells of the error, such as a refused verification's
        return
    record = _as_record(error) | {"exit_status": error.exit_status}
    if len(problems) > 1:
        record["problems"] = problems
    context.emit("", {"error": record})


def _as_record(error: EnarxDeployError) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": type(error).__name__, "message": str(error), "hint": error.hint}
    if isinstance(error, ManifestError):
        record |= {"file": error.file, "line": error.line, "column": error.column}
    return record
