"""Data of any kind of wrongness: used, or refused by name; never a crash, never a silent loss."""

import copy
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from mae_bench.datasets.coco_file import read_coco
from mae_bench.datasets.coco_objects import read_runs
from mae_bench.datasets.findings import DataError
from mae_bench.datasets.label_file import read_label_file
from mae_bench.datasets.masks import read_mask
from mae_bench.datasets.reading import BrokenImage, decode_array, decode_tensor

from .makers import NAMES, CocoFolder
from .test_detection_cases import build

pytestmark = pytest.mark.slow
SETTINGS = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
NUMBERS = st.one_of(st.integers(-3, 100), st.integers(), st.floats(width=32))
FREE = (0, 1, 2, 3, 4, 5, 6, 7, "area", "id", "iscrowd")
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=4), st.sampled_from(NAMES)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> CocoFolder:
    made = CocoFolder(tmp_path_factory.mktemp("fuzz") / "own", train=3, val=1)
    made.save()
    return made


def places(node: Any, path: tuple = ()) -> list[tuple]:
    """Paths to everything in a JSON document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, (dict, list)):
            found += places(value, (*path, key))
    return found


def change(data: Any, path: tuple, value: Any, remove: bool) -> None:
    for key in path[:-1]:
        data = data[key]
    if remove:
        del data[path[-1]]
    else:
        data[path[-1]] = value


@SETTINGS
@given(data=st.data())
def test_annotation_files(right, data):
    """Objects in the file are those trained on and those named as left out."""
    document = copy.deepcopy(right.train)
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()):  # anything, which is mostly refused
            path = data.draw(st.sampled_from(places(document)))
            change(document, path, data.draw(VALUES), data.draw(st.booleans()))
        else:  # a number in an object, with which it can often be used
            found = [p for p in places(document) if p[0] == "annotations" and p[-1] in FREE]
            if found:
                change(document, data.draw(st.sampled_from(found)), data.draw(NUMBERS), False)
    file = right.root / "annotations/train.json"
    file.write_text(json.dumps(document))
    try:
        dataset = build(right.root, "train", NAMES)
    except (DataError, ValueError, FileNotFoundError) as error:
        assert "train" in str(error) and "\n" not in str(error)
        return
    found = read_coco(file)
    objects = 0
    for i in range(len(dataset)):
        objects += len(dataset.get_data_info(i)["instances"])
        try:
            sample = dataset[i]
        except BrokenImage as error:  # of another size than listed
            assert ".png" in str(error)
            continue
        truth = sample["data_samples"].gt_instances
        assert np.isfinite(truth.bboxes.tensor.numpy()).all()
        assert (truth.bboxes.tensor[:, 2:] > truth.bboxes.tensor[:, :2]).all()
        assert all(mask.any() for mask in truth.masks.masks)
    narrow = re.search(r"(\d+) objects are narrower than a pixel", str(dataset.findings.remarks))
    objects += int(narrow[1]) if narrow else 0
    assert (
        objects + sum(found.dropped.values())
        == found.listed
        == len(document.get("annotations", []))
    )
    said = " ".join(found.findings.remarks)
    assert all(reason in said for reason in found.dropped)


LINES = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["a.png", "b c.jpg", "/d.JPEG", "e", ""]),
            st.sampled_from([" ", "\t", ",", "  ", ""]),
            st.sampled_from(["0", "1", "2", "-1", "cat", "1.5", ""]),
        ),
    ),
    max_size=6,
)


@SETTINGS
@given(lines=LINES, csv=st.booleans())
def test_lists(tmp_path_factory, lines, csv):
    """Every line with something in it is an image with a label, or the line is named."""
    path = tmp_path_factory.getbasetemp() / f"fuzz.{'csv' if csv else 'txt'}"
    text = "\n".join(lines)
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        found = read_label_file(path)
        labels, classes = found.numbers(None)
    except ValueError as error:
        assert str(error).startswith(str(path))
        return
    assert len(labels) == len(found.names) and set(labels) <= set(range(len(classes)))
    if not csv:
        assert len(labels) == sum(bool(line.strip()) for line in text.splitlines())


def encoded(mode: str, form: str, size: tuple[int, int], seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    shape = (*size[::-1], 3)
    image = Image.fromarray(rng.integers(0, 255, shape, np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


FORMS = {"PNG": ("RGB", "L", "P", "1", "RGBA", "LA"), "JPEG": ("RGB", "L", "CMYK")}
FORMS |= {"BMP": ("RGB", "L", "1"), "GIF": ("P", "L"), "TIFF": ("RGB", "L", "F", "I", "CMYK")}
FORMS |= {"WEBP": ("RGB", "RGBA"), "PPM": ("RGB", "L")}
FILES = st.sampled_from([(form, mode) for form, modes in FORMS.items() for mode in modes])


@SETTINGS
@given(
    kind=FILES,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    cut=st.integers(0, 400),
    places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
)
def test_images_and_masks(tmp_path_factory, kind, size, cut, places):
    """Both decoders and the reader of masks give whole arrays, or name the file."""
    whole = encoded(kind[1], kind[0], size, 0)
    content = bytearray(whole[: max(1, len(whole) - cut)] if cut % 3 == 0 else whole)
    for place, value in places:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.bin"
    path.write_bytes(content)
    arrays = []
    for decode in (
        lambda: decode_array(bytes(content), path),
        lambda: decode_tensor(path).permute(1, 2, 0).numpy(),
        lambda: decode_tensor(path, bytes(content), True).permute(1, 2, 0).numpy(),
        lambda: read_mask(path),
    ):
        try:
            arrays.append(decode())
        except BrokenImage as error:
            assert str(path) in str(error)
            arrays.append(None)
    for array in arrays[:3]:
        assert array is None or (array.dtype == np.uint8 and array.shape[2] == 3)
    assert arrays[3] is None or (arrays[3].dtype == np.uint8 and arrays[3].ndim == 2)
    if bytes(content) == whole and kind[1] not in ("F", "I"):
        assert all(array.shape == (*size[::-1], 3) for array in arrays[:3])


@SETTINGS
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_run_lengths_are_pycocotools_own(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = read_runs(packed["counts"].decode())
    again = coco_mask.frPyObjects(dict(size=[height, width], counts=runs), height, width)
    assert again == packed


@SETTINGS
@given(st.text(max_size=8))
def test_run_lengths_of_anything(text):
    runs = read_runs(text)
    assert runs is None or all(isinstance(run, int) for run in runs)
