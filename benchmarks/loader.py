"""Loading of training images: ours beside torchvision's, mmpretrain's, mmdet's and mmseg's steps.

    tools/benchmark.py loader

The pictures are crops of scikit-image's photographs with a little noise, 500 x 375 pixels, quality
90, as large as ImageNet's are on average. Every pipeline makes a random crop of 20 % to 100 % of
the area, 224 x 224 pixels, and flips it half of the time, in this process, on one core. torchvision
and mmpretrain are measured twice: to the end of their usual pipelines, normalised on the CPU, and
without that, because ours normalises on the device. The whole step is ViT-B's pre-training.

Then the training images of COCO and ADE20K: the pipelines of our configs beside the same steps of
mmdet, detectron2 (where it is installed) and mmseg, on pictures of these sets' usual sizes with
made objects.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.datasets import LoadImageFromFile, Normalize, PackInputs, RandomFlip
from mmpretrain.datasets import RandomResizedCrop as MMPretrainCrop
from PIL import Image
from skimage import data as photographs
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode

from mae_bench.datasets.loading import LoadImageTensor, RandomResizedCropTensor
from mae_bench.models.mae import MAE

from .dense_loader import print_dense
from .measure import (
    describe_machine,
    interleaved_seconds,
    print_table,
    processor_clock,
    speed_up,
)

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "cat", "hubble_deep_field", "retina")
WIDTH, HEIGHT, QUALITY = 500, 375, 90
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
OURS, TORCHVISION, MMPRETRAIN = "ours", "torchvision, PIL", "mmpretrain, pillow"
RAW = ", not normalised"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command."""
    parser.add_argument("--images", type=int, default=100, help="JPEGs to read in each round")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each pipeline")
    parser.add_argument(
        "--step-batch", type=int, default=8, help="images of a training step; 0: none"
    )


def make_jpegs(folder: Path, count: int) -> list[Path]:
    """Write ``count`` JPEGs into a folder, the same each time."""
    rng = np.random.default_rng(0)
    sources = []
    for name in PHOTOGRAPHS:
        photograph = Image.fromarray(getattr(photographs, name)())
        factor = 1.2 * max(WIDTH / photograph.width, HEIGHT / photograph.height)
        size = (int(photograph.width * factor), int(photograph.height * factor))
        sources.append(np.asarray(photograph.resize(size)).astype(float))
    paths = []
    for i in range(count):
        source = sources[i % len(sources)]
        top = rng.integers(source.shape[0] - HEIGHT + 1)
        left = rng.integers(source.shape[1] - WIDTH + 1)
        picture = source[top : top + HEIGHT, left : left + WIDTH]
        picture = picture + rng.normal(0, 4, picture.shape)
        paths.append(folder / f"{i}.jpg")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=QUALITY)
    return paths


def pipelines() -> dict[str, Callable[[Path], object]]:
    """Each pipeline as a function from a file to what its loader hands on."""
    ours = Compose(
        [
            LoadImageTensor(),
            RandomResizedCropTensor(224, scale=(0.2, 1.0), flip_prob=0.5),
            PackInputs(),
        ]
    )
    cropped = [
        v1.RandomResizedCrop(224, (0.2, 1.0), interpolation=InterpolationMode.BICUBIC),
        v1.RandomHorizontalFlip(),
    ]
    std = [value / 255 for value in STD]
    normalised = [v1.ToTensor(), v1.Normalize([value / 255 for value in MEAN], std)]
    mmpretrain = [
        LoadImageFromFile(imdecode_backend="pillow"),
        MMPretrainCrop(
            scale=224, crop_ratio_range=(0.2, 1.0), interpolation="bicubic", backend="pillow"
        ),
        RandomFlip(prob=0.5, direction="horizontal"),
    ]

    def on_pil(transform: Callable[[Image.Image], object]) -> Callable[[Path], object]:
        def load(path: Path) -> object:
            with path.open("rb") as file:
                return transform(Image.open(file).convert("RGB"))

        return load

    def on_dict(transform: Callable[[dict], object]) -> Callable[[Path], object]:
        return lambda path: transform(dict(img_path=str(path), gt_label=0, sample_idx=0))

    return {
        OURS: on_dict(ours),
        TORCHVISION: on_pil(v1.Compose([*cropped, *normalised])),
        TORCHVISION + RAW: on_pil(v1.Compose([*cropped, v1.PILToTensor()])),
        MMPRETRAIN: on_dict(Compose([*mmpretrain, Normalize(MEAN, STD), PackInputs()])),
        MMPRETRAIN + RAW: on_dict(Compose([*mmpretrain, PackInputs()])),
    }


