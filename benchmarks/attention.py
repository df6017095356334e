"""Attention with relative positions: ours, global and in windows, against the formulas written out.

One attention layer (qkv and proj included) as ViT-B has it, in float32: ViTDet's decomposed
relative positions on 64x64 tokens, forward and backward, and the same in windows of 14x14; then
1,025 tokens with the learned bias of the ADE20K transfer, inference and training.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from mae_bench.models.attention import Attention, attend
from mae_bench.models.position import Grid, RelativePositionBias

from .measure import (
    describe_machine,
    interleaved_seconds,
    peak_memory,
    print_table,
    processor_clock,
    speed_up,
)

DIM, HEADS = 768, 12  # ViT-B


class WrittenOut(nn.Module):
    """Attention that holds all logits, with the parameters of another attention."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, bias: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """x (B, N, dim), bias (heads, N, N) or None -> (B, N, dim)."""
        own = self.attention
        batch, tokens, dim = x.shape
        qkv = own.qkv(x).view(batch, tokens, 3, HEADS, dim // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if bias is not None:
            logits = logits + bias
        if grid is not None:
            assert own.rel_pos_h is not None and own.rel_pos_w is not None
            logits = logits.view(batch, HEADS, *grid, *grid)
            r_q = q.reshape(batch, HEADS, *grid, -1)
            by_row, by_column = (
                table[_differences(side).to(x.device)]
                for table, side in zip((own.rel_pos_h, own.rel_pos_w), grid, strict=True)
            )
            rel_h = torch.einsum("bnhwc,hkc->bnhwk", r_q, by_row)
            rel_w = torch.einsum("bnhwc,wkc->bnhwk", r_q, by_column)
            logits = logits + rel_h[..., :, None] + rel_w[..., None, :]
            logits = logits.view(batch, HEADS, tokens, tokens)
        out = logits.softmax(dim=-1) @ v
        return own.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


def _differences(side: int) -> Tensor:
    """(side, side) indices [query, key] into a table of offsets."""
    return torch.arange(side)[:, None] - torch.arange(side) + side - 1


class WithBias(nn.Module):
    """Attention with the learned bias of BEiT's kind, looked up at every call.

    Args:
        attention: :class:`Attention` or :class:`WrittenOut`.
        bias: its table.
        grid: of the patches, which a class token precedes.
        written_out: look the bias up with BEiT's formula in place of ours.
    """

    def __init__(
        self, attention: nn.Module, bias: RelativePositionBias, grid: Grid, written_out: bool
    ) -> None:
        super().__init__()
        self.attention = attention
        self.bias = bias
        self.grid = grid
        self.index = beit_index(grid) if written_out else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + H * W, dim) -> (B, 1 + H * W, dim)."""
        if self.index is None:
            return self.attention(x, self.bias(self.grid))
        rows = self.bias.relative_position_bias_table[self.index.flatten()]
        return self.attention(x, rows.unflatten(0, self.index.shape).permute(2, 0, 1).contiguous())


def beit_index(grid: Grid) -> Tensor:
    """Row of BEiT's table for each pair of tokens, [query, key], a class token before the patches.

    Source: BEiT (Bao et al. 2022); rows as in ``relative_position_values``.
    """
    y, x = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    dy, dx = (axis[:, None] - axis + side - 1 for axis, side in zip((y, x), grid, strict=True))
    index = nn.functional.pad(dy * (2 * grid[1] - 1) + dx, (1, 0, 1, 0))
    patches = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    index[0], index[:, 0], index[0, 0] = patches, patches + 1, patches + 2
    return index.to("cuda" if torch.cuda.is_available() else "cpu")


def _noise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return module.to(device)


def build_global(variant: str, side: int, window: int) -> tuple[nn.Module, Callable, Tensor]:
    """Attention over side x side tokens: ``"ours"``, ``"written out"`` or ``"windowed"``.

    Returns:
        the module, the call of it, and the input, which takes a gradient.
    """
    grid = (side, side)
    own_grid = (window, window) if variant == "windowed" else grid
    attention = Attention(DIM, HEADS, rel_pos_grid=own_grid)
    module = _noise(WrittenOut(attention) if variant == "written out" else attention)
    cut = dict(window=window) if variant == "windowed" else {}
    return module, partial(module, grid=grid, **cut), _input(1, side * side)


def build_biased(variant: str, side: int, batch: int) -> tuple[nn.Module, Callable, Tensor]:
    """Attention over a class token and side x side patches: ``"ours"`` or ``"written out"``."""
    grid = (side, side)
    attention = Attention(DIM, HEADS)
    written_out = variant == "written out"
    inner = WrittenOut(attention) if written_out else attention
    bias = RelativePositionBias(grid, HEADS, class_token=True)
    module = _noise(WithBias(inner, bias, grid, written_out))
    return module, module, _input(batch, 1 + side * side)


