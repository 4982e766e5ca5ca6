"""π0: the state is a token of the action expert, read again at each denoising step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtc_ros.policy.families.pi import Pi

if TYPE_CHECKING:
    from torch import Tensor


class Pi0(Pi):
    """LeRobot's PI0Policy."""

    kind = "pi0"
    label = "pi0"
    policy_path = "lerobot.policies.pi0.modeling_pi0.PI0Policy"
    new_line_step = "pi0_new_line_processor"

    def config_class(self) -> Any:
        """Return LeRobot's PI0Config."""
        import lerobot.policies.pi0.processor_pi0  # noqa: F401  registers its steps
        from lerobot.policies.pi0.configuration_pi0 import PI0Config

        return PI0Config

    def policy_class(self) -> Any:
        """Return LeRobot's PI0Policy."""
        from lerobot.policies.pi0.modeling_pi0 import PI0Policy

        return PI0Policy

    def inputs(self, policy: Any, batch: dict[str, Tensor]) -> list[Any]:
        """Return what ``sample_actions`` takes: the padded state, too."""
        return [*super().inputs(policy, batch), policy.prepare_state(batch)]
