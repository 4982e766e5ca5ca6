"""`rtc_ros bench gpu OUT`: all that is to be known of a GPU, part by part, in a few minutes.

Each part has a share of the time. Figures are written to OUT/results.json and OUT/results.md as
they come, so whatever ends the run loses only the part that was running. What can't be done here
is named with the reason. Without a CUDA device the same parts run at a small size on the CPU: that
shows that they work, and gives no figure of a GPU.

scripts/gpu_check.sh starts it where nothing of the package is installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtc_ros.bench.gpu_report import markdown
from rtc_ros.command_line import tool
from rtc_ros.paths import a_path
from rtc_ros.running import child

GRACE_S = 3.0
"""How much longer than its share a part may take before it is ended: it ends itself in time."""


@dataclass(frozen=True)
class Part:
    """One part, and how much of the time it may take [s]; with less than ``least`` it isn't begun.

    A part that isn't ``usual`` on the CPU runs there only when it is named.
    """

    name: str
    budget_s: float
    least_s: float = 5.0
    usual_on_cpu: bool = True


PARTS = (
    Part("machine", 40),
    Part("tests", 60),
    Part("equality", 75),
    Part("chunks of 2 cameras", 75),
    Part("phases", 30),
    Part("kernels", 30),
    Part("once", 30),
    Part("chunks of 1 camera", 40),
    Part("chunks of 3 cameras", 50),
    Part("expected", 30),
    Part("compiled", 120, least_s=20, usual_on_cpu=False),
)
LIMIT_S = 415.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; 0 where none failed, 1 where one did, 2 for wrong arguments."""
    parser = tool("bench gpu", __doc__)
    parser.add_argument("out", type=a_path, help="folder for results.json, results.md, log.txt")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="for all parts [s]")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=[p.name for p in PARTS],
        metavar="PART",
        help="only these, each of which may take all of the time: "
        + ", ".join(repr(p.name) for p in PARTS),
    )
    parser.add_argument(
        "--size", choices=("full", "small"), help="of the model; with a CUDA device full"
    )
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    parts = [p for p in PARTS if options.parts is None or p.name in options.parts]
    run = Run(options.out, options.limit)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the worker isn't to be left behind
        signal.signal(number, lambda signum, frame: sys.exit(128 + signum))
    command = child.command("rtc_ros.bench.gpu_worker", "--size", options.size or "auto")
    run.all_of(parts, command, named=options.parts is not None)
    print(f"{run.out / 'results.md'}: {run.summary()}", flush=True)
    return int(bool(run.failed()))


