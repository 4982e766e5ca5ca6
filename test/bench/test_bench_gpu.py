"""`rtc_ros bench gpu`: shares of the time, what is skipped and why, and one run on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rtc_ros.bench import gpu, gpu_worker
from rtc_ros.bench.gpu import PARTS, Part, Run
from rtc_ros.bench.gpu_costs import CARDS, AsOneKernel, Card, Cost, count
from rtc_ros.bench.gpu_report import ON_CPU, markdown
from rtc_ros.policy.fast.elementwise import ByOperations

# A worker that does what a part is called: "quick" says a row and is done, "hang" says one and
# stays, "crash" says one and dies, "sick" fails. Each tells its process.
WORKER = """
import json, os, sys, time
to = int(sys.argv[sys.argv.index("--to") + 1])
say = lambda **said: os.write(to, json.dumps(said).encode() + b"\\n")
for line in sys.stdin:
    part = json.loads(line)["part"].split()[0]
    say(row={"what": part, "pid": os.getpid(), "seconds": json.loads(line)["seconds"]})
    if part == "hang": time.sleep(60)
    if part == "crash": os.kill(os.getpid(), 11)
    say(status="failed" if part == "sick" else "done", reason="it is" if part == "sick" else "")
"""


def run_all(folder: Path, *parts: Part, limit_s: float = 30.0) -> dict:
    command = [sys.executable, "-c", WORKER]
    Run(folder, limit_s, grace_s=0.3).all_of(parts, command, named=False)
    return json.loads((folder / "results.json").read_text())["parts"]


def quick(name: str = "quick", budget_s: float = 5.0, least_s: float = 1.0) -> Part:
    return Part(name, budget_s, least_s)


# ----------------------------------------------------------------------- shares of the time


def test_a_part_that_hangs_loses_its_own_time_and_no_rows(tmp_path):
    begun = time.monotonic()
    parts = run_all(tmp_path, quick("quick 1"), Part("hang", 1.0, 0.5), quick("quick 2"))
    assert time.monotonic() - begun < 8.0
    assert [p["status"] for p in parts.values()] == ["done", "out of time", "done"]
    assert "ended after 1 s" in parts["hang"]["reason"]
    first, hung, last = (p["rows"][0]["pid"] for p in parts.values())
    assert first == hung != last
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


@pytest.mark.parametrize(
    ("part", "why"), [("crash", "its process ended with SIGSEGV"), ("sick", "it is")]
)
def test_a_part_that_fails_is_named_and_the_next_has_a_process_of_its_own(tmp_path, part, why):
    run = Run(tmp_path, 30.0)
    run.all_of([quick(part), quick()], [sys.executable, "-c", WORKER], named=False)
    failed, other = run.result["parts"].values()
    assert (failed["status"], failed["reason"], other["status"]) == ("failed", why, "done")
    assert failed["rows"][0]["pid"] != other["rows"][0]["pid"]
    assert run.failed() == [part] and f"WRONG: {part}" in run.summary()


def test_what_there_is_no_time_for_is_skipped_with_the_seconds(tmp_path):
    parts = run_all(tmp_path, Part("hang", 2.0, 0.5), quick(least_s=4.0), limit_s=3.0)
    assert parts["hang"]["status"] == "out of time"
    assert parts["quick"]["status"] == "skipped" and not parts["quick"]["rows"]
    assert "s were left of the 3 s in all" in parts["quick"]["reason"]


def test_a_part_gets_its_share_and_no_more_than_is_left(tmp_path):
    parts = run_all(tmp_path, quick("quick 1", 2.0), quick("quick 2", 500.0), limit_s=20.0)
    assert parts["quick 1"]["rows"][0]["seconds"] == 2.0
    assert 15.0 < parts["quick 2"]["rows"][0]["seconds"] < 20.0


def test_all_shares_together_fit_seven_minutes_but_for_the_last_part():
    """Parts seldom take their share; what is left in the end goes to LeRobot's compilation."""
    assert gpu.LIMIT_S + gpu.GRACE_S < 420.0
    assert PARTS[-1].name == "compiled" and all(p.least_s <= p.budget_s for p in PARTS)
    assert sum(p.budget_s for p in PARTS[:-4]) < gpu.LIMIT_S - 60.0


