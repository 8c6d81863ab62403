"""What a service process knows of its deployment. Each change is on disk, too, if that can be written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from enarx_deploy.errors import KeepError
from enarx_deploy.host import services
from enarx_deploy.host.services import Served, Service
from enarx_deploy.models import VersionState


class Known:
    """See the module. `turn` is to be held by who looks and then changes; any thread may do either.

    Raises KeepError where what is on disk cannot be read.
    """

    def __init__(self, place: Path, say: Callable[[str], None]) -> None:
        self._place = place
        self._say = say
        self._closed = False
        self.service: Service = services.read(place)
        self.turn = threading.RLock()

    def close(self) -> None:
        """Change nothing any more: it is another process's."""
        with self.turn:
            self._closed = True

    def change(self, **changes: Any) -> None:
        """Change fields of the service."""
        with self.turn:
            if self._closed:
                return
            self.service = msgspec.structs.replace(self.service, **changes)
            try:
                services.write(self._place, self.service)
            except KeepError as error:
                self._say(f"what is known of the deployment is not on disk: {error}")

    def begin(self, new: Served) -> None:
        """A version is begun. The latest are remembered, and always what serves and what served before."""
        with self.turn:
            serving = self.service.serving
            needed = (serving, self.service.before(serving.version.number) if serving else None)
            latest = self.service.versions[-services.MOST_VERSIONS + 1 :]
            before = [one for one in self.service.versions if one in latest or one in needed]
            self.change(versions=(*before, new))

    def add_keep(self, new: str) -> None:
        """A Keep is the deployment's."""
        with self.turn:
            self.change(keeps=(*self.service.keeps, new))

    def drop_keep(self, gone: str) -> None:
        """A Keep is the deployment's no more."""
        with self.turn:
            self.change(keeps=tuple(keep for keep in self.service.keeps if keep != gone))

    def set_state(self, number: int, became: VersionState, reason: str = "") -> None:
        """What became of a version."""
        with self.turn:
            self.change(versions=self._with_states({number: became}, reason))

    def give_up(self, number: int, reason: str) -> None:
        """A version that is pending has failed. One that serves, or has served, is not judged by a Keep of it that does
        not serve, such as one that was to be added."""
        with self.turn:
            if self.is_pending(number):
                self.set_state(number, "failed", reason)

    def set_serving(self, number: int, **changes: Any) -> None:
        """That a version serves in the place of the one before, and what changes with it: all of it, or nothing."""
        with self.turn:
            before = self.service.serving
            states: dict[int, VersionState] = {number: "serving"}
            if before is not None and before.version.number != number:
                states[before.version.number] = "replaced"
            self.change(versions=self._with_states(states), **changes)

    def _with_states(self, states: Mapping[int, VersionState], reason: str = "") -> tuple[Served, ...]:
        def changed(served: Served) -> Served:
            became = states.get(served.version.number)
            if became is None:
                return served
            version = msgspec.structs.replace(served.version, state=became, reason=reason)
            return msgspec.structs.replace(served, version=version)

        return tuple(map(changed, self.service.versions))

    def is_pending(self, number: int) -> bool:
        """Whether a version is begun, and neither serves nor has failed."""
        served = self.service.numbered(number)
        return served is not None and served.version.state == "pending"
