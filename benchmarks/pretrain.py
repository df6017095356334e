"""A step of MAE pre-training against mmpretrain's, Hugging Face's and a plain formulation.

tools/benchmark.py pretrain                      # ViT-B, both precisions
tools/benchmark.py pretrain --size tiny          # 192 wide, 12 deep, batch 32
tools/benchmark.py pretrain --compare mask-tokens    # Table 2
tools/benchmark.py pretrain --compare cost           # against masking ratio and batch

A step is forward, backward and AdamW. All variants have the same weights, images and masks, their
losses are compared, and they are timed in turn in one process, on one CPU thread by the time that
the processor worked on them, so that other programs count little. Peers come with the AdamW they
ship: mmpretrain the loop of PyTorch's default on a CPU, Hugging Face's trainer the fused one; the
plain formulation has the loop.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.optim import AdamW

from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.models.mae import MAE
from mae_bench.models.vit import SIZES
from mae_bench.registry import MODELS

from .measure import (
    DTYPES,
    OUT_OF_MEMORY,
    Spread,
    count_gflops,
    describe_machine,
    interleaved_seconds,
    loss_tolerance,
    matrix_product_gflops,
    peak_memories,
    peak_memory,
    print_table,
    speed_up,
    utilisation,
)
from .plain_mae import PlainMAE

IMAGE_SIZE = 224
PATCH_SIZES = {"huge": 14}
# 192 wide, 12 deep: ViT-Ti of DeiT, with a decoder in proportion.
TINY_DECODER = dict(embed_dim=128, depth=4, num_heads=4)
# In float32 sums differ by their order only; bfloat16 keeps 8 bits.
LOSS_TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}
OURS, PLAIN, COMPILED = "ours", "plain", "ours, compiled"

Step = Callable[[], float]


def build_ours(size: str, depth: int | None = None, **options: Any) -> MAE:
    """Our model, initialised from seed 0; ``depth`` is that of the decoder."""
    torch.manual_seed(0)
    decoder: dict[str, int] = dict(TINY_DECODER) if size == "tiny" else {}
    if depth is not None:
        decoder["depth"] = depth
    return MAE(
        backbone=dict(
            type="mae_bench.VisionTransformer",
            arch=size,
            img_size=IMAGE_SIZE,
            patch_size=PATCH_SIZES.get(size, 16),
            output="tokens",
        ),
        decoder=decoder,
        **options,
    )


def foreign_tensors(model: MAE, name: str) -> dict[str, Tensor]:
    """Our weights under the names of a foreign format."""
    tensors = {key.removeprefix("backbone."): value for key, value in model.state_dict().items()}
    return dict(ADAPTERS[name].from_ours(tensors, model.backbone.num_heads).tensors)


def build_mmpretrain(model: MAE) -> nn.Module:
    """mmpretrain's MAE with our weights."""
    import mmpretrain.models  # noqa: F401

    init_default_scope("mmpretrain")
    vit, decoder = model.backbone, cast(Any, model.decoder)
    arch = dict(
        embed_dims=vit.embed_dim,
        num_layers=vit.num_layers,
        num_heads=vit.num_heads,
        feedforward_channels=4 * vit.embed_dim,
    )
    peer = MODELS.build(
        dict(
            type="mmpretrain.MAE",
            backbone=dict(
                type="MAEViT",
                arch=arch,
                img_size=IMAGE_SIZE,
                patch_size=vit.patch_size,
                mask_ratio=model.mask_ratio,
            ),
            neck=dict(
                type="MAEPretrainDecoder",
                num_patches=vit.grid[0] * vit.grid[1],
                patch_size=vit.patch_size,
                embed_dim=vit.embed_dim,
                decoder_embed_dim=decoder.embed.out_features,
                decoder_depth=len(decoder.blocks),
                decoder_num_heads=decoder.blocks[0].attn.num_heads,
            ),
            head=dict(
                type="MAEPretrainHead",
                norm_pix=True,
                patch_size=vit.patch_size,
                loss=dict(type="PixelReconstructionLoss", criterion="L2"),
            ),
        )
    )
    peer.load_state_dict(foreign_tensors(model, "mmpretrain_mae"))
    return peer


