"""The published diffusion model of natural images (ADM, Dhariwal & Nichol 2021) as a frozen denoiser."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from wsseg.errors import NotFoundError, WssegError

MULTIPLIERS = (1, 1, 2, 2, 4, 4)
"""Channels of each level, finest first, in widths; the last three have attention."""

LAYERS = 2
"""Residual blocks per level of the encoder; the decoder has one more."""

HEAD = 64
"""Channels of an attention head."""

WIDTH = 256
"""Channels of the finest level, as published."""

TAPPED = (6, 8, 12, 16)
"""Decoder blocks whose outputs serve as features (TextDiff)."""

_TIME = {"time_embed.0": "linear_1", "time_embed.2": "linear_2"}
_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",  # only where the channels change
}
_ATTENTION = {"norm": ("group_norm",), "qkv": ("to_q", "to_k", "to_v"), "proj_out": ("to_out.0",)}


class ADM(nn.Module):
    """The unconditional ADM for 256 x 256 pixels, on diffusers.

    Its 1000 steps have linear betas from 1e-4 to 0.02.

    Args:
        width: channels of the finest level, a multiple of 32.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.width = width
        self.unet = UNet2DModel(
            in_channels=3,
            out_channels=6,
            block_out_channels=tuple(width * times for times in MULTIPLIERS),
            layers_per_block=LAYERS,
            down_block_types=("ResnetDownsampleBlock2D",) * 3 + ("AttnDownBlock2D",) * 3,
            up_block_types=("AttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",) * 3,
            downsample_type="resnet",
            upsample_type="resnet",
            resnet_time_scale_shift="scale_shift",
            attention_head_dim=HEAD,
            attn_norm_num_groups=32,
        )

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """The noise in ``noisy``; the other three channels, the variance, are left out.

        Args:
            noisy: (batch, 3, rows, columns), RGB in [-1, 1] before the noise, sides divisible by 32.
            steps: (batch,) in 0..999.

        Returns:
            eps (batch, 3, rows, columns).
        """
        return cast(Tensor, self.unet(noisy, steps).sample)[:, :3]

    def decoder_blocks(self) -> list[nn.Module]:
        """The 18 blocks of the decoder, coarsest first, as ADM numbers them; hooks on them see their outputs.

        The third block of a level ends with the upsampling to the next.
        """
        return [block[-1] for block in self._decoder()]

    def decoder_levels(self) -> list[tuple[nn.Module, int]]:
        """The blocks that are tapped for features, coarsest first, with their channels."""
        blocks, widths = self.decoder_blocks(), decoder_channels(self.width)
        return [(blocks[block], widths[block]) for block in TAPPED]

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Every module that holds weights, by its name in ADM's checkpoints."""
        for block, modules in enumerate(self._encoder()):
            yield from _named(f"input_blocks.{block}", modules)
        middle = self.unet.mid_block
        yield from _named("middle_block", [middle.resnets[0], middle.attentions[0], middle.resnets[1]])
        for block, modules in enumerate(self._decoder()):
            yield from _named(f"output_blocks.{block}", modules)
        yield from ((adm, self.unet.time_embedding.get_submodule(ours)) for adm, ours in _TIME.items())
        yield "out.0", self.unet.conv_norm_out
        yield "out.2", self.unet.conv_out

    def _encoder(self) -> Iterator[list[nn.Module]]:
        yield [self.unet.conv_in]
        for level in self.unet.down_blocks:
            yield from _layers(level)
            if level.downsamplers:
                yield [level.downsamplers[0]]

    def _decoder(self) -> Iterator[list[nn.Module]]:
        for level in self.unet.up_blocks:
            *layers, last = _layers(level)
            yield from layers
            yield [*last, *(level.upsamplers or [])]


def decoder_channels(width: int = WIDTH) -> list[int]:
    """Channels of what each of the 18 decoder blocks puts out."""
    return [width * times for times in reversed(MULTIPLIERS) for _ in range(LAYERS + 1)]


