"""The guided sampler against closed forms on a linear field, where a lost Jacobian shows."""

from __future__ import annotations

import ast
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.policy import guidance
from rtc_ros.policy.guidance import guidance_weight, sample_chunk

H, A = 6, 3


class LinearField:
    """v = M a + b over the flattened chunk; M mixes all rows and dimensions."""

    def __init__(self, dtype: torch.dtype = torch.float64, rows: int = H, dims: int = A) -> None:
        random = np.random.default_rng(1)
        size = rows * dims
        self.m = random.normal(size=(size, size)) / math.sqrt(size)
        self.b = random.normal(size=size)
        self._m, self._b = torch.tensor(self.m, dtype=dtype), torch.tensor(self.b, dtype=dtype)

    def __call__(self, actions: torch.Tensor, tau: float) -> torch.Tensor:
        flat = actions.flatten(1).to(self._m.dtype)
        return (flat @ self._m.T + self._b).reshape(actions.shape)

    def guided(self, noise, prev, weights, n, beta, sigma_d, identity=False) -> np.ndarray:
        """Compose the n affine maps that guided Euler steps are for this field."""
        size = len(self.b)
        eye, w = np.eye(size), np.diag(weights.ravel())
        gain, offset = eye, np.zeros(size)
        for step in range(n):
            tau = step / n
            weight = beta if tau == 0 else min(beta, paper_weight(tau, sigma_d))
            f_gain, f_offset = eye + (1 - tau) * self.m, (1 - tau) * self.b
            pull = weight * (eye if identity else f_gain.T) @ w
            step_gain = eye + (self.m - pull @ f_gain) / n
            step_offset = (self.b + pull @ (prev.ravel() - f_offset)) / n
            gain, offset = step_gain @ gain, step_gain @ offset + step_offset
        return (gain @ noise.ravel() + offset).reshape(noise.shape)


def paper_weight(tau: float, sigma_d: float) -> float:
    r2 = (1 - tau) ** 2 * sigma_d**2 / ((1 - tau) ** 2 + sigma_d**2 * tau**2)
    return (1 - tau) / (tau * r2)


def example(seed: int = 0, batch: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    noise, prev = random.normal(size=(2, batch, H, A))
    return noise, prev, np.array([1.0, 1.0, 0.5, 0.2, 0.0, 0.0])


def sample(noise, prev=None, weights=None, *, field=None, dtype=torch.float64, **options):
    def tensor(value):
        return None if value is None else torch.tensor(value, dtype=dtype)

    options = {"num_steps": 5, "beta": 5.0, **options}
    field = field or LinearField(dtype)
    return sample_chunk(field, tensor(noise), tensor(prev), tensor(weights), **options)


# ---------------------------------------------------------------------------- the weight


@pytest.mark.parametrize("sigma_d", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_weight_is_the_paper_s(tau, sigma_d):
    assert guidance_weight(tau, 1e9, sigma_d) == pytest.approx(paper_weight(tau, sigma_d))


@given(
    tau=st.floats(0, 1),
    beta=st.floats(0, 1e6),
    sigma_d=st.floats(1e-200, 1e200),
)
def test_weight_is_within_0_and_beta(tau, beta, sigma_d):
    assert 0 <= guidance_weight(tau, beta, sigma_d) <= beta


@given(beta=st.floats(0, 1e6), sigma_d=st.floats(1e-3, 1e3))
def test_weight_is_exactly_beta_at_both_ends(beta, sigma_d):
    assert guidance_weight(0.0, beta, sigma_d) == beta
    assert guidance_weight(1.0, beta, sigma_d) == beta
    assert guidance_weight(1.0 - 1e-12, beta, sigma_d) == beta


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((-0.1, 5.0), "tau is -0.1"),
        ((1.1, 5.0), "tau is 1.1"),
        ((math.nan, 5.0), "tau is nan"),
        ((0.5, -1.0), "beta is -1.0"),
        ((0.5, math.inf), "beta is inf"),
        ((0.5, 5.0, 0.0), "sigma_d is 0.0"),
        ((0.5, 5.0, math.nan), "sigma_d is nan"),
    ],
)
def test_weight_names_the_bad_argument(arguments, named):
    with pytest.raises(ValueError, match=named):
        guidance_weight(*arguments)


