"""A policy that makes a chunk in one pass: for the strategies that need no previous chunk."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch

from rtc_ros.policy.adapter import Clock, FlowAdapter, timed
from rtc_ros.policy.flow_input import blank_observation, check_observation, to_batch
from rtc_ros.policy.protocol import Guidance, Observation, PolicyResult


class OnePassAdapter(FlowAdapter):
    """Implements ``protocol.Policy`` on a family without a flow; ``FlowAdapter.load`` makes it.

    The same observation gives the same chunk: there is no noise, and n means nothing.
    """

    def warm_up(self, task: str = "") -> float:
        """Run four times; return the last three's median [s]."""
        observation = blank_observation(self.spec, task or "warm up")
        return timed([partial(self.infer, observation, None)] * 4)

    @torch.no_grad()
    def infer(
        self,
        observation: Observation,
        guidance: Guidance | None,
        *,
        num_steps: int | None = None,
        seed: int | None = None,
    ) -> PolicyResult:
        """Make one chunk; see ``protocol.Policy``.

        Raises:
            ValueError: the observation doesn't fit, or ``guidance`` is given.
            PolicyError: the chunk has values that are not finite.
        """
        if guidance is not None:
            raise ValueError(
                f"{self.spec.description} makes a chunk in one pass: no part of a previous one "
                "can go into it"
            )
        clock = Clock(self._device)
        check_observation(self.spec, observation)
        batch = self._pre(to_batch(self.spec, observation, None, self._names, self._device))
        clock.lap("preprocess")
        actions = self._family.make_chunk(self._policy, batch)
        clock.lap("pass")
        chunk = self._to_policy_units(actions)[0]
        clock.lap("postprocess")
        return PolicyResult(chunk, clock.laps)

    def leave_out(self, images: Collection[str]) -> None:
        """Refuse, where an image is named.

        Raises:
            ValueError: it sees all of its images, always.
        """
        if images:
            raise ValueError(
                f"{', '.join(sorted(images))} can't be left out: {self._family.label} has no mask "
                "for an image that isn't there"
            )

    def contrast_with(self, weak: FlowAdapter) -> None:
        """Refuse: ``bid`` chooses among chunks of several noises.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"weak_policy_path is for bid, which needs noise, and {self._family.label} has none: "
            "leave it empty"
        )