def build_hugging_face(model: MAE) -> nn.Module:
    """Hugging Face's ViTMAE with our weights."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    vit, decoder = model.backbone, cast(Any, model.decoder)
    width = decoder.embed.out_features
    config = ViTMAEConfig(
        image_size=IMAGE_SIZE,
        patch_size=vit.patch_size,
        hidden_size=vit.embed_dim,
        num_hidden_layers=vit.num_layers,
        num_attention_heads=vit.num_heads,
        intermediate_size=4 * vit.embed_dim,
        decoder_hidden_size=width,
        decoder_num_hidden_layers=len(decoder.blocks),
        decoder_num_attention_heads=decoder.blocks[0].attn.num_heads,
        decoder_intermediate_size=4 * width,
        layer_norm_eps=1e-6,
        mask_ratio=model.mask_ratio,
        norm_pix_loss=True,
    )
    tensors = {name: x.clone() for name, x in foreign_tensors(model, "hf_vit_mae").items()}
    # which knows the names of files, as load_state_dict of transformers 5 does not
    peer = ViTMAEForPreTraining.from_pretrained(None, config=config, state_dict=tensors)
    return peer.train()


def build_variant(name: str, size: str) -> tuple[nn.Module, Callable[[Tensor], Tensor], bool]:
    """A variant by name: module, loss of images, and whether its AdamW is fused."""
    model = build_ours(size)
    if name == OURS:
        return model, model.loss, True
    if name == COMPILED:
        # With random numbers of its own it would draw another mask.
        return model, torch.compile(model.loss, options=dict(fallback_random=True)), True
    if name == PLAIN:
        plain = PlainMAE(model)
        return plain, plain, False
    peer: Any
    if name == "mmpretrain":
        peer = build_mmpretrain(model)
        return peer, lambda images: peer.loss(images, [])["loss"], False
    peer = build_hugging_face(model)
    return peer, lambda images: peer(images).loss, True


def make_step(
    module: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    fused: bool,
    batch: int,
    dtype: str,
) -> Step:
    """A training step on images and masks of seed 1, which returns the loss before it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device).train()
    torch.manual_seed(1)
    images = torch.randn(batch, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = AdamW(
        parameters,
        lr=1e-4,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        **(dict(fused=True) if fused else dict(foreach=False if device == "cpu" else None)),
    )

    def step() -> float:
        torch.manual_seed(1)  # the first random numbers of every variant are its mask
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "float32"):
            loss = loss_of(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def build_step(name: str, size: str, batch: int, dtype: str, threads: int) -> Step:
    """A step of a variant, for a process of its own, the AdamW state allocated."""
    torch.set_num_threads(threads)
    step = make_step(*build_variant(name, size), batch, dtype)
    step()
    return step


def build_own_step(
    size: str, batch: int, dtype: str, threads: int, options: dict[str, Any]
) -> Step:
    """The same for our model with other options."""
    torch.set_num_threads(threads)
    model = build_ours(size, **options)
    step = make_step(model, model.loss, True, batch, dtype)
    step()
    return step


def clock_for(args: argparse.Namespace) -> Callable[[], float]:
    """On one CPU thread that of the time it computed, however busy the machine is with others."""
    alone = args.threads == 1 and not torch.cuda.is_available()
    return time.process_time if alone else time.perf_counter


def compare_peers(args: argparse.Namespace, dtype: str) -> None:
    """Times, ratios, share of the speed of the machine and memory of all variants."""
    names = [OURS, *([COMPILED] if args.compile else []), PLAIN, *args.peers]
    peaks: dict[str, float] = {}
    too_large: list[str] = []
    if not args.no_memory:
        arguments = (args.size, args.batch, dtype, args.threads)
        peaks, too_large = peak_memories(build_step, names, *arguments)
    steps = {
        name: make_step(*build_variant(name, args.size), args.batch, dtype)
        for name in names
        if name not in too_large
    }
    losses = {name: step() for name, step in steps.items()}
    first = next(iter(losses))
    for loss in losses.values():
        if not abs(loss / losses[first] - 1) <= loss_tolerance(LOSS_TOLERANCE[dtype]):
            raise ValueError(f"the losses differ, so this compares different things: {losses}")
    gflops = {name: count_gflops(step) for name, step in steps.items()}
    clock = clock_for(args)
    limit = matrix_product_gflops(DTYPES[dtype], clock=clock)
    seconds = interleaved_seconds(steps, args.rounds, clock=clock)

    def rows() -> Iterator[list[object]]:
        for name, times in seconds.items():
            typical = statistics.median(times)
            row: list[object] = [name, Spread.of(1000 * time for time in times)]
            row += [args.batch / typical, gflops[name]]
            row.append(utilisation(gflops[name], typical, dtype))
            row.append(gflops[name] / typical / limit)
            row += [speed_up(seconds, first, name), peaks.get(name), f"{losses[name]:.6f}"]
            yield row
        for name in too_large:
            yield [name, OUT_OF_MEMORY, *[None] * (len(header) - 2)]

    header = ["variant", "ms a step", "images/s", "GFLOP a step", "MFU", "of the matrix product"]
    header += [f"{first} is faster by", "peak MiB", "loss"]
    title = f"### {args.size}, batch {args.batch}, {dtype}, matrix product {limit:.0f} GFLOP/s"
    print_table(header, rows(), title)


def compare_mask_tokens(args: argparse.Namespace, dtype: str) -> None:
    """Table 2: mask tokens in the encoder or not, for decoders of 8 and 1 blocks."""
    steps: dict[str, Step] = {}
    for depth in (8, 1):
        for mask_tokens in (True, False):
            model = build_ours(args.size, depth, encoder_mask_tokens=mask_tokens)
            name = f"{'with' if mask_tokens else 'without'} [M], {depth}"
            steps[name] = make_step(model, model.loss, True, args.batch, dtype)
    gflops = {name: count_gflops(step) for name, step in steps.items()}
    seconds = interleaved_seconds(steps, args.rounds, clock=clock_for(args))
    rows = []
    for name, times in seconds.items():
        row = [name, f"{Spread.of(1000 * time for time in times):.0f}", f"{gflops[name]:.1f}"]
        for base in (f"with [M], {name.rpartition(' ')[2]}", "with [M], 8"):
            row.append(f"{speed_up(seconds, name, base):.2f}")
            row.append(f"{gflops[base] / gflops[name]:.2f}")
        rows.append(row)
    print(f"\n### Table 2 at {args.size}, batch {args.batch}, {dtype}\n")
    header = ["encoder, decoder blocks", "ms a step", "GFLOP a step", "x with [M], same decoder"]
    print_table([*header, "by operations", "x with [M], 8", "by operations"], rows)


def compare_cost(args: argparse.Namespace, dtype: str) -> None:
    """Time and memory against the masking ratio and the batch."""
    settings = [(ratio, args.batch) for ratio in (0.0, 0.25, 0.5, 0.75, 0.9)]
    settings += [(0.75, batch) for batch in (args.batch // 2, args.batch * 2) if batch]
    steps, memory = {}, {}
    for ratio, batch in settings:
        # At a ratio of 0 nothing would be left to predict: one patch is.
        options: dict[str, Any] = dict(mask_ratio=ratio or 1e-3)
        model = build_ours(args.size, **options)
        steps[f"{ratio:.0%}, {batch}"] = make_step(model, model.loss, True, batch, dtype)
        if not args.no_memory:
            arguments = (args.size, batch, dtype, args.threads, options)
            memory[f"{ratio:.0%}, {batch}"] = peak_memory(build_own_step, *arguments)
    gflops = {name: count_gflops(step) for name, step in steps.items()}
    seconds = interleaved_seconds(steps, args.rounds, clock=clock_for(args))
    rows = [
        [
            *name.split(", "),
            f"{Spread.of(1000 * time for time in times):.0f}",
            f"{gflops[name]:.1f}",
            f"{memory[name]:.0f}" if memory else "-",
        ]
        for name, times in seconds.items()
    ]
    print(f"\n### Cost at {args.size}, {dtype}\n")
    print_table(["masked", "batch", "ms a step", "GFLOP a step", "peak MiB"], rows)


COMPARISONS = {
    "peers": compare_peers,
    "mask-tokens": compare_mask_tokens,
    "cost": compare_cost,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``tools/benchmark.py pretrain``."""
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch", type=int, help="default: 8, of tiny 32")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--compare", choices=COMPARISONS, default="peers")
    parser.add_argument(
        "--peers", nargs="*", choices=["mmpretrain", "transformers"], default=None, help="all"
    )
    parser.add_argument("--compile", action="store_true", help="ours by torch.compile as well")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")


def run(args: argparse.Namespace) -> None:
    """Print one table for each precision.

    Raises:
        ValueError: losses that differ, which makes the times worthless.
    """
    torch.set_num_threads(args.threads)
    args.peers = ["mmpretrain", "transformers"] if args.peers is None else args.peers
    args.batch = args.batch or (32 if args.size == "tiny" else 8)
    print(describe_machine())
    for dtype in args.dtypes:
        COMPARISONS[args.compare](args, dtype)
