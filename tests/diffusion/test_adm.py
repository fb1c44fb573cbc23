from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import small_package
from wsseg.cli import main
from wsseg.diffusion.adm import ADM, decoder_channels, load_adm
from wsseg.errors import NotFoundError, WssegError
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.registry import adopt_parents, create_method, load_method, stored_weights
from wsseg.models.package import Parent, read_package
from wsseg.training.planning.backbone import import_adm

WIDTH = 32  # one head where the published width has eight, and two in the deepest levels
Weights = dict[str, Tensor]


class Residual(nn.Module):
    """ADM's residual block: the time embedding scales and shifts, and the sampling comes before the convolution."""

    def __init__(self, before: int, after: int, sample: str = "") -> None:
        super().__init__()
        self.sample = sample
        self.in_layers = nn.Sequential(nn.GroupNorm(32, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * WIDTH, 2 * after))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, after), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(after, after, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.in_layers[2](self._resample(self.in_layers[:2](x)))
        scale, shift = self.emb_layers(time)[:, :, None, None].chunk(2, dim=1)
        hidden = self.out_layers[1:](self.out_layers[0](hidden) * (1 + scale) + shift)
        return self.skip_connection(self._resample(x)) + hidden

    def _resample(self, x: Tensor) -> Tensor:
        if self.sample == "down":
            return functional.avg_pool2d(x, 2)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) if self.sample == "up" else x


class Attend(nn.Module):
    """ADM's self-attention in its legacy order: heads first, then query, key and value."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        flat = x.flatten(2)
        found = []
        for head in self.qkv(self.norm(flat)).split(3 * 64, dim=1):
            query, key, value = head.split(64, dim=1)
            weight = torch.softmax(query.mT @ key / math.sqrt(64), dim=-1)
            found.append(value @ weight.mT)
        return x + self.proj_out(torch.cat(found, dim=1)).view_as(x)


class Convolve(nn.Conv2d):
    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return super().forward(x)


class Reference(nn.Module):
    """ADM as published, its modules named as in its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.SiLU(), nn.Linear(4 * WIDTH, 4 * WIDTH))
        self.input_blocks = nn.ModuleList([nn.ModuleList([Convolve(3, WIDTH, 3, padding=1)])])
        widths = [WIDTH * times for times in (1, 1, 2, 2, 4, 4)]
        skipped, now = [WIDTH], WIDTH
        for level, width in enumerate(widths):
            for _ in range(2):
                self.input_blocks.append(_block(Residual(now, width), level))
                now = width
                skipped.append(now)
            if level < 5:
                self.input_blocks.append(nn.ModuleList([Residual(now, now, "down")]))
                skipped.append(now)
        self.middle_block = nn.ModuleList([Residual(now, now), Attend(now), Residual(now, now)])
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for index in range(3):
                block = _block(Residual(now + skipped.pop(), width), level)
                now = width
                if level and index == 2:
                    block.append(Residual(now, now, "up"))
                self.output_blocks.append(block)
        self.out = nn.Sequential(nn.GroupNorm(32, now), nn.SiLU(), nn.Conv2d(now, 6, 3, padding=1))

    def forward(self, x: Tensor, steps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """All six channels, and the outputs of the decoder's blocks."""
        angles = steps[:, None] * torch.exp(-math.log(10000) * torch.arange(WIDTH // 2) / (WIDTH // 2))
        time = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        skipped: list[Tensor] = []
        for block in self.input_blocks:
            x = _run(block, x, time)
            skipped.append(x)
        x = _run(self.middle_block, x, time)
        taken = []
        for block in self.output_blocks:
            x = _run(block, torch.cat([x, skipped.pop()], dim=1), time)
            taken.append(x)
        return self.out(x), taken


def _block(residual: Residual, level: int) -> nn.ModuleList:
    attention = [Attend(residual.out_layers[0].num_channels)] if level >= 3 else []
    return nn.ModuleList([residual, *attention])


def _run(block: nn.Module, x: Tensor, time: Tensor) -> Tensor:
    for module in block.children():
        x = module(x, time)
    return x


@pytest.fixture(scope="module")
def reference() -> Reference:
    """With random weights everywhere, also where training starts from 0 or 1."""
    torch.manual_seed(0)
    network = Reference().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) if parameter.ndim == 1 else 0)
    return network


@pytest.fixture
def saved(reference: Reference, tmp_path: Path) -> Callable[[Weights], Path]:
    """Writes the reference's checkpoint with some entries changed."""

    def save(changed: Weights) -> Path:
        torch.save({**reference.state_dict(), **changed}, tmp_path / "adm.pt")
        return tmp_path / "adm.pt"

    return save


def _taken(network: ADM, noisy: Tensor, steps: Tensor) -> tuple[Tensor, list[Tensor]]:
    taken: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda module, inputs, output: taken.append(output))
        for block in network.decoder_blocks()
    ]
    with torch.no_grad():
        found = network(noisy, steps)
    for hook in hooks:
        hook.remove()
    return found, taken


