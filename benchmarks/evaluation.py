"""Evaluating a classifier: the robustness command's loop against a loop like timm's validate.py.

    tools/benchmark.py evaluation [--model NAME]

Both evaluate the same model, with random weights, on the same folder of JPEGs (500 x 375 pixels, as
large as ImageNet's are on average) with the same transform, batch, worker processes and number of
threads, in mixed precision on a GPU and in float32 on a CPU. By default two models: "linear", one
linear layer on averages of 32 x 32 pixels, so that loading decides, and DeiT-Ti. Below the ratios
stands where the time of one batch goes on one core, measured step by step. On a CPU without worker
processes computing time is counted, which does not depend on what else the machine does.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_model_data_config
from timm.utils import AverageMeter, accuracy
from torch import nn

from mae_bench.datasets.robustness_sets import FOLDERS, PADDING, VAL, RobustnessSets
from mae_bench.evaluation.robustness import RobustnessLoop, count_confidence, count_hits, normalise
from mae_bench.openmmlab.classifiers import TimmModel
from mae_bench.run_folder import ROBUSTNESS_NAME
from mae_bench.training.runner import TrainRunner

from .loader import make_jpegs
from .measure import (
    count_gflops,
    describe_machine,
    interleaved_seconds,
    peak_memory,
    print_table,
    speed_up,
    utilisation,
)

# The linear layer gets the pictures as DeiT-Ti does: 224 pixels.
LINEAR, DEIT = "linear", "deit_tiny_patch16_224.fb_in1k"
OURS, TIMM = "ours", "like timm's validate.py"
CLASSES = ("n01440764", "n01443537")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command."""
    parser.add_argument(
        "--model", action="append", help=f"of timm, or {LINEAR}; by default {LINEAR} and {DEIT}"
    )
    parser.add_argument("--images", type=int, default=256, help="pictures in each round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each loop")
    parser.add_argument("--batch", type=int, default=64, help="pictures of a batch")
    parser.add_argument("--workers", type=int, default=0, help="processes that load")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for label, folder in enumerate(CLASSES):
            (root / FOLDERS[VAL] / folder).mkdir(parents=True)
            for path in make_jpegs(root, args.images // len(CLASSES)):
                path.rename(root / FOLDERS[VAL] / folder / f"{label}_{path.name}")
        for model_name in args.model or (LINEAR, DEIT):
            loops = {
                OURS: our_loop(root, model_name, args.batch, args.workers),
                TIMM: timm_loop(root, model_name, args.batch, args.workers),
            }
            seconds = interleaved_seconds(loops, args.rounds, clock=_clock(args.workers))
            sizes = (root, model_name, args.batch, args.workers)
            gflops = forward_gflops(model_name)
            rows = []
            for loop, build in ((OURS, our_loop), (TIMM, timm_loop)):
                rate = args.images / statistics.median(seconds[loop])
                # The loops run in float16 on a GPU, as fast as bfloat16.
                mfu = utilisation(gflops * rate, 1.0, "bfloat16")
                rows.append((loop, rate, mfu, peak_memory(build, *sizes)))
            ratio = f"{speed_up(seconds, OURS, TIMM):.2f}"
            title = f"{model_name}: ours is {ratio} times as fast"
            print_table(("loop", "images/s", "MFU", "peak MiB"), rows, title)
            print_table(("step", "ms per image"), _steps(root, model_name, args.batch))


def _clock(workers: int) -> Callable[[], float]:
    """Seconds: ``process_time`` sees neither a GPU nor worker processes."""
    return time.perf_counter if workers or torch.cuda.is_available() else time.process_time


def forward_gflops(model_name: str) -> float:
    """Operations of the model for one image, in 10^9."""
    model = build_model(model_name).eval()
    image = torch.zeros(1, 3, model.eval_transform.size, model.eval_transform.size)
    with torch.no_grad():
        return count_gflops(lambda: model(image, mode="tensor"))


def linear() -> nn.Module:
    """From (B, 3, 224, 224) to (B, 1000), in next to no time."""
    return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3 * 7 * 7, 1000))


