"""A Keep that is replaced by the next one while its ports stay open: what `enarx-deploy dev` runs.

This process holds the listening sockets (`listeners.Listeners`), and every Keep's host half gets them from here. A new
Keep is started before the old one is ended, and accepts nothing until it serves: one that does not start leaves the old
one serving, and nobody waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from enarx_deploy import choice
from enarx_deploy.host import certification, releasing
from enarx_deploy.host.listeners import Listeners, place_of
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.renewal import Renewal, Validity
from enarx_deploy.host.session import DEFAULT_GRACE, Session, Stdio
from enarx_deploy.manifest import Listen

if TYPE_CHECKING:
    from enarx_deploy.models import Package
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Backend


class Running:
    """One Keep, its certificate kept fresh while it runs."""

    def __init__(self, session: Session, tell: Callable[[str], None]) -> None:
        self.session = session
        self.not_after = ""
        self._tell = tell
        self._renewal: Renewal | None = None

    def certify(self, project: Project, plugins: PluginManager) -> None:
        """Have it certified by the issuer that the manifest names, as `up` does. Raises EnarxDeployError."""
        issuer = choice.issuer(project, plugins)
        first = certification.certify(self.session, issuer, project)
        self.not_after = first.not_after

        def renew() -> Validity:
            renewed = certification.certify(self.session, issuer, project, first.root)
            self.not_after = renewed.not_after
            return Validity.read(renewed.not_before, renewed.not_after)

        if issuer.renews:
            self._renewal = Renewal(renew, self._tell)
            self._renewal.start()
            self._renewal.installed(Validity.read(first.not_before, first.not_after))

    def end(self, grace: float) -> None:
        """Accept nothing more, give open connections `grace` seconds, then end it."""
        if self._renewal:
            self._renewal.end()
        self.session.stop(grace)


class Development:
    """The Keep that serves now. `ended` is called, from another thread, when a workload ends by itself."""

    def __init__(
        self,
        plugins: PluginManager,
        stdio: Stdio,
        *,
        tell: Callable[[str], None],
        ended: Callable[[Outcome], None],
    ) -> None:
        self._plugins = plugins
        self._stdio = stdio
        self._tell = tell
        self._ended = ended
        self._listeners = Listeners()
        self._serving: Running | None = None
        self._leaving: list[threading.Thread] = []

    def replace(self, project: Project, package: Package, backend: Backend) -> Running:
        """Start a Keep, then end the one that served before. Raises EnarxDeployError, and that one goes on."""
        listens = [entry for entry in project.manifest.files if isinstance(entry, Listen)]
        session = Session(
            package,
            project.manifest,
            backend,
            self._stdio,
            listen=self._listeners.take,
            release=lambda session, names: releasing.release(
                session, choice.issuer(project, self._plugins), project, names
            ),
        )
        session.on_wait = self._tell
        running = Running(session, self._tell)
        try:
            session.start()
            if session.needs_certificate:
                running.certify(project, self._plugins)
            session.accept()
        except BaseException:
            session.kill()
            raise
        before, self._serving = self._serving, running
        threading.Thread(target=self._watch, args=(running,), name="dev-watch", daemon=True).start()
        if before:
            self._leave(before)
        self._listeners.keep_only(map(place_of, listens))
        return running

    def end(self) -> None:
        """End every Keep at once, and let go of the ports."""
        serving, self._serving = self._serving, None
        if serving:
            serving.end(0)
        for thread in self._leaving:
            thread.join(timeout=DEFAULT_GRACE)
        self._listeners.keep_only([])

    def _leave(self, running: Running) -> None:
        """End a Keep that was replaced, when its connections have ended or had their time."""
        self._leaving = [thread for thread in self._leaving if thread.is_alive()]
        thread = threading.Thread(target=running.end, args=(DEFAULT_GRACE,), name="dev-leave", daemon=True)
        self._leaving.append(thread)
        thread.start()

    def _watch(self, running: Running) -> None:
        outcome = running.session.wait()
        if self._serving is running:
            self._ended(outcome)
