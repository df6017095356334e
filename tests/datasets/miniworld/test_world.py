"""MiniWorld's build: the same files always, sources that never mix, nothing overwritten."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mae_bench.cli import make_miniworld
from mae_bench.datasets.miniworld import layouts as layouts
from mae_bench.datasets.miniworld import scenes as scenes
from mae_bench.datasets.miniworld.world import MiniWorldSize, build, check_contents, content_hash

TINY = MiniWorldSize(
    train_images=30,
    val_images=20,
    corrupted_images=10,
    train_lists=(10, 20),
    train_scenes=12,
    val_scenes=8,
)


def build_tiny(root, **kwargs):
    return build(root, **{"size": TINY, "processes": 1, **kwargs})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("miniworld") / "world"
    build_tiny(root)
    return root


def test_files_and_description(world):
    description = json.loads((world / "dataset.json").read_text())
    files = [p for p in world.rglob("*") if p.is_file() and p.name != "dataset.json"]
    pictures, scene_count = 30 + 20 + 10 * 6 * 5, 12 + 8
    lists = len(["train", "val", "train_10", "train_20"])
    assert description["files"] == len(files) == pictures + 3 * scene_count + lists + 2
    assert description["sha256"] == content_hash(world)
    assert description["settings"]["seed"] == 0
    assert description["settings"]["size"]["train_lists"] == [10, 20]
    assert [p.name for p in world.parent.iterdir()] == ["world"]


def test_pictures_decode_in_their_sizes(world):
    sizes = {
        "imagenet/train": (layouts.TRAIN_SIZE, "RGB"),
        "imagenet/val": (layouts.VAL_SIZE, "RGB"),
        "imagenet-c": (layouts.VAL_SIZE, "RGB"),
        "coco": (layouts.SCENE_SIZE, "RGB"),
        "ade20k/images": (layouts.SCENE_SIZE, "RGB"),
        "ade20k/annotations": (layouts.SCENE_SIZE, "L"),
    }
    for folder, (size, mode) in sizes.items():
        files = [p for p in (world / folder).rglob("*") if p.suffix in {".JPEG", ".jpg", ".png"}]
        assert files
        for file in files:
            with Image.open(file) as image:
                image.load()
                assert (image.size, image.mode) == ((size, size), mode), file


def test_same_seed_same_files_for_any_number_of_processes(world, tmp_path, monkeypatch):
    monkeypatch.setattr("mae_bench.datasets.miniworld.world._CHUNK", 7)
    again = build_tiny(tmp_path / "again", processes=2)
    assert again["sha256"] == content_hash(world)


def test_another_seed_gives_other_files(world, tmp_path):
    assert build_tiny(tmp_path / "other", seed=1)["sha256"] != content_hash(world)


def test_a_smaller_world_is_the_beginning_of_a_larger_one(world, tmp_path):
    size = MiniWorldSize(10, 10, 10, (10,), 5, 5)
    build_tiny(tmp_path / "small", size=size)
    for path in (tmp_path / "small" / "imagenet" / "train").rglob("*.JPEG"):
        twin = world / path.relative_to(tmp_path / "small")
        assert path.read_bytes() == twin.read_bytes()


def test_built_once(world, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*")}
    monkeypatch.setattr(layouts, "run", None)  # building again would fail
    assert build_tiny(world) == json.loads((world / "dataset.json").read_text())
    assert {p: p.stat().st_mtime_ns for p in world.rglob("*")} == before


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("harm", ["cut", "lost", "new", "renamed"])
def test_a_damaged_world_is_not_taken_for_a_whole_one(world, tmp_path, harm, old):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    description = json.loads((copy / "dataset.json").read_text())
    if old:  # as described by a version that kept no sizes
        del description["sizes"]
        (copy / "dataset.json").write_text(json.dumps(description))
    assert build_tiny(copy) == description
    picture = sorted((copy / "imagenet/val").rglob("*.JPEG"))[3]
    if harm == "cut":
        picture.write_bytes(picture.read_bytes()[:-1])
    elif harm == "lost":
        picture.unlink()
    elif harm == "new":
        shutil.copy(picture, picture.with_name("new.JPEG"))
    else:
        picture.rename(picture.with_name("new.JPEG"))
    with pytest.raises(ValueError, match=r"copy: files are missing, new or of another size than"):
        build_tiny(copy)


def test_content_hash_sees_contents_and_names(world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    assert content_hash(copy) == content_hash(world)
    meta = copy / "imagenet" / "meta"
    (meta / "val.txt").rename(meta / "test.txt")
    assert content_hash(copy) != content_hash(world)
    (meta / "test.txt").rename(meta / "val.txt")
    (meta / "val.txt").write_text("other")
    assert content_hash(copy) != content_hash(world)


def test_digits_of_the_splits_differ_in_content(world):
    train, val = (scenes.load_sources(split) for split in scenes.SPLITS)
    assert sorted([*train.digit_ids, *val.digit_ids]) == list(range(1797))
    contents = [{digit.tobytes() for digit in s.digits} for s in (train, val)]
    # No picture occurs twice in scikit-learn's set, which a split by position relies on.
    assert len(contents[0]) + len(contents[1]) == 1797
    assert not contents[0] & contents[1]
    for sources in (train, val):
        assert set(sources.labels) == set(range(10))


def test_every_picture_is_made_from_the_digits_of_its_split(tmp_path, monkeypatch):
    used: set[bytes] = set()
    original = scenes.SceneComposer.digit

    def spy(composer, index, side):
        used.add(composer.sources.digits[index].tobytes())
        return original(composer, index, side)

    monkeypatch.setattr(scenes.SceneComposer, "digit", spy)
    found = {}
    layouts.make_folders(tmp_path)
    for split in scenes.SPLITS:
        used.clear()
        for kind in ("pictures", "scenes"):
            layouts.run(layouts.Job(tmp_path, 0, TINY, kind, split, 0, 150))
        found[split] = set(used)
    assert all(len(digits) > 150 for digits in found.values())
    assert not found["train"] & found["val"]


def test_photograph_regions_do_not_touch():
    train, val = (scenes.load_sources(split) for split in scenes.SPLITS)
    for name, left, right, a, b in zip(
        scenes.PHOTOGRAPHS,
        train.photographs,
        val.photographs,
        train.columns,
        val.columns,
        strict=True,
    ):
        whole = scenes._photograph(name)
        assert 0 == a[0] < a[1] < b[0] < b[1] == whole.shape[1], name
        np.testing.assert_array_equal(left, whole[:, slice(*a)])
        np.testing.assert_array_equal(right, whole[:, slice(*b)])
        # A background never has to be enlarged.
        smallest = max(layouts.SCENE_SIZE, layouts.TRAIN_SIZE, layouts.VAL_SIZE)
        assert min(*left.shape[:2], *right.shape[:2]) >= smallest, name


@pytest.mark.parametrize(("split", "own_channel"), [("train", 0), ("val", 2)])
def test_every_background_lies_in_the_region_of_its_split(
    split, own_channel, tmp_path, monkeypatch
):
    """With photographs red on the left, blue on the right and green between, colour tells."""

    def marked(name):
        photograph = np.zeros((300, 400, 3), np.uint8)
        photograph[..., 1] = 250
        photograph[:, : int(scenes.TRAIN_SHARE * 400)] = (250, 0, 0)
        photograph[:, int(scenes.VAL_START * 400) :] = (0, 0, 250)
        return photograph

    composed = []
    original = scenes.SceneComposer.compose

    def spy(composer, *arguments):
        composed.append(original(composer, *arguments))
        return composed[-1]

    monkeypatch.setattr(scenes, "_photograph", marked)
    monkeypatch.setattr(layouts, "_sources", functools.cache(scenes.load_sources))
    monkeypatch.setattr(scenes.SceneComposer, "compose", spy)
    layouts.make_folders(tmp_path)
    for kind in ("pictures", "scenes"):
        layouts.run(layouts.Job(tmp_path, 0, TINY, kind, split, 0, 60))
    assert len(composed) == 120
    for image, objects in composed:
        digits = np.logical_or.reduce([thing.mask for thing in objects])
        # A digit's soft rim reaches beyond its mask, by two pixels of its 8 x 8 original.
        background = image[~ndimage.binary_dilation(digits, np.ones((3, 3)), iterations=6)]
        assert len(background)
        # Lightened backgrounds have the same white in every channel.
        own, others = background[:, own_channel], np.delete(background, own_channel, axis=1)
        assert (own > others.max(axis=1)).all()
        assert np.ptp(others, axis=1).max() <= 1  # rounding


def test_half_of_the_scenes_are_dark_on_light(world):
    scene = scenes.SceneComposer(scenes.load_sources("train"), np.random.default_rng(0))
    brighter = []
    for label in [*range(10)] * 10:
        image, (digit,) = scene.compose(32, [label], (16, 22))
        grey = image.mean(axis=2)
        brighter.append(grey[digit.mask].mean() - np.median(grey[~digit.mask]))
    assert 35 <= sum(difference > 20 for difference in brighter) <= 65
    assert 35 <= sum(difference < -20 for difference in brighter) <= 65
    # None is of neither kind: a digit must be visible.
    assert min(map(abs, brighter)) > 20


def test_lists_are_balanced_and_nested(world):
    meta = world / "imagenet" / "meta"
    lists = {p.stem: p.read_text().splitlines() for p in meta.iterdir()}
    assert {name: len(lines) for name, lines in lists.items()} == {
        "train": 30,
        "val": 20,
        "train_10": 10,
        "train_20": 20,
    }
    assert set(lists["train_10"]) < set(lists["train_20"]) < set(lists["train"])
    for name, lines in lists.items():
        paths, labels = zip(*(line.split(" ") for line in lines), strict=True)
        assert np.bincount(np.array(labels, int)).tolist() == [len(lines) // 10] * 10
        split = name.split("_")[0]
        for path, label in zip(paths, labels, strict=True):
            assert Path(path).parent.name == f"digit_{label}"
            assert (world / "imagenet" / split / path).is_file()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"precious.txt": "mine"}, r"is not MiniWorld \(no dataset.json\); nothing was written"),
        ({"dataset.json": "{"}, "is not readable JSON"),
        ({"dataset.json": '{"name": "COCO"}'}, "is not MiniWorld's"),
        ({"dataset.json": "[1]"}, "is not MiniWorld's"),
        ({"dataset.json": '{"name": "MiniWorld", "version": 0}'}, "version 0 instead of"),
    ],
)
def test_other_folders_are_left_alone(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        build_tiny(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == files


def test_other_settings_are_an_error(world):
    with pytest.raises(ValueError, match="other settings.*seed 0 instead of 3"):
        build_tiny(world, seed=3)


def test_a_file_at_the_root_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is not MiniWorld"):
        build_tiny(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_root_is_filled(world, tmp_path):
    assert build_tiny(tmp_path)["sha256"] == content_hash(world)


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(layouts, "write_lists", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_tiny(tmp_path / "world")
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_builders_wins(world, tmp_path, monkeypatch):
    write_lists = layouts.write_lists

    def overtaken(root, size):
        write_lists(root, size)
        shutil.copytree(world, tmp_path / "world")

    monkeypatch.setattr(layouts, "write_lists", overtaken)
    found = build_tiny(tmp_path / "world")
    assert found == json.loads((world / "dataset.json").read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["world"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_images": 15}, "train_images: 15 is not a positive multiple of the 10 classes"),
        ({"val_images": 0}, "val_images: 0 is not a positive multiple"),
        ({"corrupted_images": 2_000}, "corrupted_images: 2000 pictures of 1000"),
        ({"train_lists": (25,)}, "train_lists: 25 is not a positive multiple"),
        ({"train_lists": (20_000,)}, "train_lists: 20000 pictures of 10000"),
        ({"val_scenes": 0}, "val_scenes=0 must be at least 1"),
    ],
)
def test_sizes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        MiniWorldSize(**arguments)


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"processes": 0}])
def test_arguments_out_of_range(arguments, tmp_path):
    with pytest.raises(ValueError, match="must be 0 or more"):
        build_tiny(tmp_path / "world", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_one_flipped_bit_is_seen_before_a_record_names_the_data(
    world, tmp_path, monkeypatch, capsys
):
    root = shutil.copytree(world, tmp_path / "world")
    check_contents(root / "imagenet")
    check_contents(tmp_path)  # no world
    path = next(root.rglob("*.JPEG"))
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"world: its files are not those that were built"):
        check_contents(root / "imagenet")
    # nor does the command show the old hash
    monkeypatch.setattr(make_miniworld, "build", build_tiny)
    monkeypatch.setattr("sys.argv", ["make_miniworld", str(root)])
    assert make_miniworld.main() == 1
    assert "its files are not those that were built" in capsys.readouterr().err