def test_checkpoint_of_the_published_layout_gives_its_noise_and_features(
    reference: Reference, saved: Callable[[Weights], Path]
) -> None:
    network = load_adm(saved({}))
    noisy, steps = torch.randn(2, 3, 64, 64), torch.tensor([50, 250])
    with torch.no_grad():
        expected, blocks = reference(noisy, steps)
    noise, taken = _taken(network, noisy, steps)
    torch.testing.assert_close(noise, expected[:, :3], atol=1e-5, rtol=1e-4)
    assert len(taken) == len(blocks) == 18
    for found, block in zip(taken, blocks, strict=True):
        torch.testing.assert_close(found, block, atol=1e-5, rtol=1e-4)
    assert [found.shape[1] for found in taken] == decoder_channels(WIDTH)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        network = ADM()
        _, taken = _taken(network, torch.empty(1, 3, 256, 256), torch.zeros(1))
    assert sum(parameter.numel() for parameter in network.parameters()) == 552_814_086
    assert [found.shape[1] for found in taken] == decoder_channels()
    sizes = {block: (taken[block].shape[1], taken[block].shape[2]) for block in (4, 6, 8, 12, 16)}
    assert sizes == {4: (1024, 16), 6: (512, 32), 8: (512, 64), 12: (256, 128), 16: (256, 256)}


def test_half_precision_is_read_as_float32(reference: Reference, saved: Callable[[Weights], Path]) -> None:
    weights = load_adm(saved({key: value.half() for key, value in reference.state_dict().items()})).state_dict()
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no such file, it should be 256x256_diffusion_uncond\.pt"):
        load_adm(tmp_path / "adm.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>sign in</html>", pickle.dumps({"a": 1})])
def test_file_of_another_kind(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "adm.pt").write_bytes(content)
    with pytest.raises(WssegError, match="not a checkpoint of PyTorch"):
        load_adm(tmp_path / "adm.pt")


def test_download_that_was_cut_short(saved: Callable[[Weights], Path]) -> None:
    path = saved({})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WssegError, match="not the whole of one; download it again"):
        load_adm(path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"out.2.bias": torch.zeros(6)}}, 3])
def test_checkpoint_of_another_build(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "adm.pt")
    with pytest.raises(WssegError, match="which are tensors by name"):
        load_adm(tmp_path / "adm.pt")


class _Touch:
    """Pickled, it is a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], Sequence[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("modern", [True, False])
def test_code_in_a_checkpoint_is_never_run(modern: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "adm.pt", tmp_path / "trace"
    torch.save({"out.2.bias": _Touch(trace)}, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(WssegError, match="running code out of the file" if modern else "not a checkpoint"):
        load_adm(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the trap works
    assert trace.exists()


def test_wrong_layouts_name_the_entry(reference: Reference, saved: Callable[[Weights], Path], tmp_path: Path) -> None:
    weights = reference.state_dict()
    with pytest.raises(WssegError, match=r"label_emb\.weight is unknown"):  # that of the model of 1000 classes
        load_adm(saved({"label_emb.weight": torch.zeros(1000, 4 * WIDTH)}))
    message = "output_blocks.0.1.qkv.weight has the shape (128, 128, 1), the network needs (384, 128, 1)"
    with pytest.raises(WssegError, match=re.escape(message)):
        load_adm(saved({"output_blocks.0.1.qkv.weight": torch.zeros(128, 128, 1)}))
    with pytest.raises(WssegError, match=r"out\.0\.weight has 48 channels, a multiple of 32 up to 1024 is needed"):
        load_adm(saved({"out.0.weight": torch.zeros(48)}))
    del weights["middle_block.1.proj_out.bias"]
    torch.save(weights, tmp_path / "lacking.pt")
    with pytest.raises(WssegError, match=r"middle_block\.1\.proj_out\.bias is missing"):
        load_adm(tmp_path / "lacking.pt")


def test_imported_it_is_the_backbone_of_textdiff(
    reference: Reference,
    saved: Callable[[Weights], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the command, into a package that another one names as a parent; only that network's weights are taken."""
    out = tmp_path / "adm"
    monkeypatch.setattr("sys.argv", ["wsseg", "import", "adm", str(saved({})), str(out)])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out == f"{out}\n"
    package = small_package(tmp_path / "textdiff", "textdiff", ("nucleus",))
    recipe = package.recipe.model_copy(
        update={
            "settings": {**package.recipe.settings, "backbone": "adm", "adm_width": WIDTH, "crop": 64},
            "parents": {"diffusion": Parent(package=str(out), part="diffusion")},
        }
    )
    package = replace(package, metadata=package.metadata.model_copy(update={"wsseg": recipe}))
    method = create_method(package)
    origin = adopt_parents(method, package, method.frozen)["diffusion"]
    assert (origin.package, origin.version, origin.part) == ("adm", "1.0.0", "diffusion")
    noisy, steps = torch.randn(1, 3, 64, 64), torch.tensor([50])
    with torch.no_grad():
        expected, _ = reference(noisy, steps)
        found = method.get_submodule("diffusion")(noisy, steps)
    torch.testing.assert_close(found, expected[:, :3], atol=5e-2, rtol=5e-2)  # half precision
    assert {name.split(".")[0] for name in stored_weights(method)} == {"diffusion", "text", "head"}
    with pytest.raises(WssegError, match="segments nothing"):
        load_method(read_package(out)).predict(noisy, Prompt(), Pass(1))
    with pytest.raises(WssegError, match="trained elsewhere"):
        create_method(read_package(out)).stages()
    with pytest.raises(WssegError, match="exists already"):
        import_adm(saved({}), out)
