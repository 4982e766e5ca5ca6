"""Frozen states that a tick replaces, at a tick's price."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def changed(state: T, **fields: Any) -> T:
    """Return a copy of a frozen dataclass with some fields changed.

    As ``dataclasses.replace``, in a sixth of its time: a tick does this a few times. Nothing is
    checked, so only for dataclasses without ``__post_init__``.
    """
    copy = object.__new__(type(state))
    vars(copy).update(vars(state), **fields)
    return copy