def build_alone(variant: str, side: int, batch: int) -> tuple[nn.Module, Callable, Tensor]:
    """What lies between qkv and proj: attention given queries, keys, values and the bias."""
    tokens = 1 + side * side
    generator = torch.Generator().manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    qkv = torch.randn(3, batch, HEADS, tokens, DIM // HEADS, generator=generator).to(device)
    bias = torch.randn(HEADS, tokens, tokens, generator=generator).to(device)

    def call(qkv: Tensor) -> Tensor:
        q, k, v = qkv
        if variant == "written out":
            return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias).softmax(dim=-1) @ v
        return attend(q, k, v, bias)

    return nn.Identity(), call, qkv


def _input(batch: int, tokens: int) -> Tensor:
    x = torch.randn(batch, tokens, DIM, generator=torch.Generator().manual_seed(1))
    return x.to("cuda" if torch.cuda.is_available() else "cpu").requires_grad_()


def training_step(build: Callable, *args: object) -> Callable[[], dict[str, Tensor]]:
    """Forward and backward; the output is weighted, so that no gradient cancels.

    Returns:
        a call that gives the output and the gradients of input and parameters, by name.
    """
    module, call, x = build(*args)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(x.device)

    def step() -> dict[str, Tensor]:
        module.zero_grad()
        x.grad = None
        out = call(x)
        out.backward(weights)
        gradients = {name: p.grad for name, p in module.named_parameters()}
        renamed = {name.replace("attention.", ""): grad for name, grad in gradients.items()}
        return {"output": out.detach(), "input": x.grad, **renamed}

    return step


def inference_step(build: Callable, *args: object) -> Callable[[], object]:
    """Forward alone, without gradients."""
    _, call, x = build(*args)
    return torch.inference_mode()(lambda: call(x))


def largest_error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """What agrees least of the outputs and gradients of two training steps, and how well."""
    errors = {
        float((ours[name] - theirs[name]).norm() / theirs[name].norm()): name for name in theirs
    }
    return f"{max(errors):.1e} ({errors[max(errors)]})"


def compare(
    title: str,
    prepare: Callable[..., Callable[[], object]],
    variants: dict[str, tuple],
    rounds: int,
) -> None:
    """Time variants in turn, measure the memory of each alone, and print both beside the last.

    Args:
        title: what is compared.
        prepare: :func:`training_step` or :func:`inference_step`.
        variants: arguments of ``prepare`` by name; the last one is what the others are held
            against.
        rounds: measurements of each.
    """
    peaks = {name: peak_memory(prepare, *args) for name, args in variants.items()}
    seconds = interleaved_seconds(
        {name: prepare(*args) for name, args in variants.items()}, rounds, clock=processor_clock()
    )
    reference = list(variants)[-1]
    rows = [
        (
            name,
            f"{1000 * statistics.median(seconds[name]):.0f}",
            f"{speed_up(seconds, name, reference):.2f}",
            f"{peaks[name]:.0f}",
            f"{peaks[name] / peaks[reference]:.2f}",
        )
        for name in variants
    ]
    print(f"\n{title}\n")
    print_table(["variant", "ms", "speed-up", "peak MiB", "memory ratio"], rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``tools/benchmark.py attention``."""
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each variant")
    parser.add_argument("--side", type=int, default=64, help="tokens a side of the global map")
    parser.add_argument("--window", type=int, default=14, help="tokens a side of a window")
    parser.add_argument("--bias-side", type=int, default=32, help="patches a side with the bias")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    processor_clock()
    print(f"{describe_machine()}\n{args.rounds} rounds, median [least-greatest]")
    if not torch.cuda.is_available():
        print("Times are processor time of one thread.")
    size = (args.side, args.window)
    compare(
        f"Decomposed relative positions, {args.side}x{args.side} tokens, forward and backward",
        training_step,
        {name: (build_global, name, *size) for name in ("windowed", "ours", "written out")},
        args.rounds,
    )
    steps = [training_step(build_global, name, *size) for name in ("ours", "written out")]
    print(f"\nours against written out, largest relative error: {largest_error(*_calls(steps))}")
    size = (args.bias_side, 2)
    variants: dict[str, tuple] = {
        name: (build_biased, name, *size) for name in ("ours", "written out")
    }
    tokens = f"{1 + args.bias_side**2} tokens with a learned bias, batch {size[1]}"
    compare(f"{tokens}, inference", inference_step, variants, args.rounds)
    alone = {name: (build_alone, *rest) for name, (_, *rest) in variants.items()}
    compare(f"{tokens}, inference without qkv, bias and proj", inference_step, alone, args.rounds)
    compare(f"{tokens}, forward and backward", training_step, variants, args.rounds)
    steps = [training_step(build_biased, name, *size) for name in ("ours", "written out")]
    print(f"\nours against written out, largest relative error: {largest_error(*_calls(steps))}")


def _calls(steps: list[Callable[[], dict[str, Tensor]]]) -> list[dict[str, Tensor]]:
    return [step() for step in steps]
