"""The kernels of ``elementwise.Fused``. One program is a row, or a part of one."""

# mypy: ignore-errors
# ruff: noqa: D103 - ``Elementwise`` says what they compute
import triton
import triton.language as tl


@triton.jit
def norm(x_at, floor_at, y_at, narrow_at, rho_at, x_stride, D: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0)
    column = tl.arange(0, B)
    there = column < D
    x = tl.load(x_at + row * x_stride + column, mask=there, other=0.0).to(tl.float32)
    floor = tl.load(floor_at).to(tl.float32)
    rho = tl.sqrt(tl.sum(x * x, axis=0) + floor * floor)
    y = x / rho
    tl.store(y_at + row * D + column, y, mask=there)
    tl.store(narrow_at + row * D + column, y.to(narrow_at.dtype.element_ty), mask=there)
    tl.store(rho_at + row, rho)


@triton.jit
def norm_back(
    dy_at,
    y_at,
    rho_at,
    residual_at,
    out_at,
    dy_stride,
    residual_stride,
    ZERO: tl.constexpr,
    D: tl.constexpr,
    B: tl.constexpr,
):
    row = tl.program_id(0)
    column = tl.arange(0, B)
    there = column < D
    dy = tl.load(dy_at + row * dy_stride + column, mask=there, other=0.0).to(tl.float32)
    y = tl.load(y_at + row * D + column, mask=there, other=0.0)
    rho = tl.load(rho_at + row)
    out = (dy - y * tl.sum(y * dy, axis=0)) / rho
    if not ZERO:
        at = residual_at + row * residual_stride + column
        out += tl.load(at, mask=there, other=0.0).to(tl.float32)
    tl.store(out_at + row * D + column, out, mask=there)


@triton.jit
def gate(values_at, silu_at, out_at, values_stride, F: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0)
    column = tl.program_id(1) * B + tl.arange(0, B)
    there = column < F
    at = values_at + row * values_stride + column
    g = tl.load(at, mask=there, other=0.0).to(tl.float32)
    up = tl.load(at + F, mask=there, other=0.0).to(tl.float32)
    silu = g / (1.0 + tl.exp(-g))
    to = row * F + column
    tl.store(silu_at + to, silu.to(silu_at.dtype.element_ty), mask=there)
    tl.store(out_at + to, (silu * up).to(out_at.dtype.element_ty), mask=there)


@triton.jit
def gate_back(
    dh_at,
    values_at,
    silu_at,
    d_values_at,
    dh_stride,
    values_stride,
    d_values_stride,
    F: tl.constexpr,
    B: tl.constexpr,
):
    row = tl.program_id(0)
    column = tl.program_id(1) * B + tl.arange(0, B)
    there = column < F
    dh = tl.load(dh_at + row * dh_stride + column, mask=there, other=0.0).to(tl.float32)
    at = values_at + row * values_stride + column
    g = tl.load(at, mask=there, other=0.0).to(tl.float32)
    up = tl.load(at + F, mask=there, other=0.0).to(tl.float32)
    silu = tl.load(silu_at + row * F + column, mask=there, other=0.0).to(tl.float32)
    share = 1.0 / (1.0 + tl.exp(-g))
    d_gate = dh * up * share * (1.0 + g * (1.0 - share))
    to = d_values_at + row * d_values_stride + column
    tl.store(to, d_gate.to(d_values_at.dtype.element_ty), mask=there)
    tl.store(to + F, (dh * silu).to(d_values_at.dtype.element_ty), mask=there)
