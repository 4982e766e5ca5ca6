"""A sentence that the policy reads only in part is noticed, with the number of its tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from reference import Reference, observe

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path

LONG = "fold the striped towel and then put it into the basket on the "  # a token is a byte here
SENTENCES = ["", "fold", "fold\n", "pass the cube to the left hand", "左の箱", LONG + "left"]


@pytest.mark.parametrize("task", SENTENCES)
def test_tokens_are_counted_as_lerobot_s_preprocessor_makes_them(checkpoint, task):
    reader = read_checkpoint(checkpoint).task_reader()
    batch = Reference(checkpoint).batch(observe(read_checkpoint(checkpoint).spec, task=task))
    seen = int(batch["observation.language.attention_mask"].sum())
    assert seen == min(reader.count(task), reader.limit) and reader.limit == 48


def test_what_is_cut_changes_nothing_and_is_named(checkpoint):
    adapter, reader = (
        FlowAdapter.load(checkpoint, device="cpu"),
        read_checkpoint(checkpoint).task_reader(),
    )
    left, right = (
        adapter.infer(observe(adapter.spec, task=LONG + end), None, seed=1).actions
        for end in ("left", "right")
    )
    assert np.array_equal(left, right), "the policy can't tell them apart"
    said = reader.problem(LONG + "right")
    count = len(LONG + "right\n")
    assert f"{count} tokens" in said and "reads 48" in said
    assert (LONG + "right")[48:] in said


def test_a_sentence_that_just_fits_is_fine(checkpoint):
    reader = read_checkpoint(checkpoint).task_reader()
    assert reader.problem("x" * 47) == ""  # and a new line
    assert "49 tokens" in reader.problem("x" * 48)
    assert reader.problem("x" * 47 + "\n") == ""


def test_the_limit_is_the_tokenizer_step_s_and_one_that_doesn_t_cut_has_none(broken):
    file = broken / "policy_preprocessor.json"
    pipeline = json.loads(file.read_text())
    (step,) = [s for s in pipeline["steps"] if s["registry_name"] == "tokenizer_processor"]
    step["config"]["max_length"] = 12
    file.write_text(json.dumps(pipeline))
    assert "reads 12" in read_checkpoint(broken).task_reader().problem("pass the cube")
    step["config"]["truncation"] = False
    file.write_text(json.dumps(pipeline))
    assert read_checkpoint(broken).task_reader() is None


def test_the_shipped_policy_reads_its_own_sentences():
    from rtc_ros.sim.tasks import TASKS

    reader = read_checkpoint(checkpoint_path("package:aloha_cube")).task_reader()
    assert [reader.problem(task) for task in TASKS] == ["", ""]
