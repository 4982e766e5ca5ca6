"""What people write on command lines: what can't be is refused with a sentence."""

from __future__ import annotations

import argparse

import pytest

from rtc_ros.command_line import COUNT, SECONDS, assigned, real, whole


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (COUNT, "0", "0 is too few: at least 1"),
        (whole(0), "-1", "-1 is too few: at least 0"),
        (COUNT, "1.5", "1.5 is no whole number"),
        (real(), "-0.1", "-0.1 can't be: a number, at least 0"),
        (real(), "nan", "nan can't be"),
        (SECONDS, "inf", "inf can't be: a number, above 0"),
        (SECONDS, "0", "0 can't be: a number, above 0"),
        (SECONDS, "soon", "soon is no number"),
    ],
)
def test_what_can_not_be_is_refused(read, text, told):
    with pytest.raises(argparse.ArgumentTypeError, match=told):
        read(text)


def test_what_can_be_is_read():
    assert (COUNT("3"), whole(0)("0"), real()("0"), SECONDS("1e-3")) == (3, 0, 0.0, 1e-3)


def test_words_assign_values():
    assert assigned(["a:=1", "b:=x:=y", "c:=", "a:=2"]) == {"a": "2", "b": "x:=y", "c": ""}
    with pytest.raises(ValueError, match="b=1 is not of the form name:=value"):
        assigned(["a:=1", "b=1"])