def test_what_was_measured_is_on_disk_while_the_next_part_runs(tmp_path):
    """And a signal ends the worker, too."""
    code = (
        "import sys; from pathlib import Path; from rtc_ros.bench import gpu; w = sys.argv[2]\n"
        "gpu.PARTS = (gpu.Part('quick', 5, 1), gpu.Part('hang', 50, 1))\n"
        "gpu.sys.executable = sys.argv[3]\n"
        "gpu.main([sys.argv[1]])"
    )
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" -c \'{WORKER}\' "$@"\n')
    stand_in.chmod(0o755)
    command = [sys.executable, "-c", code, str(tmp_path), WORKER, str(stand_in)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    file = tmp_path / "results.json"
    try:
        until = time.monotonic() + 20.0
        rows: list[dict] = []
        while not rows and time.monotonic() < until:
            time.sleep(0.1)
            if file.is_file():
                parts = json.loads(file.read_text())["parts"]
                rows = parts["hang"]["rows"]
        assert parts["quick"]["status"] == "done" and parts["quick"]["rows"]
        assert parts["hang"]["status"] == "running"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(rows[0]["pid"], 0)


# ------------------------------------------------------------------------- what is skipped


def test_what_can_not_be_imported_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "num2words", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    ended = gpu_worker.run("equality", "small", gpu_worker.Out(lambda said: None, 1.0))
    assert ended["status"] == "skipped"
    for name in ("num2words", "transformers", "gpu_wheels.sh"):
        assert name in ended["reason"]
    assert gpu_worker.missing("machine") == ""  # it needs nothing


def test_on_a_cpu_compiling_is_left_out_unless_it_is_named(tmp_path):
    part = Part("quick", 5.0, 1.0, usual_on_cpu=False)
    for named, status in ((False, "skipped"), (True, "done")):
        run = Run(tmp_path, 30.0)
        run.result["where"]["device"] = "cpu"
        run.all_of([part], [sys.executable, "-c", WORKER], named=named)
        assert run.result["parts"]["quick"]["status"] == status


# -------------------------------------------------------------------------- what is told


def result(device: str) -> dict:
    row = {"what": "a chunk", "median ms": 1.25, "holds": False}
    parts = {"equality": {"status": "done", "rows": [row]}, "once": {"status": "x", "rows": []}}
    return {"where": {"device": device}, "started": "now", "parts": parts}


def test_a_page_of_a_cpu_says_first_that_it_is_none_of_a_gpu():
    assert markdown(result("cpu")).splitlines()[2] == ON_CPU
    assert ON_CPU not in markdown(result("cuda"))
    empty = {"where": {}, "started": "now", "parts": {}}
    assert "no figure below is one of a GPU" in markdown(empty)


def test_a_row_that_does_not_hold_catches_the_eye():
    assert "| a chunk | 1.25 | **NO** |" in markdown(result("cuda"))


# -------------------------------------------------------------------------------- costs


def test_what_a_run_made_itself_is_not_read_from_memory():
    weight, x = torch.zeros(64, 32), torch.zeros(8, 64)

    def run() -> torch.Tensor:
        y = x @ weight  # reads x and the weight
        return torch.relu_(y.view(-1)).add(1.0)  # reads what was made here

    cost = count(run)
    assert cost.kernels == 3 and cost.names["mm"] == 1
    assert cost.read_bytes == 4 * (weight.numel() + x.numel())
    assert cost.flops == 2 * 8 * 64 * 32


def test_attention_is_counted_as_its_two_products():
    q, k = torch.randn(1, 2, 16, 8), torch.randn(1, 2, 32, 8)
    cost = count(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, k))
    assert cost.flops == 2 * (2 * 2 * 16 * 32 * 8)


def test_what_is_fused_counts_as_one_kernel():
    x, floor = torch.ones(4, 8), torch.tensor(0.1)
    y, rho = torch.zeros(4, 8), torch.zeros(4, 1)

    def run(ops: ByOperations | AsOneKernel) -> torch.Tensor:
        return ops.norm(x, floor, y, rho, torch.float32) * 2.0

    assert count(lambda: run(ByOperations())).kernels == 4
    cost = count(lambda: run(AsOneKernel(ByOperations())))
    assert cost.names == {"fused norm": 1, "mul": 1} and cost.kernels == 2
    assert torch.equal(run(AsOneKernel(ByOperations())), 2.0 * y)  # also where nothing counts


