"""ImageNet-V2 and cue conflicts from their archives to figures, through the commands."""

import io
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from mae_bench.datasets.cue_conflict import CATEGORIES
from mae_bench.results.record import read_record

from ..datasets.test_archives import pack

ROOT = Path(__file__).parents[2]
VARIANTS = {
    "imagenet-v2": ("imagenet_v2", "matched-frequency"),
    "imagenet-v2-threshold": ("imagenet_v2_threshold", "threshold0.7"),
    "imagenet-v2-top": ("imagenet_v2_top", "top-images"),
}
LABELS = (0, 1, 3, 30, 31, 300, 301, 4, 999)  # as text 0, 1, 3, 30, 300, ...
CUES = ("cat1-dog2", "cat2-cat3", "dog1-cat1", "dog2-truck1", "truck1-cat2", "truck2-dog1")
PICTURES = "stimuli/style-transfer-preprocessed-512"


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run a command of tools/ in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        out, err = capfd.readouterr()
        return ended.value.code, out, " ".join(err.split())

    return run


def picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((240, 200), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def variant(name: str, folder: Path) -> Path:
    """The archive of a variant of ImageNet-V2, of a few classes."""
    files = [
        (f"imagenetv2-{name}-format-val/{label}/{number}.jpeg", picture(10 * label + number))
        for label in LABELS
        for number in range(2)
    ]
    return pack(folder / f"imagenetv2-{name}.tar.gz", files, "w:gz")


def repository() -> dict[str, bytes]:
    """Files of texture-vs-shape, below its folder."""
    files = {
        "README.md": b"x",
        "stimuli/edges/cat/cat1.png": picture(1),
        "data/cat1-dog1.csv": b"x",
    }
    for number, name in enumerate(CUES):
        shape = name.rstrip("0123456789").partition("-")[0].rstrip("0123456789")
        files[f"{PICTURES}/{shape}/{name}.png"] = picture(5000 + number)
    return files


@pytest.mark.slow
def test_from_the_archives_to_the_figures(command, tmp_path):
    for _, name in VARIANTS.values():
        variant(name, tmp_path / "got")
    with zipfile.ZipFile(tmp_path / "got/texture-vs-shape-master.zip", "w") as packed:
        for name, content in repository().items():
            packed.writestr(f"texture-vs-shape-master/{name}", content)
    for name, count, published in (
        *((name, 18, "10,000") for name in VARIANTS),
        ("cue-conflict", 6, "1,280"),
    ):
        code, out, err = command("prepare_data.py", name, "--archives", "got", "--root", "sets")
        # read as the recipe reads it, and found whole but for how many there are
        assert code == 1 and "1 problems" in out, out + err
        assert f"sets, {count} images" in out
        assert f"{count} images, the published set has {published}" in out
    unpacked = {path.name for path in Path("sets").iterdir() if not path.name.startswith(".")}
    assert unpacked == {
        "cue-conflict",
        *(f"imagenetv2-{name}-format-val" for _, name in VARIANTS.values()),
    }
    assert {path.name for path in Path("sets/cue-conflict").iterdir()} == {"cat", "dog", "truck"}

    torch.manual_seed(1)
    model = timm.create_model("test_vit.r160_in1k").eval()
    transform = create_transform(
        **resolve_model_data_config(model, use_test_size=True), is_training=False
    )

    def logits(folder: str) -> tuple[list[Path], torch.Tensor]:
        paths = sorted(path for path in Path("sets", folder).rglob("*.*"))
        images = [transform(Image.open(path).convert("RGB")) for path in paths]
        with torch.no_grad():
            return paths, model(torch.stack(images)).double()

    # Each class has a direction of its own: that of its first image, so that half are right.
    first, head = "imagenetv2-matched-frequency-format-val", model.head
    model.reset_classifier(0)
    paths, features = logits(first)
    model.head = head
    centred = features - features.mean(dim=0)
    torch.nn.init.zeros_(head.weight)
    head.bias.data.fill_(-1e4)
    for path, feature in zip(paths, centred, strict=True):
        label = int(path.parent.name)
        if path.stem == "0":
            direction = (feature / feature.norm()).float()
            head.weight.data[label] = direction
            head.bias.data[label] = -direction @ features.mean(dim=0).float()
    for category in ("cat", "dog", "truck"):
        for label in CATEGORIES[category]:
            torch.nn.init.normal_(head.weight.data[label], std=0.1)
            head.bias.data[label] = -head.weight.data[label] @ features.mean(dim=0).float() - 5
    save_file(model.state_dict(), tmp_path / "model.safetensors")

    code, out, err = command(
        "test.py",
        ROOT / "configs/cls/timm_robustness_in1k.py",
        "model.safetensors",
        "--out",
        "record.json",
        "--cfg-options",
        "test_dataloader.num_workers=0",
        "model.model_name=test_vit.r160_in1k",
        "test_dataloader.dataset.data_root=sets",
    )
    assert code == 0, err
    metrics = read_record(Path("record.json")).metrics
    as_text = {label: place for place, label in enumerate(sorted(LABELS, key=str))}
    for metric, name in VARIANTS.values():
        paths, found = logits(f"imagenetv2-{name}-format-val")
        best = found.argmax(dim=1).tolist()
        labels = [int(path.parent.name) for path in paths]
        right = np.mean([one == label for one, label in zip(best, labels, strict=True)])
        assert metrics[f"{metric}/top1"] == pytest.approx(100 * right)
        wrong = np.mean([one == as_text[label] for one, label in zip(best, labels, strict=True)])
        assert right >= 0.5 > wrong

    paths, found = logits("cue-conflict")
    averages = [found.softmax(dim=1)[:, labels].mean(dim=1) for labels in CATEGORIES.values()]
    decided = [list(CATEGORIES)[place] for place in torch.stack(averages).argmax(dim=0)]
    pairs = [
        (one, path.parent.name, path.stem.partition("-")[2][:-1])
        for one, path in zip(decided, paths, strict=True)
    ]
    conflicts = [pair for pair in pairs if pair[1] != pair[2]]
    assert len(conflicts) == 5
    shapes, textures = (sum(pair[0] == pair[i] for pair in conflicts) for i in (1, 2))
    assert 0 < shapes < 5 and 0 < textures < 5
    assert metrics["cue_conflict/shape"] == pytest.approx(20 * shapes)
    assert metrics["cue_conflict/texture"] == pytest.approx(20 * textures)
    assert metrics["cue_conflict/shape_bias"] == pytest.approx(100 * shapes / (shapes + textures))


def test_a_clone_of_the_repository_is_linked(command, tmp_path):
    for name, content in repository().items():
        path = tmp_path / "git/texture-vs-shape" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    code, out, _ = command("prepare_data.py", "cue-conflict", "--archives", "git")
    assert code == 1 and "linked to git/texture-vs-shape/stimuli/style-tr" in out
    assert "6 images, the published set has 1,280" in out and "1 problems" in out


def test_wrong_layouts_name_the_folder_and_the_fix(command, tmp_path):
    folder = "imagenetv2-top-images-format-val"
    code, _, err = command("prepare_data.py", "imagenet-v2-top", "--archives", "got")
    assert code == 2 and "get it from https://github.com/modestyachts/ImageNetV2" in err
    assert f"or unpack it as got/{folder}" in err

    got = variant("threshold0.7", tmp_path / "got")
    got.rename(got.with_name("imagenetv2-top-images.tar.gz"))
    code, _, err = command("prepare_data.py", "imagenet-v2-top", "--archives", "got")
    assert code == 2 and f"top-images.tar.gz: has no {folder} in it, but imagenetv2-thres" in err
    assert not any(path.is_file() for path in Path("data").rglob("*"))

    def checked(name: str, place: str) -> str:
        path = tmp_path / "data" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(1))
        code, out, err = command("prepare_data.py", name)
        assert code == 1 and "1 problems" in out, out + err
        path.unlink()
        while path.parent.name != "data":
            path = path.parent
            path.rmdir()
        return out

    nested = checked("imagenet-v2-top", f"{folder}/{folder}/7/a.jpeg")
    assert f"data/{folder}/{folder}: is no class of this set" in nested
    assert f"move those in it up, into data/{folder}" in nested
    assert "holds no images in class folders: unpack" in checked(
        "imagenet-v2-top", f"{folder}/a.jpeg"
    )
    assert f"data/{folder}/1000: is no class of this set" in checked(
        "imagenet-v2-top", f"{folder}/1000/a.jpeg"
    )
    for place in (f"cue-conflict/{PICTURES}/cat/cat1-dog1.png", "cue-conflict/cat/cat1.png"):
        assert f"data/cue-conflict has to be the folder {PICTURES} of rgeir" in checked(
            "cue-conflict", place
        )
    assert "data/cue-conflict: holds no images in class folders" in checked(
        "cue-conflict", "cue-conflict/cat1-dog1.png"
    )
