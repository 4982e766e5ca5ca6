"""Kept figures: one JSON object a line, so that a measurement that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path


class Results:
    """A folder's ``results.jsonl``. Made for one set of conditions, which its first line tells.

    The file is made with the first result. To look at what ``measured`` results are there, say
    only the conditions that they must have; ``conditions`` has them all then.

    Raises:
        ValueError: the folder holds results of other conditions, or none where it must, or can't
            be one.
    """

    def __init__(
        self, folder: Path, conditions: dict[str, object], *, measured: bool = False
    ) -> None:
        self.path = folder / "results.jsonl"
        self.rows: dict[str, dict[str, object]] = {}
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        if not self.path.exists():
            if measured:
                raise ValueError(f"{folder} holds no results: there is no {self.path.name} in it")
            self.conditions = conditions
            return
        text = self.path.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # killed while it wrote
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")
        first, *lines = text.splitlines() or [""]
        try:
            before = json.loads(first)["conditions"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} isn't from this command") from error
        self.conditions = before
        other = [k for k, v in conditions.items() if before.get(k) != v]
        if other:
            told = ", ".join(f"{k} {before.get(k)} (now {conditions[k]})" for k in other)
            raise ValueError(
                f"{self.path} was made with {told}: name another folder, or remove this one"
            )
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # what was being written then
            self.rows[row["key"]] = row

    def keep(self, key: str, figures: dict[str, object]) -> None:
        """Keep the figures of any point; ``figures`` has its ``key``, too."""
        self.rows[key] = figures
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            first = json.dumps({"conditions": self.conditions})
            self.path.write_text(first + "\n", encoding="utf-8")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
