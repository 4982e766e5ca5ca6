"""rtc_inference with a policy that fails on demand: all but the network is the real node.

The word in the file FAULT_FILE says what the next inference does:

    (empty)      a chunk that goes on from where the arm is, in a few milliseconds
    hang         no return while the word stands there
    raise        an exception
    oom          torch-like: an allocation that the machine can't give
    nan          one value is NaN
    columns      a chunk with one joint too many
    rows         a chunk of another horizon
    leap         a chunk far outside every limit
    slow:0.5     that many seconds
"""

from __future__ import annotations

import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.inference import node as inference_node
from rtc_ros.inference import policy_loading
from rtc_ros.policy.protocol import Guidance, Observation, PolicyResult, PolicySpec

HORIZON, SPEED = 30, 0.01


class FaultyPolicy:
    """Moves all joints up and down between ±0.5; fails when told to."""

    def __init__(self, action_dim: int) -> None:
        cameras = os.environ.get("FAULT_CAMERAS", "top").split()
        images = {f"observation.images.{name}": (48, 64) for name in cameras}
        self.spec = PolicySpec(HORIZON, action_dim, action_dim, 1, images, "faults")
        self._direction = 1.0
        self._file = Path(os.environ["FAULT_FILE"])

    @classmethod
    def load(cls, *_: Any, **__: Any) -> FaultyPolicy:
        return cls(int(os.environ["FAULT_JOINTS"]))

    def warm_up(self, task: str = "") -> float:
        return 0.005

    def infer(
        self,
        observation: Observation,
        guidance: Guidance | None,
        *,
        num_steps: int | None = None,
        seed: int | None = None,
        **_: Any,
    ) -> PolicyResult:
        time.sleep(0.005)
        word = self._word()
        while self._word() == "hang":
            time.sleep(0.01)
        if word == "raise":
            raise ValueError("the network fell over")
        if word == "oom":
            np.ones(1 << 50)
        if word.startswith("slow:"):
            time.sleep(float(word[5:]))
        actions = self._chunk(observation.state, guidance)
        if word == "nan":
            actions[3, 0] = np.nan
        elif word == "columns":
            actions = np.hstack([actions, actions[:, :1]])
        elif word == "rows":
            actions = actions[:-5]
        elif word == "leap":
            actions += 50.0
        return PolicyResult(actions)

    def _word(self) -> str:
        return self._file.read_text().strip() if self._file.exists() else ""

    def _chunk(self, state: np.ndarray, guidance: Guidance | None) -> np.ndarray:
        frozen = state[None] if guidance is None else np.atleast_2d(guidance.prev)[:HORIZON]
        last = frozen[-1]
        if last.mean() * self._direction > 0.5:
            self._direction = -self._direction
        more = np.arange(1, HORIZON + 1 - len(frozen))[:, None] * SPEED * self._direction
        return np.vstack([frozen, last + more])


def main() -> None:
    module = types.ModuleType("rtc_ros.policy.adapter")
    module.FlowAdapter = FaultyPolicy  # type: ignore[attr-defined]
    sys.modules["rtc_ros.policy.adapter"] = module
    spec = FaultyPolicy.load().spec  # there is no folder that says so
    policy_loading.read_checkpoint = lambda _: types.SimpleNamespace(
        spec=spec, state_spread=None, task_reader=lambda _: None
    )
    inference_node.main()


if __name__ == "__main__":
    main()
