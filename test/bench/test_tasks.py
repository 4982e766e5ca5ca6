"""The tasks can be done, are the same for every method, and can be learnt from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rtc_ros.bench.tasks import learn
from rtc_ros.bench.tasks.catalogue import TASKS
from rtc_ros.bench.tasks.flow_policy import HORIZON, FlowNetwork, FlowPolicy

torch.set_num_threads(1)


def play(task, n=200, seed=1, rough=1.0, force=None):
    world = task(n, seed, rough)
    mode = np.random.default_rng(0).integers(0, world.modes, n)
    for _ in range(task.steps):
        world.step(world.expert(mode) if force is None else np.full((n, 4), force))
    return world


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_expert_does_it_by_either_way_and_doing_nothing_does_not(task):
    assert play(task, rough=0.0).done.mean() > 0.9
    assert play(task).done.mean() > 0.75
    idle = play(task, force=0.0)
    assert idle.done.mean() < 0.05
    assert not (idle.done & idle.failed).any()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_starts_and_disturbances_are_the_seed_s_whatever_is_done(task):
    one, other, third = play(task, 5), play(task, 5, force=1.0), play(task, 5, seed=2)
    np.testing.assert_array_equal(one._noise, other._noise)
    assert not np.array_equal(one._noise, third._noise)
    again = play(task, 5)
    np.testing.assert_array_equal(one.observe(), again.observe())
    assert one.observe().shape[0] == 5 and np.isfinite(one.observe()).all()


def test_the_bar_s_two_ways_are_mirrored():
    task = TASKS["slalom"]
    ends = []
    for side in (0, 1):
        world = task(50, 3, 0.0)
        for _ in range(22):
            world.step(world.expert(np.full(50, side)))
        ends.append(world.position[..., 1].mean())
    assert ends[0] < -0.3 and ends[1] > 0.3


def test_demonstrations_are_chunks_of_what_was_done_from_there_on():
    task = TASKS["catch"]
    observed, chunks = learn.demonstrate(task, 20, seed=4)
    assert len(observed) == len(chunks) and len(observed) % task.steps == 0
    assert chunks.shape[1:] == (HORIZON, 4)
    episodes = len(observed) // task.steps
    first, second = chunks[:episodes], chunks[episodes : 2 * episodes]
    np.testing.assert_array_equal(first[:, 1:], second[:, :-1])


def test_training_is_the_seed_s_and_leaves_a_weaker_policy(tmp_path):
    task, heard = TASKS["slalom"], []
    made = learn.train(task, 5, updates=12, episodes=20, told=heard.append)
    again = learn.train(task, 5, updates=12, episodes=20)
    assert heard == list(range(1, 13))
    learn.save(tmp_path / "policy.pt", made)
    kept = learn.load(tmp_path / "policy.pt")
    observed = task(3, 0).observe()
    for one, two, three in zip(made, again, kept, strict=True):
        chunks = [
            p.infer(observed, None, torch.Generator().manual_seed(1)) for p in (one, two, three)
        ]
        np.testing.assert_array_equal(chunks[0], chunks[1])
        np.testing.assert_allclose(chunks[0], chunks[2], rtol=1e-6)
    longer = learn.train(task, 5, updates=learn.WEAK_UPDATES + 1, episodes=20)
    strong, weak = (p.network.state_dict()["out.weight"] for p in longer)
    assert not torch.equal(strong, weak)


def test_a_weak_policy_of_another_shape_is_refused():
    scale = (np.zeros(8), np.ones(8))
    policies = [
        FlowPolicy(FlowNetwork(8, 4, rows), scale, (np.zeros(4), np.ones(4))) for rows in (10, 8)
    ]
    with pytest.raises(ValueError, match="chunks of 8 rows and 4 joints, the policy of 10 rows"):
        policies[0].contrast_with(policies[1])