def test_the_sampler_knows_nothing_of_lerobot():
    tree = ast.parse(Path(guidance.__file__).read_text(encoding="utf-8"))
    names = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in getattr(node, "names", [])]
        )
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    ours = {name for name in names if name.startswith("rtc_ros")}
    assert ours == {"rtc_ros.core.strategies", "rtc_ros.policy.protocol"}
    others = {name.split(".")[0] for name in names - ours}
    assert others == {"__future__", "collections", "functools", "math", "torch", "typing"}


# ----------------------------------------------------------------------- the closed form


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sigma_d", [1.0, 0.4])
@pytest.mark.parametrize("n", [1, 5, 10])
@pytest.mark.parametrize("batch", [1, 3])
def test_vjp_is_the_closed_form(dtype, sigma_d, n, batch):
    noise, prev, weights = example(batch=batch)
    got = sample(noise, prev, weights, dtype=dtype, num_steps=n, sigma_d=sigma_d)
    assert got.dtype == dtype
    field, full = LinearField(), np.repeat(weights[:, None], A, axis=1)
    for row in range(batch):
        expected = field.guided(noise[row], prev[row], full, n, 5.0, sigma_d)
        np.testing.assert_allclose(got[row].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_identity_is_its_own_closed_form_and_not_the_vjp_s():
    noise, prev, weights = example()
    full = np.repeat(weights[:, None], A, axis=1)
    identity = sample(noise, prev, weights, jacobian="identity")[0].numpy()
    expected = LinearField().guided(noise[0], prev[0], full, 5, 5.0, 1.0, identity=True)
    np.testing.assert_allclose(identity, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(identity - sample(noise, prev, weights)[0].numpy()).max() > 0.1


def test_weights_may_differ_by_dimension():
    noise, prev, weights = example()
    full = np.outer(weights, [1.0, 0.0, 0.3])
    expected = LinearField().guided(noise[0], prev[0], full, 5, 5.0, 1.0)
    np.testing.assert_allclose(sample(noise, prev, full)[0].numpy(), expected, atol=1e-8)


def test_guided_rows_come_closer_to_prev_than_unguided():
    noise, prev, weights = example()
    frozen = weights == 1.0
    guided = sample(noise, prev, weights).numpy()[:, frozen]
    free = sample(noise).numpy()[:, frozen]
    distance = np.abs(np.stack([guided, free]) - prev[:, frozen]).mean(axis=(1, 2, 3))
    assert distance[0] < 0.5 * distance[1]


# ------------------------------------------------------------------ unguided, and zero weights


def test_unguided_is_plain_euler():
    noise, _, _ = example()
    field, actions = LinearField(), torch.tensor(noise)
    for _ in range(5):
        actions = actions + field(actions, 0.0) / 5
    assert torch.equal(sample(noise, field=field), actions)


@pytest.mark.parametrize("jacobian", ["vjp", "identity"])
def test_zero_weights_are_unguided_to_the_bit(jacobian):
    noise, prev, weights = example()
    got = sample(noise, prev, 0 * weights, jacobian=jacobian)
    assert torch.equal(got, sample(noise))


@given(
    seed=st.integers(0, 100), n=st.integers(1, 6), jacobian=st.sampled_from(["vjp", "identity"])
)
@settings(max_examples=25)
def test_garbage_without_weight_changes_nothing(seed, n, jacobian):
    noise, prev, weights = example(seed)
    full = np.repeat(weights[:, None], A, axis=1)
    full[:, 1] = 0.0
    dirty = np.where(full > 0, prev, np.random.default_rng(seed).choice([np.nan, np.inf, 1e30]))
    options = {"num_steps": n, "jacobian": jacobian}
    assert torch.equal(sample(noise, prev, full, **options), sample(noise, dirty, full, **options))


@given(seed=st.integers(0, 100), beta=st.floats(0, 20), n=st.integers(1, 6))
@settings(max_examples=25)
def test_a_batch_is_its_rows_one_by_one(seed, beta, n):
    noise, prev, weights = example(seed, batch=2)
    both = sample(noise, prev, weights, num_steps=n, beta=beta)
    for row in range(2):
        alone = sample(noise[row : row + 1], prev[row : row + 1], weights, num_steps=n, beta=beta)
        torch.testing.assert_close(both[row], alone[0], rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 100), n=st.integers(1, 6))
@settings(max_examples=25)
def test_guiding_to_where_the_field_goes_changes_nothing(seed, n):
    """With a constant f every error is 0: a field that is straight from noise to one chunk."""
    noise, goal, weights = example(seed)
    field = lambda a, tau: (torch.tensor(goal) - a) / (1.0 - tau)  # noqa: E731
    got = sample(noise, goal, weights, field=field, num_steps=n)
    torch.testing.assert_close(got, sample(noise, field=field, num_steps=n))
    torch.testing.assert_close(got, torch.tensor(goal))


# --------------------------------------------------------------- grad modes, dtypes, threads


class Layer(torch.nn.Module):
    """A nonlinear field with parameters."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(A, A, dtype=dtype)

    def forward(self, actions: torch.Tensor, tau: float) -> torch.Tensor:
        return torch.tanh(self.linear(actions.to(self.linear.weight.dtype)))


def test_works_inside_no_grad_and_leaves_no_graph_or_parameter_gradient():
    noise, prev, weights = example()
    layer = Layer()
    with torch.no_grad():
        inside = sample(noise, prev, weights, field=layer, dtype=torch.float32)
    outside = sample(noise, prev, weights, field=layer, dtype=torch.float32)
    assert torch.equal(inside, outside)
    assert not outside.requires_grad
    assert all(p.grad is None for p in layer.parameters())


def test_works_in_another_thread():
    noise, prev, weights = example()
    got = []
    thread = threading.Thread(target=lambda: got.append(sample(noise, prev, weights)))
    thread.start()
    thread.join(60)
    assert torch.equal(got[0], sample(noise, prev, weights))


def test_inference_mode_is_refused_for_the_vjp_only():
    noise, prev, weights = example()
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match="torch.no_grad"):
            sample(noise, prev, weights)
        assert torch.equal(sample(noise), sample(noise, prev, 0 * weights))
        assert sample(noise, prev, weights, jacobian="identity").isfinite().all()


def test_a_field_that_hides_its_gradient_is_refused():
    noise, prev, weights = example()
    hidden = torch.no_grad()(LinearField())
    with pytest.raises(RuntimeError, match="without a gradient"):
        sample(noise, prev, weights, field=hidden)
    assert sample(noise, prev, weights, field=hidden, jacobian="identity").isfinite().all()


def test_guidance_is_float32_around_a_bfloat16_model():
    noise, prev, weights = example()
    low, high = Layer(torch.bfloat16), Layer()
    high.load_state_dict(low.state_dict())
    got = sample(noise, prev, weights, field=low, dtype=torch.bfloat16)
    assert got.dtype == torch.float32
    near = sample(noise, prev, weights, field=high, dtype=torch.float32)
    torch.testing.assert_close(got, near, rtol=0.05, atol=0.05)


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"sigma_d": -2.0}, "sigma_d is -2.0"),
        ({"jacobian": "none"}, "vjp, identity"),
        ({"weights": None}, "go together"),
        ({"prev": None}, "go together"),
        ({"weights": np.ones(H + 1)}, r"\[7\]"),
        ({"weights": np.ones((A, H))}, r"\[3, 6\]"),
        ({"weights": np.full(H, 1.5)}, "within 0 and 1"),
        ({"weights": np.full(H, np.nan)}, "within 0 and 1"),
        ({"prev": np.zeros((1, H - 1, A))}, r"\[1, 5, 3\]"),
        ({"prev": np.full((1, H, A), np.nan)}, "NaN or infinite"),
        ({"noise": np.zeros((H, A))}, r"\[B, H, A\]"),
    ],
)
def test_errors_name_the_numbers(change, named):
    noise, prev, weights = example()
    arguments = {"noise": noise, "prev": prev, "weights": weights, **change}
    with pytest.raises(ValueError, match=named):
        sample(arguments.pop("noise"), **arguments)
