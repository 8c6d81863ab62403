"""What a service process remembers of the versions of its deployment, whatever becomes of their Keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx_deploy.host import services, state
from enarx_deploy.host.known import Known
from enarx_deploy.host.listeners import Listeners
from enarx_deploy.host.replicas import Replica, Replicas
from enarx_deploy.host.rollout import Rollout
from enarx_deploy.host.services import MOST_VERSIONS, Served, Service
from enarx_deploy.models import KeepStatus, Version, VersionState


def served(number: int, became: VersionState) -> Served:
    version = Version(number=number, package=f"sha256:{number:064x}", backend="nil", created=state.now(), state=became)
    keep = state.KeepSpec(
        id="", name="a", target="local", backend="nil", package=version.package, package_root="", created="",
        version=number,
    )  # fmt: skip
    return Served(version=version, keep=keep)


@pytest.fixture
def known(tmp_path: Path, monkeypatch) -> Known:
    """Of a deployment whose second version serves in the place of the first."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    place = services.directory("a")
    versions = (served(1, "replaced"), served(2, "serving"))
    services.write(place, Service(name="a", project="", replicas=1, versions=versions))
    return Known(place, print)


def ends(known: Known, version: int) -> None:
    """A Keep of this version that takes no connections ends by itself."""
    keeps = Replicas("a", known, print, goes_back=lambda *_: False, wake=lambda: None)
    replica = Replica("abc", version)
    spec = known.service.version(version).keep
    state.write_status(
        state.new_keep(spec),
        KeepStatus(
            id="abc", name="a", state="failed", backend="nil", target="local", package="", endpoints=[], created="",
            cause="trap", reason="trapped",
        ),
    )  # fmt: skip
    keeps.adopt(replica)
    keeps.ended(replica)


def test_what_is_found_serving_just_after_a_boot_is_not_on_probation(known: Known, monkeypatch) -> None:
    """The clock begins with the machine: what fails then, as long as nothing else is up, would be taken back."""
    monkeypatch.setattr("enarx_deploy.host.rollout.time.monotonic", lambda: 5.0)
    keeps = Replicas("a", known, print, goes_back=lambda *_: False, wake=lambda: None)
    rollout = Rollout(known, keeps, Listeners(), print, wake=lambda: None)
    assert [rollout.fails_on_probation(Replica("abc", 2), "no network yet") for _ in range(5)] == [False] * 5


def test_a_service_process_that_leaves_its_keeps_to_the_next_ends_none(known: Known) -> None:
    keeps = Replicas("a", known, print, goes_back=lambda *_: False, wake=lambda: None)
    replica = Replica("abc", 2)
    keeps.adopt(replica)
    keeps.close()
    keeps.leave(replica, 0)
    assert not replica.leaving.is_set()


def states(known: Known) -> dict[int, str]:
    """As they stand on disk."""
    return {one.number: one.state for one in services.read(services.directory("a")).history}


@pytest.mark.parametrize("version", [1, 2], ids=["replaced", "serving"])
def test_a_keep_that_is_to_be_added_and_ends_is_not_the_end_of_what_serves(known: Known, version: int) -> None:
    """Without a version that serves, the next service process would end all Keeps as left over."""
    ends(known, version)
    assert states(known) == {1: "replaced", 2: "serving"}


def test_a_version_whose_first_keep_ends_before_it_serves_has_failed(known: Known) -> None:
    known.begin(served(3, "pending"))
    ends(known, 3)
    assert states(known) == {1: "replaced", 2: "serving", 3: "failed"}


def test_however_many_versions_fail_what_serves_and_what_served_before_are_remembered(known: Known) -> None:
    for number in range(3, MOST_VERSIONS + 10):
        known.begin(served(number, "pending"))
        known.give_up(number, "it did not get healthy")
    found = services.read(services.directory("a"))
    assert found.serving is not None
    assert found.serving.version.number == 2
    assert found.earlier(0).version.number == 1
    assert len(found.versions) == MOST_VERSIONS + 2
    assert found.next_number == MOST_VERSIONS + 10
