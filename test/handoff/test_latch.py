"""The latched stop is a file: there for whoever comes next, and its owner's alone."""

import os
import stat

import pytest

from rtc_ros.handoff.errors import AccessError
from rtc_ros.handoff.latch import LatchFile


def test_it_is_there_until_it_is_removed_for_everyone_who_looks(tmp_path):
    latch, other = (LatchFile("robot", str(tmp_path)) for _ in range(2))
    assert not other.there
    latch.remove()  # nothing to lift
    latch.write()
    latch.write()
    assert other.there
    assert stat.S_IMODE(os.stat(latch.path).st_mode) == 0o600
    other.remove()
    assert not latch.there


def test_what_can_not_be_written_or_removed_is_said_and_holds(tmp_path):
    latch = LatchFile("robot", str(tmp_path / "nowhere"))
    with pytest.raises(AccessError, match="can't write the latched stop: the directory .* exist"):
        latch.write()
    latch = LatchFile("robot", str(tmp_path))
    os.mkdir(latch.path)
    assert latch.there  # in doubt the arm stands
    with pytest.raises(AccessError, match="can't remove the latched stop"):
        latch.remove()


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path):
    latch = LatchFile("robot", str(tmp_path))
    os.symlink(tmp_path / "elsewhere", latch.path)
    with pytest.raises(AccessError):
        latch.write()
    assert latch.there and not (tmp_path / "elsewhere").exists()