def test_steps_are_told_from_what_is_done_once_and_a_floor_is_the_longer_of_two():
    once_and_2 = Cost(kernels=22, flops=2e9, read_bytes=210, touched_bytes=300)
    once_and_1 = Cost(kernels=12, flops=1e9, read_bytes=110, touched_bytes=200)
    step = once_and_2 - once_and_1
    assert once_and_1 + step == once_and_2
    assert (step.kernels, step.flops, step.read_bytes, step.touched_bytes) == (10, 1e9, 100, 100)
    card = Card("a card", gigabytes_s=1.0, teraflops=1.0, kernel_us=(1.0, 2.0))
    assert step.floor_s(card) == pytest.approx(1e-3)  # 1 GFLOP at 1 TFLOP/s
    assert Cost(read_bytes=10**9, flops=1e9).floor_s(card) == pytest.approx(1.0)
    assert step.in_a_graph_s(card) == pytest.approx((1e-3 + 10e-6, 1e-3 + 20e-6))


# ----------------------------------------------------------------------- one run, as a user's


@pytest.mark.slow
def test_the_script_runs_every_part_on_the_cpu_and_gives_figures_or_reasons(tmp_path, repo):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["bash", str(repo / "scripts" / "gpu_check.sh"), str(out)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads((out / "results.json").read_text())
    page = (out / "results.md").read_text()
    assert told["where"]["device"] == "cpu" and page.splitlines()[2] == ON_CPU
    parts = told["parts"]
    assert list(parts) == [p.name for p in PARTS]
    assert parts.pop("compiled")["status"] == "skipped"
    assert {name: p["status"] for name, p in parts.items()} == dict.fromkeys(parts, "done")
    for name, part in parts.items():
        assert part["rows"] and part["spent_s"] <= part["budget_s"]
        for row in part["rows"]:  # a figure, or why there is none
            assert len(row) > 1 and (set(row) != {"what", "reason"} or len(row["reason"]) > 10)
            assert f"| {row['what'].replace('|', '/')} |" in page, (name, row)
    rows = {(name, row["what"]): row for name, p in parts.items() for row in p["rows"]}

    equal = [row for (name, _), row in rows.items() if name == "equality" and "holds" in row]
    assert len(equal) == 8 and all(row["holds"] for row in equal)  # 4 paths, 2 precisions
    for (name, what), row in rows.items():
        if "graphs" in what or name == "tests":
            assert "no CUDA device" in row["reason"]  # no figure of a graph from a CPU
    chunks = {what: row for (name, what), row in rows.items() if name == "chunks of 2 cameras"}
    measured = {what: row for what, row in chunks.items() if "median ms" in row}
    assert len(measured) == 14  # three of LeRobot's and four of ours, at n = 10 and 5
    assert sum("trained prefix" in what for what in measured) == 2
    assert all(row["p90 ms"] >= row["median ms"] > 0.0 for row in measured.values())
    guided = rows["kernels", "ours guided (true VJP)"]["operations a step"]
    assert guided < 0.36 * rows["kernels", "LeRobot, true VJP"]["operations a step"]
    expected = {what: row for (name, what), row in rows.items() if name == "expected"}
    # A time for each row is one operation in a chunk, keeping the given rows one in a step.
    unguided = expected["a step, unguided"]["kernels"]
    assert unguided <= expected["a step, trained prefix"]["kernels"] <= unguided + 2
    # Room for a result is dispatched, but no kernel.
    assert 0.8 * guided < expected["a step, guided, unfused"]["kernels"] <= guided
    assert expected["a step, guided"]["kernels"] < 0.7 * guided
    for card in CARDS:
        floor, least, most = (
            expected["the chunk, guided"][f"{card.name}: {what}"]
            for what in ("floor, ms", "expected, ms, from", "to")
        )
        assert 0.0 < floor < least < most


@pytest.mark.parametrize("arguments", [[], ["--help"], ["out", "no_such_folder"]], ids=str)
def test_the_scripts_refuse_what_they_can_not_read(tmp_path, repo, arguments):
    for script in ("gpu_check.sh", "gpu_wheels.sh"):
        if script == "gpu_wheels.sh" and arguments[:1] == ["out"]:
            arguments = ["one", "two"]
        done = subprocess.run(
            ["bash", str(repo / "scripts" / script), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and done.stderr.startswith(script.removesuffix(".sh"))
