"""Where state and cache are: places of the user's own, or a clear word why not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enarx_deploy import paths
from enarx_deploy.errors import UsageError


@pytest.fixture
def no_mask() -> Iterator[None]:
    """Whatever is made is open to all, unless it is made otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_mask")
def test_what_is_made_on_the_way_is_open_to_nobody_else_whatever_the_umask(tmp_path: Path) -> None:
    made = paths.private_directory(tmp_path / "home/.cache/enarx-deploy", "packages", "a")
    below = [place for place in (made, *made.parents) if tmp_path in place.parents]
    assert [oct(place.stat().st_mode & 0o777) for place in below] == ["0o700"] * 5


def link(place: Path) -> None:
    place.symlink_to(place.parent)


def file(place: Path) -> None:
    place.touch()


def for_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (link, "not a directory of yours", "remove it, or name another place in ENARX_DEPLOY_STATE_DIR"),
        (file, "File exists", "remove it, or name another place in ENARX_DEPLOY_STATE_DIR"),
        (for_all, "others can write to it", "chmod go-w "),
    ],
)
def test_what_is_not_the_users_own_is_not_used(
    tmp_path: Path, make: Callable[[Path], None], message: str, hint: str
) -> None:
    make(tmp_path / "state")
    with pytest.raises(UsageError, match=message) as caught:
        paths.private_directory(tmp_path / "state")
    assert caught.value.hint.startswith(hint)


def test_a_place_whose_name_no_record_can_have_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the path is not UTF-8"):
        paths.private_directory(tmp_path / "home\udcff/state")
    assert list(tmp_path.iterdir()) == []


def test_spaces_and_newlines_in_a_place_are_no_fault(tmp_path: Path) -> None:
    assert paths.private_directory(tmp_path / "a home\nof mine", "keeps").is_dir()
