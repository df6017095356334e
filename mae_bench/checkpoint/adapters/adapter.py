"""What every foreign format declares, and how a declared key map is applied in either direction."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from torch import Tensor

from ..names import ENCODER, other_architecture
from ..variants import fold_layer_scale

Tensors = dict[str, Tensor]
Pairs = Sequence[tuple[str, str]]
"""(our name, foreign name). ``*`` stands for one part of a name, ``**`` for the rest of it."""

UNKNOWN = "unknown"
# What our metadata call the method of models whose names are like those of ...
METHODS = {
    "MAE": "mae",
    "DeiT": "supervised",
    "MoCo v3": "moco_v3",
    "BEiT": "beit",
    "SimMIM": "simmim",
    "data2vec": "data2vec",
    "DINOv2": "dinov2",
    "I-JEPA": "ijepa",
}

# Mean and std on the scale 0..255.
NORMALIZATIONS = {
    "imagenet": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    "half": ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5]),
}

# The names that our backbone shares with timm, and with all who took theirs from there.
BACKBONE = (
    "cls_token",
    "pos_embed",
    "patch_embed.proj.*",
    "blocks.*.norm1.*",
    "blocks.*.attn.qkv.*",
    "blocks.*.attn.proj.*",
    "blocks.*.norm2.*",
    "blocks.*.mlp.fc1.*",
    "blocks.*.mlp.fc2.*",
    "norm.*",
    "fc_norm.*",
)
HEAD = ("head.fc.*", "head.*")
LAYER_SCALE = ("blocks.*.ls*.gamma", "blocks.*.ls*.gamma")
# How DeiT calls the token of its teacher, and its head.
DISTILLATION = ("dist_token", "dist_token")
DISTILLATION_HEAD = "head_dist.*"
# Tokens that stand for masked patches: no encoder computes with them.
MASK_TOKENS = ("mask_token", "masked_embed")


def same_names(prefix: str = "") -> Pairs:
    """Key map of a format that has our names after a prefix."""
    return [(name, prefix + name) for name in BACKBONE]


def _unchanged(tensors: Tensors) -> Tensors:
    return tensors


def _unchanged_export(tensors: Tensors, num_heads: int | None) -> Tensors:
    return tensors


def _cannot_tell(tensors: Mapping[str, Tensor]) -> int | None:
    return None


class Imported(NamedTuple):
    """Tensors under our names, and the foreign names that have no place here.

    ``dropped`` has the number of values of each.
    """

    tensors: Tensors
    dropped: dict[str, int]
    num_heads: int | None


class Exported(NamedTuple):
    """Tensors under foreign names, and our names that have no place there."""

    tensors: Tensors
    dropped: list[str]


@dataclass(frozen=True)
class Adapter:
    """A foreign format.

    Args:
        name: what ``--from`` and ``--to`` call it, and the metadata's ``converter``.
        pairs: the key map. Where several pairs fit a name, the first counts.
        signs: patterns of foreign names that each occur in a file of this format.
        absent: patterns of which none occurs in it.
        ignored: patterns of foreign names that have no place here and are dropped.
        looks_like: whether tensors, signs and absences given, are of this format.
        bare_prefix: prefix of names in ``pairs`` that some files of this format leave out.
        normalise_names: foreign names to those of ``pairs``, where files differ.
        after_import: tensors renamed to ours, to the shapes of ours.
        before_export: the way back, given the number of heads; still under our names.
        required: our names without which the other side would start from chance.
        heads: number of heads, from foreign tensors; None where it does not show.
        heads_by_width: widths whose number of heads is not that of our size table.
        likeness: whose models have these names, such as ``"MAE"``; None where many have them. A
            name proves no more: a fork of that code writes the same ones.
        normalization: key of :data:`NORMALIZATIONS` that the format's own models use; None where
            that differs from file to file.
        wrapper: where a ``.pth`` of this format has its tensors; None: bare.
        npz: whether files are ``.npz``; else ``.pth`` or ``.safetensors``.
        asked: whether the format is only taken where it is named, because its files cannot be told
            from those of a more general one that reads them alike.
    """

    name: str
    pairs: Pairs
    signs: Sequence[str]
    absent: Sequence[str] = ()
    ignored: Sequence[str] = ()
    looks_like: Callable[[Tensors], bool] = bool
    bare_prefix: str = ""
    normalise_names: Callable[[str], str] = str
    after_import: Callable[[Tensors], Tensors] = _unchanged
    before_export: Callable[[Tensors, int | None], Tensors] = _unchanged_export
    required: Sequence[str] = ("cls_token", "pos_embed")
    heads: Callable[[Tensors], int | None] = _cannot_tell
    heads_by_width: Mapping[int, int] | None = None
    likeness: str | None = None
    normalization: str | None = None
    wrapper: str | None = None
    npz: bool = False
    asked: bool = False

    @property
    def guess(self) -> str | None:
        """The method that the names make likely, as our metadata call it; None: not even that."""
        return METHODS.get(self.likeness or "")

    @property
    def claim(self) -> str:
        """How a model of this format was trained, for the metadata."""
        return f"as {self.likeness} (guessed from names)" if self.likeness else UNKNOWN

    def fits(self, tensors: Tensors) -> bool:
        """Whether foreign tensors are of this format, by their names."""
        names = list(self._normalise(tensors))
        return (
            all(any(match(sign, name) for name in names) for sign in self.signs)
            and not any(match(pattern, name) for pattern in self.absent for name in names)
            and self.looks_like(tensors)
        )

    def to_ours(self, tensors: Tensors) -> Imported:
        """Foreign tensors under our names.

        Raises:
            ValueError: a name or a shape that the format does not have, or a tensor that has no
                equal here.
        """
        tensors = self._normalise(tensors)
        renamed, left = rename(tensors, [(theirs, ours) for ours, theirs in self.pairs])
        unknown = [name for name in left if not any(match(p, name) for p in self.ignored)]
        if unknown and (what := other_architecture(unknown)):
            raise ValueError(
                f"the model has {what}: our ViT has no place for that, a timm model may "
                "(docs/backbones.md)"
            )
        if unknown:
            raise ValueError(f"{self.name} has no {_first(unknown)}: is it of another format?")
        if not renamed:
            raise ValueError(f"nothing of {self.name} among {_first(list(tensors))}")
        try:
            dropped = {name: tensors[name].numel() for name in left}
            return Imported(self.after_import(renamed), dropped, self.heads(tensors))
        except (ArithmeticError, LookupError, RuntimeError, TypeError) as error:
            # A file that was tampered with: what the names promise, the shapes do not keep.
            reason = " ".join(str(error).split())
            raise ValueError(f"no file of {self.name} has such shapes ({reason})") from None

    def from_ours(self, tensors: Tensors, num_heads: int | None = None) -> Exported:
        """Our tensors under foreign names.

        Args:
            tensors: a checkpoint of our format.
            num_heads: its heads, which some formats have as an axis; None where unknown.

        Raises:
            ValueError: the other side cannot hold a tensor of the encoder, or needs one we lack.
        """
        missing = [name for name in self.required if name not in tensors]
        if missing:
            raise ValueError(f"{self.name} cannot do without {_first(missing)}")
        if not any(match(ours, "blocks.0.ls1.gamma") for ours, _ in self.pairs):
            tensors = fold_layer_scale(tensors)
        renamed, left = rename(self.before_export(tensors, num_heads), self.pairs)
        encoder = [name for name in left if ENCODER.match(name)]
        if encoder:
            raise ValueError(f"{self.name} has no place for {_first(encoder)}")
        return Exported(renamed, left)

    def _normalise(self, tensors: Tensors) -> Tensors:
        prefix = self.bare_prefix
        tensors = {self.normalise_names(name): tensor for name, tensor in tensors.items()}
        if prefix and not any(name.startswith(prefix) for name in tensors):
            tensors = {prefix + name: tensor for name, tensor in tensors.items()}
        return tensors


def pattern_text(pattern: str) -> str:
    """A pattern of :data:`Pairs` as a regular expression with a group for each star."""
    # One part of a name ends at a dot; at a slash in Flax.
    return re.escape(pattern).replace(r"\*\*", "(.+)").replace(r"\*", "([^./]+)")


@cache
def _compile(pattern: str) -> re.Pattern:
    return re.compile(pattern_text(pattern))


def match(pattern: str, name: str) -> re.Match | None:
    """Match of a whole name against a pattern of :data:`Pairs`."""
    return _compile(pattern).fullmatch(name)


def rename(tensors: Mapping[str, Tensor], pairs: Pairs) -> tuple[Tensors, list[str]]:
    """Rename by (from, to) pairs.

    Returns:
        the renamed tensors, in the order given, and the names that no pair fits.

    Raises:
        ValueError: two tensors would get one name.
    """
    renamed: Tensors = {}
    left = []
    for name, tensor in tensors.items():
        for source, target in pairs:
            if found := match(source, name):
                new = re.sub(r"\*+", "{}", target).format(*found.groups())
                if new in renamed:
                    raise ValueError(f"two tensors would be {new}, the second is {name}")
                renamed[new] = tensor
                break
        else:
            left.append(name)
    return renamed, left


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
