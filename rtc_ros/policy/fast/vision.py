"""SmolVLA's cameras to tokens: the SigLIP encoder and the connector, each image once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rtc_ros.policy.fast.linear import linear
from rtc_ros.policy.fast.parts import Parts, UnsupportedModelError


class Vision:
    """Images to tokens of the VLM's width."""

    def __init__(self, parts: Parts) -> None:
        """Take over the vision model and the connector of a policy.

        Raises:
            UnsupportedModelError: the encoder computes something else.
        """
        self._vision, self._connector = parts.vision, parts.connector
        try:
            self._layers = [VisionLayer(layer) for layer in parts.vision.encoder.layers]
        except AttributeError as error:
            raise UnsupportedModelError(
                f"the vision encoder is laid out differently: {error}"
            ) from error
        self._positions: dict[tuple[int, int], Tensor] = {}
        self.together = parts.vision.embeddings.patch_embedding.weight.is_cuda
        """Whether images of one size go through the encoder together; a CPU is no quicker then."""

    def encode(self, images: list[Tensor]) -> list[Tensor]:
        """Return tokens [T, width] of each image [1, 3, h, w] within −1 and 1."""
        if self.together and len({image.shape for image in images}) == 1:
            return list(self._encode(torch.cat(images)).unbind())
        return [self._encode(image)[0] for image in images]

    def _encode(self, images: Tensor) -> Tensor:
        embeddings = self._vision.embeddings
        patches = embeddings.patch_embedding(images.to(embeddings.patch_embedding.weight.dtype))
        patches = patches.flatten(2).transpose(1, 2)
        cameras, count, width = patches.shape
        x = (patches + self._position(images)).reshape(cameras * count, width)
        for layer in self._layers:
            x = layer(x, cameras)
        x = self._vision.post_layernorm(x).view(cameras, count, width)
        tokens = self._connector(x)
        return tokens * tokens.shape[-1] ** 0.5

    def _position(self, images: Tensor) -> Tensor:
        """Return the embedding of each patch's position, as the model itself looks it up."""
        size = (int(images.shape[2]), int(images.shape[3]))
        if size not in self._positions:
            embeddings = self._vision.embeddings
            patch = int(embeddings.patch_size)
            seen: list[Tensor] = []
            hook = embeddings.position_embedding.register_forward_hook(
                lambda module, args, output: seen.append(output)
            )
            whole = torch.ones(
                1, size[0] // patch, size[1] // patch, dtype=torch.bool, device=images.device
            )
            blank = torch.zeros_like(images[:1], dtype=embeddings.patch_embedding.weight.dtype)
            try:
                embeddings(pixel_values=blank, patch_attention_mask=whole)
            finally:
                hook.remove()
            self._positions[size] = seen[0]
        return self._positions[size]


class VisionLayer:
    """One encoder layer: every patch attends to every patch of its image, so without a mask."""

    def __init__(self, layer: Any) -> None:
        """Take over a transformers layer of SmolVLM's vision encoder."""
        attention, mlp = layer.self_attn, layer.mlp
        if type(mlp.activation_fn).__name__ not in ("PytorchGELUTanh", "GELUTanh"):
            raise UnsupportedModelError(
                f"the vision encoder's activation is {type(mlp.activation_fn).__name__}"
            )
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            if type(getattr(attention, name)) is not nn.Linear:
                raise UnsupportedModelError(f"the vision encoder's {name} isn't a plain Linear")
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        self._heads = int(attention.num_heads)
        self._norm1, self._norm2 = layer.layer_norm1, layer.layer_norm2
        self._qkv = linear(
            torch.cat([p.weight for p in inputs]), torch.cat([p.bias for p in inputs])
        )
        self._out = linear(attention.out_proj.weight, attention.out_proj.bias)
        self._up = linear(mlp.fc1.weight, mlp.fc1.bias, activation="gelu_tanh")
        self._down = linear(mlp.fc2.weight, mlp.fc2.bias)

    def __call__(self, x: Tensor, cameras: int) -> Tensor:
        """Return the layer's output for the patches [cameras · patches, D]."""
        rows, width = x.shape
        qkv = self._qkv(self._norm1(x)).view(cameras, rows // cameras, 3, self._heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = self._out.plus(seen.transpose(1, 2).reshape(rows, width), x)
        return self._down.plus(self._up(self._norm2(x)), x)
