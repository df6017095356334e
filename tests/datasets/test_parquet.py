"""Parquet files in Hugging Face's form give the samples of the folders they were made of."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from mae_bench.datasets.identity import data_identity  # noqa: E402
from mae_bench.datasets.image_folders import ImageFolders, ImageNet1K  # noqa: E402
from mae_bench.datasets.imagenet_variants import imagenet_classes  # noqa: E402
from mae_bench.datasets.loading import LoadImageTensor  # noqa: E402

NAMES = ("zebra", "ant", "cat")  # labels go by this order, not by the alphabet


def encoded(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (9, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, part: str = "train", files: int = 2, names=NAMES, **columns) -> Path:
    """Twelve images in shards, by the library's own writer, several row groups a file."""
    labels = [number % 3 for number in range(12)]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    rows = {
        "image": [{"bytes": encoded(i), "path": f"{i:02}.png"} for i in range(12)],
        "label": labels,
    }
    for name, values in columns.items():
        rows[name] = values
        features.pop(name, None)
    table = datasets.Dataset.from_dict(rows)
    table = table.cast(datasets.Features({**table.features, **features}))
    root.mkdir(parents=True, exist_ok=True)
    for shard in range(files):
        path = root / f"{part}-{shard:05}-of-{files:05}.parquet"
        table.shard(files, shard, contiguous=True).to_parquet(path, batch_size=4)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


def samples(root: Path, prefix: str = "train", of=ImageFolders, **options) -> list[tuple]:
    dataset = of(data_root=str(root), data_prefix=prefix, pipeline=[], **options)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(i.get("gt_label"), LoadImageTensor()(i)["img"].numpy().tobytes()) for i in infos]


def expected(labels=(0, 1, 2)) -> list[tuple]:
    found = []
    for number in range(12):
        pixels = np.array(Image.open(io.BytesIO(encoded(number)))).transpose(2, 0, 1)
        found.append((labels[number % 3], np.ascontiguousarray(pixels).tobytes()))
    return found


@pytest.mark.parametrize("place", ["", "data", "train"])
def test_samples_in_the_order_of_the_rows(tmp_path, place):
    write(tmp_path / "set" / place)
    dataset = ImageFolders(data_root=str(tmp_path / "set"), data_prefix="train", pipeline=[])
    assert dataset.metainfo["classes"] == NAMES
    assert dataset.class_counts == dict.fromkeys(NAMES, 4)
    assert dataset.get_data_info(11)["img_path"].endswith("11.png")
    assert samples(tmp_path / "set") == expected()
    assert [s[1] for s in samples(tmp_path / "set", with_label=False)] == [s[1] for s in expected()]


def test_labels_are_those_of_the_names_in_the_config(tmp_path):
    write(tmp_path)
    classes = dict(classes=("cat", "zebra", "dog", "ant"))
    assert samples(tmp_path, metainfo=classes) == expected((1, 3, 0))
    for wrong in (("dog", "cow", "hen"), ("zebra", "ant", "dog")):
        with pytest.raises(ValueError, match=r"train-00000-of-00002.parquet: .*metainfo.classes"):
            samples(tmp_path, metainfo=dict(classes=wrong))


def test_imagenet(tmp_path):
    """Two of its classes have one name, and the library wants names that differ."""
    names = list(ImageNet1K.METAINFO["classes"])
    assert names[134] == names[517] == "crane"
    names[517] = "crane2"
    write(tmp_path / "data", "validation", names=names)
    assert samples(tmp_path, "val", ImageNet1K) == expected()
    write(tmp_path / "ids/data", "validation", names=imagenet_classes())
    assert samples(tmp_path / "ids", "val", ImageNet1K) == expected()
    for moved in ([*names[1:], names[0]], [names[1], names[0], *names[2:]]):
        write(tmp_path / f"{moved[0]}/data", "validation", names=moved)
        with pytest.raises(ValueError, match="parquet: .* 'crane2' is not among them"):
            samples(tmp_path / moved[0], "val", ImageNet1K)
    write(tmp_path / "others/data", "validation", names=[f"x{i}" for i in range(1000)])
    with pytest.raises(ValueError, match="its classes, 'x0' to 'x999', are not the 1000"):
        samples(tmp_path / "others", "val", ImageNet1K)


def test_labels_without_names(tmp_path):
    write(tmp_path / "numbers", label=[i % 3 for i in range(12)])
    assert samples(tmp_path / "numbers") == expected()
    write(tmp_path / "words", label=[NAMES[i % 3] for i in range(12)])
    assert samples(tmp_path / "words") == expected((2, 0, 1))
    write(tmp_path / "test", label=[-1] * 12)
    with pytest.raises(ValueError, match=r"parquet, row 0: has no label \(-1\)"):
        samples(tmp_path / "test")


def test_plain_parquet_without_the_librarys_notes(tmp_path):
    rows = [{"bytes": encoded(i), "path": None} for i in range(12)]
    table = pa.table({"image": rows, "label": [i % 3 for i in range(12)]})
    pq.write_table(table, tmp_path / "train.parquet")
    assert samples(tmp_path) == expected()


def test_what_cannot_be_read_is_named(tmp_path):
    write(tmp_path / "a", other=[{"bytes": b"x", "path": "x"}] * 12)
    assert len(samples(tmp_path / "a")) == 12  # the one called image
    write(tmp_path / "b", image=list(range(12)))
    with pytest.raises(ValueError, match=r"0 of its columns \(image, label\) hold images"):
        samples(tmp_path / "b")
    write(tmp_path / "c", image=[{"bytes": None, "path": "a.png"}] + [{"bytes": b"x"}] * 11)
    with pytest.raises(ValueError, match="row 0: has a path in place of an image"):
        samples(tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/train.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(ValueError, match=r"train.parquet: cannot be read as Parquet"):
        samples(tmp_path / "d")


def test_identity_is_that_of_the_content(tmp_path, monkeypatch):
    def identity(root: Path) -> dict:
        return data_identity(ImageFolders(data_root=str(root), data_prefix="train", pipeline=[]))

    one = identity(write(tmp_path / "one"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "another cache"))
    assert identity(write(tmp_path / "two")) == one
    other = identity(write(tmp_path / "three", label=[(i + 1) % 3 for i in range(12)]))
    assert other["digest"] != one["digest"]
