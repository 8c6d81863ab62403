"""`image event-log`: what is no log, or there is no image for, is refused."""

from __future__ import annotations


def test_without_an_image_it_says_how_to_make_one(enarx_deploy):
    (enarx_deploy.directory / "log").write_bytes(b"not a log")
    ended = enarx_deploy("image", "event-log", "log")
    assert ended.returncode == 2
    assert "image build" in ended.stderr


def test_a_log_that_is_not_there_is_named(enarx_deploy):
    ended = enarx_deploy("image", "event-log", "absent")
    assert ended.returncode == 2
    assert "absent: No such file" in ended.stderr
