"""mmpretrain's optimizer, augmentation, data sets, hooks and heads, and ours in their place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets import Places205 as HostPlaces205
from mmpretrain.datasets.categories import PLACES205_CATEGORIES
from mmpretrain.engine.optimizers import LARS as HostLARS
from mmpretrain.models import TimmClassifier
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.models.utils.batch_augments import Mixup
from mmpretrain.structures import DataSample
from PIL import Image
from torch import nn

from mae_bench.datasets.inaturalist import INaturalist
from mae_bench.datasets.places import Places205
from mae_bench.openmmlab.batch_augment import EraseAndMix
from mae_bench.openmmlab.classifiers import TimmModel
from mae_bench.openmmlab.linear_probe import LinearProbeHead
from mae_bench.training import LARS

from .promises import Promise, StandIn, check, error, every_promise

CLASSES = 5


def shares(scores: torch.Tensor) -> Any:
    """Observe whether scores are mixed in the same shares as the pixels.

    Picture i is i everywhere, so a mixed one says what it is made of where its partner is known.
    """

    def observe(kind: type, folder: Path) -> Any:
        torch.manual_seed(0)
        np.random.seed(0)
        augment = kind(0.0, 0.8, 0.0) if kind is EraseAndMix else kind(alpha=0.8)
        count = len(scores)
        values = 2.0 ** torch.arange(count)
        images = values[:, None, None, None].expand(-1, 3, 4, 4).clone()
        images, mixed = augment(images, scores.clone())
        found = images[:, 0, 0, 0]
        for i in range(count):
            # the one partner and share that give both pixels and scores
            fits = [
                torch.allclose(mixed[i], share * scores[i] + (1 - share) * scores[j], atol=1e-5)
                for j in range(count)
                if i != j and 0 <= (share := (found[i] - values[j]) / (values[i] - values[j])) <= 1
            ]
            if not any(fits):
                return False
        return True

    return observe


def soft(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, CLASSES, generator=torch.Generator().manual_seed(seed))


def several() -> torch.Tensor:
    return torch.tensor(
        [[1, 1, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [1, 0, 1, 1, 0]]
    ).float()


def images(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / "images" / name)


def inaturalist(folder: Path) -> Any:
    """iNaturalist's reader, or the host's of class folders, on three pictures of two classes."""
    names = ("ant/1.jpg", "bee/2.jpg", "bee/3.jpg")
    images(folder, names)
    tables = dict(
        categories=[dict(id=0, name="ant"), dict(id=1, name="bee")],
        images=[dict(id=i, file_name=f"images/{name}") for i, name in enumerate(names)],
        annotations=[dict(image_id=i, category_id=int(i > 0)) for i in range(3)],
    )
    (folder / "train.json").write_text(json.dumps(tables))
    return dict(data_root=str(folder))


def read(kind: type, folder: Path, **options: Any) -> Any:
    shared = inaturalist(folder)
    if kind is INaturalist:
        return kind("train.json", **shared, **options)
    return kind(**shared, data_prefix="images", **options)


def described(**options: Any) -> Any:
    """Observe class names and the label of each picture."""

    def observe(kind: type, folder: Path) -> Any:
        dataset = read(kind, folder, **options)
        found = [dataset.get_data_info(i) for i in range(len(dataset))]
        labels = {Path(one["img_path"]).name: one["gt_label"] for one in found}
        return dataset.metainfo["classes"], dataset.CLASSES, labels, dataset.class_to_idx

    return observe


def places(**options: Any) -> Any:
    def observe(kind: type, folder: Path) -> Any:
        images(folder, ("a/1.jpg", "b/2.jpg"))
        (folder / "train.csv").write_text("a/1.jpg 0\nb/2.jpg 204\n")
        dataset = kind(ann_file="train.csv", data_root=str(folder), data_prefix="images", **options)
        labels = [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))]
        return tuple(dataset.metainfo["classes"]), labels, dataset.get_gt_labels()

    return observe


def parameters() -> list[nn.Parameter]:
    """A bias, as the two kinds of LARS adapt weights otherwise."""
    return [nn.Parameter(torch.tensor([3.0, -2.0]))]


def excluded(kind: type) -> dict[str, bool]:
    """The group of a parameter that is not adapted."""
    return {} if kind is LARS else dict(lars_exclude=True)


def refused(**options: Any) -> Any:
    return lambda kind, folder: error(lambda: kind(parameters(), **dict(lr=1.0) | options))


def steps(kind: type, folder: Path) -> list:
    """Three steps with a closure, in the middle of which the state is saved and loaded."""
    (bias,) = parameters()
    optimizer = kind([dict(params=[bias], **excluded(kind))], lr=0.5, momentum=0.9)
    found = []
    for step in range(3):

        def closure(optimizer: Any = optimizer) -> float:
            optimizer.zero_grad()
            loss = (bias**2).sum()
            loss.backward()
            return loss.item()

        found += [optimizer.step(closure), *bias.tolist()]
        if step == 1:
            state = optimizer.state_dict()
            optimizer = kind([dict(params=[bias], **excluded(kind))], lr=0.5, momentum=0.9)
            optimizer.load_state_dict(state)
    return found


def head(kind: type, folder: Path) -> Any:
    """What a head of classes gives in training and in a test, with features of unit statistics."""
    torch.manual_seed(0)
    built = kind(num_classes=3, in_channels=2)
    nn.init.constant_(built.fc.weight, 0.5)
    features = (torch.tensor([[1.0, -1.0], [-1.0, 1.0]]),)
    samples = [DataSample().set_gt_label(label) for label in (0, 2)]
    loss = built.loss(features, samples)
    found = built.predict(features, samples)
    names = [type(one).__name__ for one in found]
    return (
        sorted(loss),
        names,
        sorted(found[0].keys()),
        built.pre_logits(features).round(decimals=4),
    )


def standardised(kind: type, folder: Path) -> torch.Tensor:
    built = kind(num_classes=3, in_channels=2)
    return built.pre_logits((torch.tensor([[10.0, 3.0], [14.0, 5.0]]),)).round(decimals=3)


def timm_model(kind: type, folder: Path) -> Any:
    """Scores, features and predictions of one of timm's models."""
    torch.manual_seed(0)
    model = kind(model_name="test_vit").eval()
    pictures = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = model(pictures)
        found = model(pictures, mode="predict")
    return scores, [one.pred_score for one in found], sorted(model.state_dict())[:3]


