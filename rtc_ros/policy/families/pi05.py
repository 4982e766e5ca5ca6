"""π0.5: the state stands in the prompt, each joint's as one of 256 bins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rtc_ros.policy.families.family import TOKENIZER
from rtc_ros.policy.families.pi import Pi

if TYPE_CHECKING:
    from torch import Tensor

    from rtc_ros.policy.kv_cache import Prefix

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
    row_times = True
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

    def denoise(self, policy: Any, prefix: Prefix, actions: Tensor, time: Tensor) -> Tensor:
        """Return LeRobot's velocity at its time [B], or [B, H]: one for each row."""
        if time.ndim == 1:
            return super().denoise(policy, prefix, actions, time)
        with rows_at(policy.model, time):
            return super().denoise(policy, prefix, actions, time[:, 0])


@contextmanager
def rows_at(model: Any, time: Tensor) -> Iterator[None]:
    """Let LeRobot's model see each row of a chunk at its own time [B, H] within the block.

    The time conditions the expert's norms, and up to LeRobot 0.6.1 all rows of a chunk share one
    condition. Here a norm is given the rows as a batch [B · H, width], and a condition for each.
    """
    own = model.embed_suffix
    expert = model.paligemma_with_expert.gemma_expert.model
    norms = [each for each in expert.modules() if getattr(each, "dense", None) is not None]

    def embed(actions: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        rows, present, attention, _ = own(actions, time[:, 0])
        *_, conditions = own(actions.reshape(-1, 1, actions.shape[-1]), time.reshape(-1))
        return rows, present, attention, conditions

    def apart(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return given[0].flatten(0, 1), *given[1:]

    def together(_: Any, __: Any, made: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return tuple(each.unflatten(0, time.shape) for each in made)

    hooks = [norm.register_forward_pre_hook(apart) for norm in norms]
    hooks += [norm.register_forward_hook(together) for norm in norms]
    model.embed_suffix = embed  # hides the method
    try:
        yield
    finally:
        del model.embed_suffix
        for hook in hooks:
            hook.remove()
