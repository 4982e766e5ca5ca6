"""The results of `rtc_ros bench gpu` as a page."""

from __future__ import annotations

from typing import Any

ON_CPU = (
    "**There was no CUDA device. This ran at a small size on the CPU, to show that it runs; no "
    "figure below is one of a GPU.**"
)


def markdown(result: dict[str, Any]) -> str:
    """Return the page: where it ran, how each part ended, a table for each."""
    where = result["where"]
    lines = ["# GPU check", ""]
    if where.get("device") == "cpu":
        lines += [ON_CPU, ""]
    elif not where:
        lines += ["Nothing is known yet of the machine; no figure below is one of a GPU.", ""]
    told = {**where, "started": result["started"], "seconds": result.get("spent_s", 0.0)}
    lines += [f"{key}: {value}  " for key, value in told.items()]
    lines += ["", "| part | ended | seconds | of at most | why |", "|---|---|---|---|---|"]
    for name, part in result["parts"].items():
        cells = (part["status"], part.get("spent_s"), part.get("budget_s"), part.get("reason"))
        lines.append(f"| {name} | " + " | ".join(_cell(each) for each in cells) + " |")
    for name, part in result["parts"].items():
        if part["rows"]:
            lines += ["", f"## {name}", "", *_table(part["rows"])]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**NO**"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "/").replace("\n", " ")
