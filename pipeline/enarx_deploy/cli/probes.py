"""What backends need of this machine: for `platform` and `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.errors import KeepError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context
    from enarx_deploy.models import Probe
    from enarx_deploy.protocols import Backend


def probes(context: Context, asked: str = "") -> list[Probe]:
    """The probe of each backend, or of the one that was asked for, the strongest first."""
    backends = [context.plugins.get("backend", asked)] if asked else context.plugins.all("backend")
    backends = [_with_image(context, one) for one in backends]
    with context.plugins.boundary():
        return [backend.probe() for backend in sorted(backends, key=lambda backend: -backend.strength)]


def try_again(context: Context, asked: str) -> None:
    """Have backends try again what they remember of this machine: all that do, or the one that was asked for.

    Raises UsageError where that one remembers nothing, KeepError where it cannot try.
    """
    from enarx_deploy.protocols import RemembersTrials

    backends = [context.plugins.get("backend", asked)] if asked else context.plugins.all("backend")
    trying = [one for one in (_with_image(context, one) for one in backends) if isinstance(one, RemembersTrials)]
    if not trying:
        raise UsageError(f"the backend {asked!r} has tried nothing on this machine", hint="--retry is for kvm")
    for one in trying:
        with context.plugins.boundary():
            try:
                one.try_again()
            except KeepError:
                if asked:
                    raise  # otherwise what it lacks is shown with the others


def _with_image(context: Context, backend: Backend) -> Backend:
    """The backend, with the image that was named if it boots one."""
    from enarx_deploy import choice
    from enarx_deploy.protocols import BootsImage

    return choice.booting(backend, context.options.image) if isinstance(backend, BootsImage) else backend


def head(probe: Probe) -> str:
    """A backend in one line."""
    state = "can be used here" if probe.available else "cannot be used here"
    protection = "protected by hardware" if probe.hardware else "no hardware protection"
    return f"{probe.backend}: {state} ({protection})"
