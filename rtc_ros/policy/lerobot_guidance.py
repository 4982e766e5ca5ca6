"""LeRobot's own guidance, to compare with: its RTC processor, switched on for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def rtc_processor(*, beta: float, mask_end: int) -> Any:
    """Return LeRobot's guidance with the mask of the paper: clip β, its end at row H − s."""
    from lerobot.configs.types import RTCAttentionSchedule
    from lerobot.policies.rtc.configuration_rtc import RTCConfig
    from lerobot.policies.rtc.modeling_rtc import RTCProcessor

    return RTCProcessor(
        RTCConfig(
            enabled=True,
            prefix_attention_schedule=RTCAttentionSchedule.EXP,
            max_guidance_weight=beta,
            execution_horizon=mask_end,
        )
    )


@contextmanager
def rtc_enabled(policy: Any, processor: Any) -> Iterator[None]:
    """Let LeRobot's sampling be guided by a ``rtc_processor`` within the block."""
    policy.config.rtc_config = processor.rtc_config
    policy.model.rtc_processor = processor
    try:
        yield
    finally:
        policy.config.rtc_config = policy.model.rtc_processor = None
