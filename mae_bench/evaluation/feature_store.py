"""Features of a set of images on disk: extracted once, found again by all that decides them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..checkpoint.integrity import BLANK, DIGEST_KEY, check_seal, seal
from ..files import write_atomic

FORMAT = 2  # goes up when the same key would mean other features
METADATA_KEY = "mae_bench_features"
LABELS = "labels"
SHARD_SAMPLES = 4096  # 6 MB of a ViT-B's class token in float16; minutes of a CPU


@dataclass(frozen=True)
class Shard:
    """Samples ``start`` to ``end``, without ``end``, in one file."""

    file: Path
    start: int
    end: int


class FeatureStore:
    """Features (N, D) of N images by name, with their labels, in one folder.

    Shards are sealed with a digest and written whole or not at all, so an interrupted extraction
    goes on with those that are missing.

    Args:
        folder: of the cache; the store is the folder ``key`` in it.
        deciding: all that decides the features, as JSON; its hash is the ``key``.
        samples: images.
    """

    def __init__(self, folder: str | Path, deciding: Mapping[str, Any], samples: int) -> None:
        text = json.dumps({**deciding, "format": FORMAT}, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = Path(folder, self.key)
        self.samples = samples
        self.shards = [
            Shard(
                self.folder / f"{start // SHARD_SAMPLES:05d}.safetensors",
                start,
                min(start + SHARD_SAMPLES, samples),
            )
            for start in range(0, samples, SHARD_SAMPLES)
        ]

    def damage(self, shard: Shard) -> str | None:
        """What is wrong with the file of a shard; None where it is whole."""
        try:
            with safe_open(shard.file, framework="pt") as file:
                metadata = json.loads((file.metadata() or {})[METADATA_KEY])
                if metadata["key"] != self.key:
                    return "holds other features"
                if file.get_slice(LABELS).get_shape() != [shard.end - shard.start]:
                    return "holds another number of images"
            check_seal(shard.file, json.dumps(metadata))
        except FileNotFoundError:
            return "is not there"
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            return str(error) or type(error).__name__
        return None

    def write(self, shard: Shard, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Write one shard: features (n, D) and labels (n,)."""
        tensors = {name: tensor.contiguous() for name, tensor in features.items()}
        metadata = json.dumps({"key": self.key, DIGEST_KEY: BLANK})
        content = save({**tensors, LABELS: labels}, {METADATA_KEY: metadata})
        write_atomic(seal(content), shard.file)

    @property
    def names(self) -> list[str]:
        """Features that there are."""
        with safe_open(self.shards[0].file, framework="pt") as file:
            return sorted(set(file.keys()) - {LABELS})

    def chunks(self, name: str) -> Iterator[Tensor]:
        """One of the features, or the labels, shard by shard; none is held for longer."""
        for shard in self.shards:
            with safe_open(shard.file, framework="pt") as file:
                yield file.get_tensor(name)

    def load(self, name: str) -> Tensor:
        """One of the features, (N, D)."""
        first = next(self.chunks(name))
        whole = first.new_empty(self.samples, *first.shape[1:])
        for shard, chunk in zip(self.shards, self.chunks(name), strict=True):
            whole[shard.start : shard.end] = chunk
        return whole

    @property
    def labels(self) -> Tensor:
        """Label of each image, (N,) int64."""
        return self.load(LABELS)


@dataclass(frozen=True)
class FeatureTensors:
    """Features (N, D) of N images by name, with their labels (N,): a :class:`FeatureStore` that is
    in memory."""

    features: Mapping[str, Tensor]
    labels: Tensor

    @property
    def samples(self) -> int:
        """Images."""
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        """Features that there are."""
        return sorted(self.features)

    def chunks(self, name: str) -> Iterator[Tensor]:
        """One of the features, in one piece."""
        yield self.features[name]

    def load(self, name: str) -> Tensor:
        """One of the features, (N, D)."""
        return self.features[name]


class ShardBatches:
    """Batches of the samples of some shards, in order; none has samples of two shards.

    So a shard has the same batches, and with them the same last bits, whenever it is made.

    Args:
        shards: with the place of their first sample in the data set that is loaded.
        batch_size: of all batches but the last of a shard.
    """

    def __init__(self, shards: Sequence[tuple[Shard, int]], batch_size: int) -> None:
        self.shards = shards
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for shard, first in self.shards:
            places = range(first, first + shard.end - shard.start)
            for start in range(0, len(places), self.batch_size):
                yield list(places[start : start + self.batch_size])

    def batches_of(self, shard: Shard) -> int:
        """How many batches a shard has."""
        return -(-(shard.end - shard.start) // self.batch_size)

    def __len__(self) -> int:
        return sum(self.batches_of(shard) for shard, _ in self.shards)


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(content.numpy())
    return digest.hexdigest()
