"""Whether a pose is like those that the policy was trained on, in its units, its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.policy.checkpoint_files import read_stats

_DEGREES = 180.0 / np.pi
_FAR_Z, _NEAR_Z = 5.0, 3.0
"""Where a joint hardly ever was in the data, and where it was nearly always [standard deviations].
"""
_STILL = 1e-6
"""A joint whose spread is less than this (of its value, above 1) never moved in the data."""
_EPS = 1e-8
"""What LeRobot adds to a spread of 0 before it divides."""

_ORDER = "check the order of `joints` against the data set's (meta/info.json, action, names)"


@dataclass(frozen=True)
class Misfit:
    """What is odd about a pose, and what to do.

    ``units``: nothing but other units explains it. ``order``: with joints exchanged all of it
    fits. ``blinding``: the policy can't be shown it.
    """

    sentence: str
    fix: str
    units: bool = False
    order: bool = False
    blinding: bool = False


@dataclass(frozen=True)
class StateSpread:
    """Where the training data's states lay, per joint in the policy's units: float64[A] each.

    ``width`` is a standard deviation, or what stands for one where the checkpoint normalises by
    a range.
    """

    middle: np.ndarray
    width: np.ndarray

    @classmethod
    def of(
        cls, folder: Path, config: Mapping[str, Any], preprocessor: Mapping[str, Any]
    ) -> StateSpread | None:
        """Return the statistics that a checkpoint normalises states with; None: it has none."""
        if config.get("adapt_to_pi_aloha"):
            return None  # the statistics are of states in other conventions than the robot's
        wanted = "normalizer_processor"
        step: Mapping[str, Any] = next(
            (s for s in preprocessor["steps"] if s["registry_name"] == wanted), {}
        )
        if "state_file" not in step:
            return None
        stats = read_stats(folder / step["state_file"])
        mode = step.get("config", {}).get("norm_map", {}).get("STATE", "IDENTITY")
        values = {
            key.rsplit(".", 1)[1]: np.asarray(value, float)
            for key, value in stats.items()
            if key.startswith("observation.state.")
        }
        names = {
            "MEAN_STD": ("mean", "std"),
            "MIN_MAX": ("min", "max"),
            "QUANTILES": ("q01", "q99"),
            "QUANTILE10": ("q10", "q90"),
        }
        two = [values[name] for name in names.get(mode, ()) if name in values]
        if len(two) != 2:
            return None
        if mode == "MEAN_STD":
            return cls(*two)
        low, high = two
        # An even spread between the ends has this standard deviation.
        return cls((low + high) / 2, (high - low) / np.sqrt(12))

    @property
    def still(self) -> np.ndarray:
        """Which joints bool[A] never moved in the training data."""
        return np.asarray(self.width < self._tolerance)

    @property
    def _tolerance(self) -> np.ndarray:
        return np.asarray(_STILL * np.maximum(1.0, np.abs(self.middle)))

    def z(self, state: np.ndarray) -> np.ndarray:
        """Return how far each joint [A] is from the middle, in its widths (as LeRobot divides)."""
        off = np.abs(state - self.middle)
        return np.asarray(
            np.where(self.still & (off <= self._tolerance), 0.0, off / (self.width + _EPS))
        )

    def blinding(self, state: np.ndarray, joints: Sequence[str]) -> Misfit | None:
        """Say which joints that never moved in the data are elsewhere now; ``joints`` names them.

        Divided by a spread of 0 any noise becomes a number that drowns the rest of the state.
        """
        z = self.z(state)
        moved = [i for i in np.flatnonzero(self.still) if z[i] > 0.0]
        if not moved:
            return None
        first = moved[0]
        others = f", and so did {', '.join(joints[i] for i in moved[1:])}" if moved[1:] else ""
        return Misfit(
            f"{joints[first]} never moved in the training data (standard deviation "
            f"{self.width[first]:.2g} at {self.middle[first]:.6g}) and is at "
            f"{state[first]:.6g} now, which the policy would be shown as {z[first]:.1g}{others}",
            f"hold it there; or show the policy what it was trained with: state_scale 1e-9 and "
            f"state_offset {self.middle[first]:.6g} for {joints[first]} (.nan for the others)",
            blinding=True,
        )

    def misfit(self, state: np.ndarray, joints: Sequence[str]) -> Misfit | None:
        """Say what is odd about a state [A] in policy units; ``joints`` are its names."""
        factor = self._factor(state)
        if factor != 1.0:
            said, wanted = ("radians", "degrees") if factor > 1 else ("degrees", "radians")
            return Misfit(
                f"the states look like {said} and the policy's data like {wanted}: times "
                f"{factor:.4g} they fit much better",
                f"joint_scale: {factor:.7g} times what it is, for the joints that turn",
                units=True,
            )
        blinding = self.blinding(state, joints)
        if blinding is not None:
            return blinding
        z = self.z(state)
        swapped = self.z(np.roll(state, len(state) // 2))
        gain = (np.minimum(z, 9) ** 2 - np.minimum(swapped, 9) ** 2).mean()
        if len(z) % 2 == 0 and gain > 4.0:
            return Misfit(
                "the pose fits the data much better with the first and the second arm exchanged",
                _ORDER,
                order=bool(swapped.max() < _NEAR_Z),
            )
        far = [i for i in np.argsort(-z) if z[i] > _FAR_Z]
        if not far:
            return None
        if exchanged := self._exchanged(state, far):
            i, j = exchanged
            return Misfit(
                f"{joints[i]} is at {state[i]:.3g} and {joints[j]} at {state[j]:.3g} (policy "
                f"units), {z[i]:.0f} and {z[j]:.0f} standard deviations from their means "
                f"{self.middle[i]:.3g} and {self.middle[j]:.3g}; with these two exchanged every "
                "joint fits",
                _ORDER,
                order=True,
            )
        return Misfit(
            "; ".join(
                f"{joints[i]} is at {state[i]:.3g} (policy units), {z[i]:.0f} standard "
                f"deviations from the mean {self.middle[i]:.3g}"
                for i in far[:3]
            ),
            "move the arms to where the demonstrations began; if they are there, check order, "
            "joint_scale and joint_offset (state_scale and state_offset, where set)",
        )

    def _exchanged(self, state: np.ndarray, far: Sequence[int]) -> tuple[int, int] | None:
        """Return two joints that, exchanged, leave none far, of which ``far`` are now; or None."""
        first, *others = far
        for j in others or range(len(state)):
            other = np.array(state)
            other[[first, j]] = state[[j, first]]
            if len(far) <= 2 and self.z(other).max() < _NEAR_Z:
                return min(first, j), max(first, j)
        return None

    def _factor(self, state: np.ndarray) -> float:
        """Return 1, or the factor between degrees and radians that explains the state far better.

        By the ratio of likelihoods, joint by joint: a state f times too small lies suspiciously
        near zero, one f times too large suspiciously far out. Joints at zero tell nothing.
        """
        telling = ~self.still & (np.abs(state) > 0.01 * self.width)
        if telling.sum() < min(3, len(state)):
            return 1.0
        x, middle, width = state[telling], self.middle[telling], self.width[telling]
        as_is = -((x - middle) ** 2) / (2 * width**2)
        for factor in (_DEGREES, 1 / _DEGREES):
            scaled = np.log(factor) - (factor * x - middle) ** 2 / (2 * width**2)
            if np.clip(scaled - as_is, -20, 20).mean() > 2.0:
                return float(factor)
        return 1.0