class Run:
    """The parts' results so far, and the worker that makes them."""

    def __init__(self, out: Path, limit_s: float, grace_s: float = GRACE_S) -> None:
        """Begin to count the time.

        Args:
            out: an existing folder for the results.
            limit_s: how long all parts may take together [s].
            grace_s: how much longer a part may take than its share [s].
        """
        self.out, self._grace_s = out, grace_s
        self._start, self._limit_s = time.monotonic(), limit_s
        self._worker: Worker | None = None
        self.result: dict[str, Any] = {
            "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "limit_s": limit_s,
            "where": {},
            "parts": {},
        }

    def all_of(self, parts: Sequence[Part], command: Sequence[str], *, named: bool) -> None:
        """Run the parts one after the other in a ``command`` that is started anew when it ends.

        ``named``: they were asked for by name, so each may take all of the time, and those that
        a CPU leaves out run, too.
        """
        for part in parts:
            self.result["parts"][part.name] = {"status": "not begun", "rows": []}
        try:
            for part in parts:
                self._one(part, command, named)
        finally:
            self._end_worker()
            self._write()

    def _one(self, part: Part, command: Sequence[str], named: bool) -> None:
        entry = self.result["parts"][part.name]
        left = self._limit_s - self.spent() - self._grace_s
        if left < min(part.least_s, part.budget_s):
            entry.update(
                status="skipped",
                reason=f"{max(left, 0.0):.0f} s were left of the {self._limit_s:.0f} s in all",
            )
        elif not named and not part.usual_on_cpu and self.result["where"].get("device") == "cpu":
            entry.update(
                status="skipped",
                reason="says nothing of a GPU on a CPU; --parts runs it all the same",
            )
        else:
            self._run(part, entry, left if named else min(part.budget_s, left), command)
        self._say(f"{part.name}: {entry['status']}{_because(entry)}")
        self._write()

    def _run(self, part: Part, entry: dict, seconds: float, command: Sequence[str]) -> None:
        begun = time.monotonic()
        entry.update(status="running", budget_s=round(seconds, 1))
        self._say(f"{part.name}: begun, {seconds:.0f} s at most")
        self._write()
        if self._worker is None:
            self._worker = Worker(command, self.out / "log.txt")
        self._worker.ask(part.name, seconds)
        end = begun + seconds + self._grace_s
        while entry["status"] == "running":
            try:
                said = self._worker.next(end - time.monotonic())
            except EOFError:
                why = f"its process ended with {self._end_worker()}"
                entry.update(status="failed", reason=why)
                break
            if said is None:
                self._end_worker()
                entry.update(status="out of time", reason=f"it was ended after {seconds:.0f} s")
                break
            self._take(part, entry, said)
        if entry["status"] == "failed":  # what a device did once may be wrong for good
            self._end_worker()
        entry["spent_s"] = round(time.monotonic() - begun, 1)

    def _take(self, part: Part, entry: dict, said: dict[str, Any]) -> None:
        if "where" in said:
            self.result["where"].update(said["where"])
        elif "row" in said:
            entry["rows"].append(said["row"])
            self._say(f"{part.name}: {_brief(said['row'])}")
        else:
            entry.update({key: said[key] for key in ("status", "reason") if said.get(key)})
        self._write()

    def spent(self) -> float:
        """Return the time since the start [s]."""
        return time.monotonic() - self._start

    def failed(self) -> list[str]:
        """Return the parts that failed, or hold a row that does not hold."""
        return [
            name
            for name, part in self.result["parts"].items()
            if part["status"] == "failed" or any(r.get("holds") is False for r in part["rows"])
        ]

    def summary(self) -> str:
        """Return how many parts ended how, and which failed."""
        ends = [part["status"] for part in self.result["parts"].values()]
        counts = ", ".join(f"{ends.count(each)} {each}" for each in dict.fromkeys(ends))
        wrong = self.failed()
        told = f"{counts}, {self.spent():.0f} s"
        return f"{told}; WRONG: {', '.join(wrong)}" if wrong else told

    def _end_worker(self) -> str:
        """End it where there is one; return how it ended."""
        ended = self._worker.end() if self._worker else ""
        self._worker = None
        return ended

    def _say(self, text: str) -> None:
        print(f"[{self.spent():4.0f} s] {text}", flush=True)

    def _write(self) -> None:
        self.result["spent_s"] = round(self.spent(), 1)
        texts = {
            "results.json": json.dumps(self.result, indent=1, ensure_ascii=False),
            "results.md": markdown(self.result),
        }
        for name, text in texts.items():
            new = self.out / f".{name}.new"
            new.write_text(text, encoding="utf-8")
            new.replace(self.out / name)


class Worker:
    """A process that runs parts, so that one that hangs or crashes takes no other along."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Start it; what it prints goes to ``log``."""
        read, write = os.pipe()
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*command, "--to", str(write)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                pass_fds=(write,),
                start_new_session=True,
            )
        os.close(write)
        self._from = os.fdopen(read, "rb", buffering=0)
        self._unread = b""

    def ask(self, part: str, seconds: float) -> None:
        """Let it run a part within ``seconds``."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # ``next`` says so
            self._process.stdin.write(json.dumps({"part": part, "seconds": seconds}).encode())
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def next(self, seconds: float) -> dict[str, Any] | None:
        """Return what it says next; None where it says nothing for so long.

        Raises:
            EOFError: it has ended.
        """
        end = time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = end - time.monotonic()
            if left <= 0.0 or not select.select([self._from], [], [], left)[0]:
                return None
            got = self._from.read(1 << 16)
            if not got:
                raise EOFError
            self._unread += got
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def end(self) -> str:
        """End it and all that it started; return how it ended."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._from.close()
        return signal.Signals(-code).name if code < 0 else f"status {code}, see log.txt"


def _because(entry: dict) -> str:
    return f" ({entry['reason']})" if entry.get("reason") else ""


def _brief(row: dict[str, Any]) -> str:
    """Return a row in one line."""
    cells = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
        if key != "what"
    ]
    return f"{row['what']}: " + ", ".join(cells)


if __name__ == "__main__":
    sys.exit(main())
