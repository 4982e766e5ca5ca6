"""Kept figures: one JSON object a line, so that a measurement that was stopped goes on."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class Results:
    """A folder's ``results.jsonl``. Made for one set of conditions, which its first line tells.

    The file is made with the first result; until ``close``, or the end of the block, nobody else
    writes to the folder. To look at what ``measured`` results are there, say only the conditions
    that they must have; ``conditions`` has them all then, and nothing is written.

    Raises:
        ValueError: the folder holds results of other conditions, or none where it must, or can't
            be one, or another command writes to it.
    """

    def __init__(
        self, folder: Path, conditions: dict[str, object], *, measured: bool = False
    ) -> None:
        self.path = folder / "results.jsonl"
        self.rows: dict[str, dict[str, Any]] = {}
        self.conditions = conditions
        self._measured = measured
        self._folder: int | None = None
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        try:
            owned = not measured and folder.exists()
            if owned:
                self._own()
            cut_short = self.path.exists() and self._cut_short()
            if self.path.exists() and not cut_short:
                self._read()
            elif measured:
                raise ValueError(f"{folder} holds no results: {self.path.name} has none")
            elif cut_short and owned:
                self.path.unlink()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the folder to others."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def __enter__(self) -> Results:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the folder to others."""
        self.close()

    def keep(self, figures: dict[str, Any]) -> None:
        """Keep the figures of any point; its ``key`` is one of them."""
        assert not self._measured, "it was opened to look at"
        if self._folder is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._own()
            if self.path.exists():
                raise ValueError(f"another command has made {self.path} meanwhile")
        lines = [json.dumps(figures)]
        if not self.path.exists():
            lines.insert(0, json.dumps({"conditions": self.conditions}))
        self._write("\n".join(lines))
        self.rows[figures["key"]] = figures

    def _cut_short(self) -> bool:
        """Tell whether its first line was never written whole: no figure is lost with it."""
        begun, whole = self.path.read_bytes().decode(errors="replace"), '{"conditions": {'
        if len(f"{begun}|".splitlines()) > 1:
            return False
        try:
            json.loads(begun)
        except ValueError:
            return whole.startswith(begun) or begun.startswith(whole)
        return False

    def _own(self) -> None:
        """Let no other command write here until ``close``."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(folder)
            raise ValueError(f"another command writes to {self.path.parent}") from error
        self._folder = folder
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise ValueError(f"{self.path} can't be written")

    def _write(self, line: str) -> None:
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # killed while it wrote
                    file.write(b"\n")
            file.write(line.encode() + b"\n")

    def _read(self) -> None:
        try:
            first, *lines = self.path.read_text(encoding="utf-8").splitlines() or [""]
            before = json.loads(first)["conditions"]
            other = [k for k, v in self.conditions.items() if before.get(k) != v]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.path} isn't from this command") from error
        if other:
            told = ", ".join(f"{k} {before.get(k)} (now {self.conditions[k]})" for k in other)
            raise ValueError(
                f"{self.path} was made with {told}: name another folder, or remove this one"
            )
        self.conditions = before
        for number, line in enumerate(lines, 2):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # what was being written when it was killed
            if not isinstance(row, dict) or not isinstance(row.get("key"), str):
                raise ValueError(f"line {number} of {self.path} isn't from this command")
            self.rows[row["key"]] = row