def preprocessed(kind: type, folder: Path) -> float:
    """A pixel of 255 as the model gets it."""
    model = kind(model_name="test_vit")
    data = dict(inputs=[torch.full((3, 4, 4), 255, dtype=torch.uint8)])
    return model.data_preprocessor(data)["inputs"].mean().item()


TABLE = [
    StandIn(
        LARS,
        HostLARS,
        [
            Promise("steps of a bias, closure, state", steps),
            Promise("negative momentum", refused(momentum=-0.1)),
            Promise("negative weight_decay", refused(weight_decay=-0.1)),
            Promise("negative lr", refused(lr=-1.0), "ValueError",
                    "refused as by PyTorch's optimizers; mmpretrain's check lets floats pass"),
            Promise("nesterov", refused(nesterov=True, momentum=0.9), "TypeError",
                    "not there: MoCo v3's LARS, which MAE's linear probing uses, has none"),
        ],
    ),
    StandIn(
        EraseAndMix,
        Mixup,
        [
            Promise("one-hot scores are mixed as pixels", shares(torch.eye(CLASSES)[:4])),
            Promise("soft scores are mixed as pixels", shares(soft())),
            Promise("scores of several labels are mixed as pixels", shares(several())),
            Promise("a batch of three", lambda kind, folder: error(
                lambda: shares(soft()[:3])(kind, folder)), "ValueError",
                "refused: images are mixed in pairs from the two ends of a batch, as in timm, "
                "which MAE's code uses; mmpretrain mixes with a permutation"),
        ],
    ),
    StandIn(
        INaturalist,
        CustomDataset,
        [
            Promise("names from the data", described()),
            Promise("classes= renames the labels", described(classes=["A", "B"])),
            Promise("metainfo.classes renames the labels",
                    described(metainfo=dict(classes=("A", "B")))),
            Promise("indices", described(indices=2)),
            Promise("another number of names", lambda kind, folder: error(
                lambda: read(kind, folder, classes=["A"])), "ValueError",
                "`ValueError` with file and numbers, where mmpretrain has an assertion"),
            Promise("the data's names in another order", lambda kind, folder: error(
                lambda: read(kind, folder, classes=["bee", "ant"])), "ValueError",
                "refused: mmpretrain gives each label the name of another"),
        ],
    ),
    StandIn(
        Places205,
        HostPlaces205,
        [
            Promise("names and labels", places()),
            Promise("classes= renames the labels", places(classes=[f"c{i}" for i in range(205)])),
            Promise("metainfo.classes renames the labels",
                    places(metainfo=dict(classes=tuple(f"c{i}" for i in range(205))))),
        ],
    ),
    StandIn(
        LinearProbeHead,
        LinearClsHead,
        [
            Promise("fields of loss and prediction", head),
            Promise("features", standardised, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]),
                    "standardised by a BatchNorm without parameters, as MAE's Appendix A.1 says"),
        ],
    ),
    StandIn(
        TimmModel,
        TimmClassifier,
        [
            Promise("scores and predictions", timm_model),
            Promise("preprocessing", preprocessed, 1.0,
                    "mean, deviation and crop are timm's for that model; mmpretrain's has to be "
                    "told"),
        ],
    ),
]  # fmt: skip


@every_promise(TABLE)
def test_promise(stand_in, promise, tmp_path):
    check(stand_in, promise, tmp_path)


def test_number_of_names_of_places_is_checked(tmp_path):
    with pytest.raises(ValueError, match="classes: 3 names are given, .* has 205 classes"):
        places(classes=list("abc"))(Places205, tmp_path)
    assert len(PLACES205_CATEGORIES) == 205