def load_adm(path: Path) -> ADM:
    """Read ``256x256_diffusion_uncond.pt``, or a checkpoint of the same layout and another width; frozen.

    Nothing in the file is executed.

    Raises:
        WssegError: there is no such file, it is not a checkpoint, it holds
            something else than tensors, or its layout is another one.
    """
    stored = _read(path)
    width = len(stored["out.0.weight"]) if "out.0.weight" in stored else WIDTH
    if width not in range(32, 1025, 32):
        raise WssegError(f"{path}: out.0.weight has {width} channels, a multiple of 32 up to 1024 is needed")
    with torch.device("meta"):  # random weights would take longer than those of the file
        network = ADM(width)
    entries = {entry.key: entry for entry in _entries(network.to_empty(device="cpu"))}
    _check(path, stored, entries)
    with torch.no_grad():
        for key, entry in entries.items():
            entry.fill(stored[key])
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class _Entry:
    """One tensor of a checkpoint and the parameters it is for: one, or query, key and value."""

    key: str
    shape: tuple[int, ...]
    parameters: list[nn.Parameter]

    def fill(self, stored: Tensor) -> None:
        # Of an attention, a head's query, key and value lie side by side, then the next head's.
        pieces = stored.unflatten(0, (-1, 3, HEAD)).unbind(1) if len(self.parameters) == 3 else (stored,)
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.copy_(piece.reshape(parameter.shape))


def _entries(network: ADM) -> Iterator[_Entry]:
    for name, module in network.parts():
        if isinstance(module, Attention):
            for theirs, ours in _ATTENTION.items():
                yield from _pair(f"{name}.{theirs}", [module.get_submodule(part) for part in ours])
        elif isinstance(module, ResnetBlock2D):
            for theirs, part in _RESIDUAL.items():
                if (found := getattr(module, part)) is not None:
                    yield from _pair(f"{name}.{theirs}", [found])
        else:
            yield from _pair(name, [module])


def _pair(name: str, modules: list[nn.Module]) -> Iterator[_Entry]:
    for kind in ("weight", "bias"):
        parameters = [cast(nn.Parameter, getattr(module, kind)) for module in modules]
        first, *rest = parameters[0].shape
        if kind == "weight" and name.endswith(("qkv", "proj_out")):
            rest.append(1)  # convolutions of kernel 1 there, linear layers here
        yield _Entry(f"{name}.{kind}", (first * len(modules), *rest), parameters)


def _named(prefix: str, modules: list[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    for index, module in enumerate(modules):
        yield f"{prefix}.{index}", module


def _layers(level: Any) -> list[list[nn.Module]]:
    """The residual blocks of a level of diffusers' U-Net, each with its attention where there is one."""
    if hasattr(level, "attentions"):
        return [list(pair) for pair in zip(level.resnets, level.attentions, strict=True)]
    return [[resnet] for resnet in level.resnets]


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise NotFoundError(
            f"{path}: no such file, it should be 256x256_diffusion_uncond.pt of OpenAI's guided-diffusion"
        )
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise WssegError(
            f"{path}: holds something else than tensors, which could only be read by running code out of the file"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WssegError(f"{path}: not a checkpoint of PyTorch, or not the whole of one; download it again") from error
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise WssegError(f"{path}: not a checkpoint of the network's weights, which are tensors by name")
    return stored


def _check(path: Path, stored: dict[str, Tensor], entries: dict[str, _Entry]) -> None:
    for key, entry in entries.items():
        if key not in stored:
            raise WssegError(f"{path}: {key} is missing, so it is not the unconditional 256 x 256 ADM")
        if (found := tuple(stored[key].shape)) != entry.shape:
            raise WssegError(f"{path}: {key} has the shape {found}, the network needs {entry.shape}")
    if unknown := sorted(map(str, stored.keys() - entries.keys())):
        raise WssegError(f"{path}: {unknown[0]} is unknown, so it is not the unconditional 256 x 256 ADM")
