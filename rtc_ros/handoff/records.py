"""The records of a segment, declared once, for all that packs, compares or documents them.

A segment is one ``HEADER`` page, then equal slots. Slot ``seq % slots`` holds number ``seq``;
numbers start at 1. All numbers are little-endian, aligned as C aligns them.

A new field is one line here and one in its dataclass: each segment holds a digest of its
declaration, so a reader with another one is told. ``LAYOUT_VERSION`` is for what that can't tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import xxhash

from rtc_ros.core.cursor import HISTORY_ROWS
from rtc_ros.handoff.spec import NAMES_BYTES, HandoffSpec

LAYOUT_VERSION = 4
MAGIC = b"rtc_ros\n"
CACHE_LINE = 64
HINDRANCE_BYTES = 352
"""Room for what a writer says that it lacks, UTF-8."""

_INT, _WORD, _BOOL, _FLOAT = "<i8", "<u8", "?", "<f8"
_H, _A = "H", "A"

_PAGE: list[tuple[int, str, str]] = [
    # Written once, before the file gets its name. Magic and version never move.
    (0, "magic", "S8"),
    (8, "layout_version", "<u4"),
    (12, "kind", "<u4"),
    (16, "horizon", "<u4"),
    (20, "action_dim", "<u4"),
    (24, "slots", "<u4"),
    (28, "slot_bytes", "<u4"),
    (32, "names_bytes", "<u4"),
    (40, "period_ns", _WORD),
    (48, "epoch", _WORD),
    (56, "pid", _WORD),
    (64, "joints_digest", _WORD),
    (72, "record_digest", _WORD),  # of the slot's declaration
    (120, "digest", _WORD),  # of the bytes before it and of the names
    # Hints for readers, never trusted.
    (128, "published", _WORD),  # seq of the newest slot
    (136, "retired", _WORD),  # the writer closed, or a successor is about to take the name
    (144, "ready_ns", _WORD),  # when the writer could last have made something, 0: it never says
    (152, "hindrance_digest", _WORD),  # of the next field, whole: a torn one is none
    (160, "hindrance", f"S{HINDRANCE_BYTES}"),  # what the writer lacks; empty: nothing
    (512, "joint_names", f"S{NAMES_BYTES}"),
]
HEADER: np.dtype[np.void] = np.dtype(
    {
        "names": [name for _, name, _ in _PAGE],
        "formats": [kind for _, _, kind in _PAGE],
        "offsets": [at for at, _, _ in _PAGE],
        "itemsize": 4096,
    }
)

HEAD = (("seq", _INT, ()), ("run", _INT, ()))
"""What each slot begins with: its number and the epoch of its writer."""

Field = tuple[str, str, tuple[Any, ...]]
"""Name, type and shape; the shape in numbers, H and A."""


@dataclass(frozen=True)
class Record:
    """What the slots of one kind of segment hold between their head and their digest.

    Names are those of the dataclass that crosses; arrays come after the scalars.
    """

    kind: int
    name: str
    fields: tuple[Field, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The fields' names, in their order."""
        return tuple([name for name, _, _ in self.fields])

    @cached_property
    def array_names(self) -> tuple[str, ...]:
        """The names of those that are arrays: the last ones."""
        return tuple([name for name, _, shape in self.fields if shape])

    @cached_property
    def values_of(self) -> attrgetter[Any]:
        """Take an object's fields in order, as a tuple."""
        return attrgetter(*self.names)

    @cached_property
    def digest(self) -> int:
        """The declaration in 64 bits: two sides that have another one can't read each other."""
        return xxhash.xxh3_64_intdigest(repr((_PAGE, HEAD, self.fields)).encode())

    def body(self, spec: HandoffSpec) -> np.dtype[np.void]:
        """Return a slot without its digest and padding: the head's fields, then the record's."""
        return _body(self, spec.horizon, spec.action_dim)

    def slot(self, spec: HandoffSpec) -> np.dtype[np.void]:
        """Return a slot: ``body``, the ``digest`` over it, padding to a cache line."""
        body = self.body(spec)
        size = -(-(body.itemsize + 8) // CACHE_LINE) * CACHE_LINE
        return np.dtype(
            {
                "names": ["body", "digest"],
                "formats": [body, _WORD],
                "offsets": [0, body.itemsize],
                "itemsize": size,
            }
        )


@lru_cache(maxsize=64)
def _body(record: Record, horizon: int, action_dim: int) -> np.dtype[np.void]:
    sizes = {_H: horizon, _A: action_dim}
    fields = [
        (name, kind, tuple([sizes.get(n, n) for n in shape]))
        for name, kind, shape in (*HEAD, *record.fields)
    ]
    return np.dtype(fields, align=True)


def named(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    """Return a record's values by name."""
    # A dtype gives as many as it has names; to be strict about it takes a tenth of a read.
    return dict(zip(names, values))  # noqa: B905


RING = Record(1, "ring", (
    ("origin_step", _INT, ()),
    ("step_epoch", _INT, ()),
    ("rows", _INT, ()),
    ("delay", _INT, ()),
    ("stride", _INT, ()),
    ("observation_ns", _INT, ()),
    ("start_ns", _INT, ()),
    ("end_ns", _INT, ()),
    ("guided", _BOOL, ()),
    ("actions", _FLOAT, (_H, _A)),
))  # fmt: skip
"""An ``ActionChunk``; its ``seq`` and ``epoch`` are the slot's head."""

CURSOR = Record(2, "cursor", (
    ("epoch", _INT, ()),
    ("step", _INT, ()),
    ("tick", _INT, ()),
    ("still_ticks", _INT, ()),
    ("tick_ns", _INT, ()),
    ("mode", _INT, ()),
    ("chunk_epoch", _INT, ()),
    ("chunk_seq", _INT, ()),
    ("chunk_origin_step", _INT, ()),
    ("seen_epoch", _INT, ()),
    ("seen_seq", _INT, ()),
    ("swap_step", _INT, ()),
    ("swap_tick", _INT, ()),
    ("swap_still", _INT, ()),
    ("swaps", _INT, ()),
    ("soft_start_ticks", _INT, ()),
    ("points", _INT, ()),
    ("coherent", _BOOL, ()),
    ("command", _FLOAT, (_A,)),
    ("last_step", _FLOAT, (_A,)),
    ("last_bend", _FLOAT, (_A,)),
    ("lower", _FLOAT, (_A,)),
    ("upper", _FLOAT, (_A,)),
    ("max_step", _FLOAT, (_A,)),
    ("max_bend", _FLOAT, (_A,)),
    ("turn", _FLOAT, (_A,)),
    ("history", _FLOAT, (HISTORY_ROWS, _A)),
))  # fmt: skip
"""A ``CursorState``."""

KINDS = {record.kind: record for record in (RING, CURSOR)}


def table() -> str:
    """Return all records as the text that docs/handoff.md holds."""
    lines: list[tuple[str, str, list[str]]] = []
    end, last = -1, ""
    for at, name, kind in _PAGE:  # a line for what lies side by side and is of one type
        if (at, kind) != (end, last):
            lines.append((f"header, at {at}", _type(kind, ()), []))
        lines[-1][2].append(name)
        end, last = at + np.dtype(kind).itemsize, kind
    for title, fields in (
        ("slot's head", HEAD),
        *((f"{record.name} payload", record.fields) for record in KINDS.values()),
        ("slot's end", (("digest", _WORD, ()),)),
    ):
        for (kind, shape), group in groupby(fields, lambda field: field[1:]):
            lines.append((title, _type(kind, shape), [name for name, _, _ in group]))
            title = ""
    return "\n".join(f"{a:<15} {b:<16} {c}".rstrip() for line in lines for a, b, c in _wrap(*line))


def _type(kind: str, shape: tuple[Any, ...]) -> str:
    kinds = {"i": "int", "u": "uint", "f": "float"}
    plain = np.dtype(kind)
    name = kinds.get(plain.kind, "bool") + str(8 * plain.itemsize)
    name = {"S": f"{plain.itemsize} bytes", "b": "bool"}.get(plain.kind, name)
    return f"{name}[{', '.join(map(str, shape))}]" if shape else name


def _wrap(title: str, kind: str, names: list[str]) -> Iterator[tuple[str, str, str]]:
    line = ""
    for name in names:
        if len(line) + len(name) > 62:
            yield title, kind, line.strip()
            title = kind = line = ""
        line += f" {name}"
    yield title, kind, line.strip()


if __name__ == "__main__":
    print(table())
