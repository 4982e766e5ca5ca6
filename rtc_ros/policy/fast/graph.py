"""A function of tensors as one CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

TensorFunction = Callable[..., Tensor]
_WARM_UPS = 3  # PyTorch's own number: libraries choose and load kernels in the first calls


def captured(function: TensorFunction, inputs: tuple[Tensor, ...]) -> TensorFunction:
    """Return ``function`` as a CUDA graph, or itself, with a warning, where that can't be.

    Args:
        function: launches the same operations on tensors of the same shapes each time, never
            waits for the device, and keeps alive what else it reads. The tensors it writes, and
            the others that it reads, must stay where they are.
        inputs: CUDA tensors like those of the later calls.
    """
    try:
        return CapturedFunction(function, inputs)
    except RuntimeError as error:
        torch.cuda.synchronize(inputs[0].device)
        logger.warning("no CUDA graph, operations are launched one by one: %s", error)
        return function


class CapturedFunction:
    """The graph, and the tensors that its inputs are copied to and its output is copied from."""

    def __init__(self, function: TensorFunction, inputs: tuple[Tensor, ...]) -> None:
        """Run the function a few times, then capture it."""
        self._function, self._inputs = function, tuple(each.clone() for each in inputs)
        device = inputs[0].device
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                function(*self._inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads (cameras, executors) may use CUDA meanwhile: only ours must not misstep.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Copy the inputs in, launch the graph, return a copy of its output."""
        for to, each in zip(self._inputs, inputs, strict=True):
            to.copy_(each)
        self._graph.replay()
        return self._output.clone()