def build_model(name: str) -> TimmModel:
    """A model of timm, or the linear layer in place of DeiT-Ti."""
    model = TimmModel(DEIT if name == LINEAR else name)
    if name == LINEAR:
        model.model = linear()
    return model


def our_loop(root: Path, model_name: str, batch: int, workers: int) -> Callable[[], object]:
    """The robustness loop over the validation set; each call evaluates all of it anew."""
    work_dir = root / "work"
    dataset = dict(type=RobustnessSets, data_root=str(root), sets=[VAL])
    loader = dict(batch_size=batch, num_workers=workers, dataset=dataset)
    runner = TrainRunner(
        model=build_model(model_name),
        work_dir=str(work_dir),
        test_dataloader=loader,
        test_evaluator=[],
        test_cfg=dict(type=RobustnessLoop),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=50), checkpoint=None),
        default_scope="mmpretrain",
        log_level="ERROR",
        experiment_name=f"evaluation_{model_name}_{time.monotonic_ns()}",
        cfg=dict(overrides={}),
    )

    runner.call_hook("before_run")

    def evaluate() -> object:
        (work_dir / ROBUSTNESS_NAME).unlink(missing_ok=True)
        loop = RobustnessLoop(runner, loader)
        runner._test_loop = loop
        return loop.run()

    return evaluate


def timm_loop(root: Path, model_name: str, batch: int, workers: int) -> Callable[[], object]:
    """A loop with the parts and the order of timm's validate.py."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    timm_model = timm.create_model(DEIT if model_name == LINEAR else model_name)
    config = resolve_model_data_config(timm_model, use_test_size=True)
    model = (linear() if model_name == LINEAR else timm_model).to(device).eval()
    criterion = nn.CrossEntropyLoss().to(device)

    @torch.inference_mode()
    def evaluate() -> float:
        loader = create_loader(
            create_dataset("", root=str(root / FOLDERS[VAL])),
            input_size=config["input_size"],
            batch_size=batch,
            use_prefetcher=device.type == "cuda",
            interpolation=config["interpolation"],
            mean=config["mean"],
            std=config["std"],
            crop_pct=config["crop_pct"],
            crop_mode=config["crop_mode"],
            num_workers=workers,
            persistent_workers=False,
            device=device,
        )
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        for images, target in loader:
            images, target = images.to(device), target.to(device)
            with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                output = model(images)
                loss = criterion(output, target)
            first, fifth = accuracy(output.detach(), target, topk=(1, 5))
            losses.update(loss.item(), len(images))
            top1.update(first.item(), len(images))
            top5.update(fifth.item(), len(images))
        return top1.avg

    return evaluate


@torch.no_grad()
def _steps(root: Path, model_name: str, batch: int) -> list[tuple[str, str]]:
    """Where the time of a batch of ours goes, without worker processes."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = build_model(model_name).to(device).eval()
    data = RobustnessSets(data_root=str(root), sets=[VAL])
    paths = [data.parts[0].images.path(i) for i in range(min(batch, len(data)))]
    subsets = torch.ones(2, 1000, dtype=torch.bool, device=device)
    labels = torch.zeros(len(paths), dtype=torch.long, device=device)
    seconds = {}

    def step(name: str, call: Callable[[], Any]) -> Any:
        call()
        seconds[name] = min(interleaved_seconds({name: call}, rounds=3, clock=_clock(0))[name])
        return call()

    decoded = step("decode", lambda: [data.load.transform({"img_path": p})["img"] for p in paths])
    transform = model.eval_transform
    small = step("resize, crop", lambda: [transform(image) for image in decoded])
    stacked = step("collate", lambda: torch.stack(small))
    prepared = step("to the device, normalise", lambda: normalise(stacked, model.data_preprocessor))
    with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
        logits = step("model", lambda: model(prepared, mode="tensor"))
    none = torch.full((len(labels), 1), PADDING, device=device)
    step("count hits", lambda: count_hits(logits.float(), labels, subsets, none))
    step("count confidence", lambda: count_confidence(logits.float(), labels))
    return [(name, f"{1e3 * value / len(paths):.3f}") for name, value in seconds.items()]
