"""The inference benchmark's own arithmetic, and one quick run of it on the shipped policy."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from rtc_ros.bench import inference
from rtc_ros.bench.inference_contenders import FAST, GUIDED, PLAIN, RTC, TRAINED_PREFIX, VJP
from rtc_ros.bench.inference_phases import Timer, measure, operations_per_step

CPU = torch.device("cpu")


class Model:
    """A model with phases of known length."""

    def sample(self) -> None:
        self.see()
        for _ in range(3):
            self.step()

    def see(self) -> None:
        time.sleep(0.02)

    def step(self) -> None:
        time.sleep(0.01)


def test_phases_add_up_to_the_chunk():
    model = Model()
    phases = {"model": (model, "sample"), "vision": (model, "see"), "denoising": (model, "step")}
    times = measure(lambda: model.sample(), phases, CPU)
    assert times["vision"] >= 0.02 and times["denoising"] >= 0.03
    parts = [value for name, value in times.items() if name != "chunk"]
    assert sum(parts) == pytest.approx(times["chunk"])


def test_watching_leaves_everything_as_it_was():
    model = Model()
    model.own = lambda: 1
    own, of_class = model.own, Model.sample
    with Timer(CPU).watching({"a": (model, "own"), "b": (model, "see"), "c": (Model, "sample")}):
        assert model.own is not own and "see" in vars(model)
    assert model.own is own and "see" not in vars(model) and Model.sample is of_class


def test_operations_are_counted_per_step():
    def run(num_steps: int) -> None:
        x = torch.zeros(3) + 1.0
        for _ in range(num_steps):
            x = (x * 2.0).view(1, 3).view(3).neg()

    assert operations_per_step(run) == 2  # what makes a view computes nothing


@pytest.mark.slow
def test_quick_run_compares_all_on_the_shipped_policy(tmp_path: Path, capsys):
    files = {"json": tmp_path / "r.json", "markdown": tmp_path / "r.md"}
    arguments = ["--quick", "--rounds", "1", "--threads", "1"]
    for option, file in files.items():
        arguments += [f"--{option}", str(file)]
    assert inference.main(arguments) == 0
    result = json.loads(files["json"].read_text())["models"]["aloha_cube"]
    assert set(result["times_s"]) == {PLAIN, RTC, VJP, FAST, TRAINED_PREFIX, GUIDED}
    for rounds in result["times_s"].values():
        (times,) = rounds
        parts = {name: value for name, value in times.items() if name != "chunk"}
        assert min(parts[name] for name in ("vision", "prefix", "denoising")) > 0.0
        assert sum(parts.values()) == pytest.approx(times["chunk"])
    assert result["difference"]["unguided"] < 1e-5 and result["difference"]["guided"] < 1e-3
    operations = result["operations"]
    assert operations[GUIDED] < 0.3 * operations[VJP]
    assert operations[FAST] < 0.3 * operations[PLAIN]
    assert result["difference"]["trained prefix"] < 1e-5
    assert operations[TRAINED_PREFIX] < operations[FAST] + 3.0  # and no way back
    assert operations[RTC] > operations[PLAIN]
    assert files["markdown"].read_text() == capsys.readouterr().out
