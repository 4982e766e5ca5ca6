"""π0.5: the state stands in the prompt, each joint's as one of 256 bins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any

from rtc_ros.policy.families.family import TOKENIZER
from rtc_ros.policy.families.pi import Pi

_PADDED = 32
"""To how many joints LeRobot 0.4 fills the prompt up, whatever the config says."""
PROMPT = "pi05_prepare_state_tokenizer_processor_step"


class Pi05(Pi):
    """LeRobot's PI05Policy.

    The state that the prompt names is the one that the same pass of the preprocessor normalised
    A_prev with: both come from one batch.
    """

    kind = "pi05"
    label = "pi0.5"
    policy_path = "lerobot.policies.pi05.modeling_pi05.PI05Policy"
    # In this order, or the prompt would name bins of a state that isn't normalised.
    steps = ("normalizer_processor", PROMPT, TOKENIZER)

    def state_room(self, config: Mapping[str, Any]) -> int | None:
        """Return None: a prompt has no fixed number of joints."""
        return None

    def read_text(self, task: str, config: Mapping[str, Any], steps: Collection[str]) -> str:
        """Return the prompt with the longest state: three digits a joint."""
        joints = int(config["input_features"]["observation.state"]["shape"][0])
        if metadata.version("lerobot").startswith("0.4."):
            joints = max(joints, _PADDED)
        cleaned = task.strip().replace("_", " ").replace("\n", " ")
        return f"Task: {cleaned}, State: {' '.join(['255'] * joints)};\nAction: "

    def config_class(self) -> Any:
        """Return LeRobot's PI05Config."""
        import lerobot.policies.pi05.processor_pi05  # noqa: F401  registers its steps
        from lerobot.policies.pi05.configuration_pi05 import PI05Config

        return PI05Config

    def policy_class(self) -> Any:
        """Return LeRobot's PI05Policy."""
        from lerobot.policies.pi05.modeling_pi05 import PI05Policy

        return PI05Policy
