"""The ways of executing chunks that can be chosen with the ``strategy`` parameter."""

from __future__ import annotations

from dataclasses import dataclass

GUIDE, OVERWRITE, CHOOSE, TRAINED = "guide", "overwrite", "choose", "trained"
ENSEMBLE, AVERAGE = "ensemble", "average"


@dataclass(frozen=True)
class Strategy:
    """How chunks are made and played.

    ``prefix``: what the sampler does with the previous chunk: ``guide`` (equations 1 to 5),
    ``overwrite`` (its frozen rows replace the new chunk's at each denoising step), ``choose`` (the
    candidate nearest to it is taken), ``trained`` (its frozen rows are given, clean, as the policy
    was trained), or None: nothing. ``blend``: what the chunk becomes after
    it was made: ``ensemble`` (the average of all predictions of a step), ``average`` (of the
    previous chunk and the new one), or None: itself. ``schedule``: the mask's schedule, or None
    for the one that the ``schedule`` parameter names. ``dense``: inferences go back to back,
    whatever s_min is. ``pauses``: the arm holds during inference, and only s_min rows of each
    chunk are executed.
    """

    name: str
    description: str
    prefix: str | None = None
    blend: str | None = None
    schedule: str | None = None
    dense: bool = False
    pauses: bool = False


STRATEGIES = {
    s.name: s
    for s in (
        Strategy("rtc", "guided by the soft mask (the paper)", GUIDE),
        Strategy("rtc_hard", "guided on the first d rows only", GUIDE, schedule="zeros"),
        Strategy(
            "rtc_trained",
            "the first d rows are given, for policies that were trained to go on from them "
            "(training-time RTC)",
            TRAINED,
            schedule="zeros",
        ),
        Strategy("naive_async", "infer while executing, switch when ready, unguided"),
        Strategy("synchronous", "execute s_min rows, hold while inferring, go on", pauses=True),
        Strategy(
            "temporal_ensembling",
            "the average of all predictions for a step, from a new chunk every s_min steps (ACT)",
            blend=ENSEMBLE,
        ),
        Strategy(
            "temporal_ensembling_dense",
            "the same, inferring back to back (s = d)",
            blend=ENSEMBLE,
            dense=True,
        ),
        Strategy(
            "weighted_average",
            "0.3 of the previous chunk and 0.7 of the new one (LeRobot's asynchronous client)",
            blend=AVERAGE,
        ),
        Strategy(
            "prefix_overwrite",
            "the first d rows overwritten with the previous chunk's at each denoising step "
            "(Diffuser)",
            OVERWRITE,
            schedule="zeros",
        ),
        Strategy(
            "bid",
            "the one of bid_candidates chunks that is nearest to the previous chunk "
            "(bidirectional decoding)",
            CHOOSE,
        ),
    )
}