def pixel_difference(paths: list[Path]) -> float:
    """Mean absolute difference between our pixels and torchvision's on PIL, in grey levels."""
    chosen = pipelines()
    differences = []
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        ours = chosen[OURS](path)["inputs"]  # type: ignore[index]
        torch.manual_seed(seed)
        reference = chosen[TORCHVISION + RAW](path)
        differences.append((ours.float() - reference.float()).abs().mean().item())  # type: ignore
    return statistics.fmean(differences)


def compare_pipelines(paths: list[Path], rounds: int) -> None:
    """Print images per second and ratios."""

    def all_files(load: Callable[[Path], object]) -> Callable[[], object]:
        def run() -> None:
            torch.manual_seed(0)
            for path in paths:
                load(path)

        return run

    variants = {name: all_files(load) for name, load in pipelines().items()}
    seconds = interleaved_seconds(variants, rounds, clock=processor_clock())
    rows = [
        (
            name,
            len(paths) / statistics.median(seconds[name]),
            speed_up(seconds, of=OURS, over=name),
        )
        for name in variants
    ]
    print_table(["pipeline", "images/s of CPU time", "ours is faster by"], rows)


def compare_step(paths: list[Path], batch: int, rounds: int) -> None:
    """Print a step of ViT-B's pre-training on data at hand beside loading its batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = dict(type="mae_bench.VisionTransformer", arch="base", output="tokens")
    preprocessor = dict(type="mmpretrain.ClsDataPreprocessor", mean=MEAN, std=STD)
    model = MAE(Config(backbone), data_preprocessor=preprocessor).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    load = pipelines()[OURS]

    def batches() -> Iterator[dict]:
        while True:
            for i in range(0, len(paths) - batch + 1, batch):
                yield default_collate([load(path) for path in paths[i : i + batch]])

    stream = batches()
    at_hand = next(stream)

    def step(data: dict) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            inputs = model.data_preprocessor(data, True)["inputs"]
            loss = model(inputs, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    variants = {
        "step on a batch at hand": lambda: step(at_hand),
        "loading the batch on one core": lambda: next(stream),
        "both, one after the other": lambda: step(next(stream)),
    }
    seconds = {k: statistics.median(v) for k, v in interleaved_seconds(variants, rounds).items()}
    step_seconds, load_seconds, _ = seconds.values()
    rows = [(name, 1e3 * value) for name, value in seconds.items()]
    rows.append(("cores of loading that keep up with the step", load_seconds / step_seconds))
    print_table([f"ViT-B, batch {batch}, {device}", "ms"], rows)


def run(args: argparse.Namespace) -> None:
    """Print the tables and the difference of the pixels."""
    torch.set_num_threads(1)
    print(f"{describe_machine()}\n{time.strftime('%Y-%m-%d')}\n")
    with tempfile.TemporaryDirectory() as folder:
        paths = make_jpegs(Path(folder), args.images)
        size = statistics.fmean(path.stat().st_size for path in paths) / 1000
        print(f"{len(paths)} JPEGs of {size:.0f} kB on average, {args.rounds} rounds\n")
        compare_pipelines(paths, args.rounds)
        print(f"\nmean absolute difference to PIL: {pixel_difference(paths):.3f} grey levels\n")
        if args.step_batch:
            compare_step(paths, args.step_batch, args.rounds)
        print_dense(Path(folder), args.images, args.rounds)
