"""Archives as published, made small, become what recipes read; a malicious one writes nothing."""

import errno
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import yaml

from mae_bench.datasets import preparing
from mae_bench.datasets.image_folders import ImageNet1K
from mae_bench.datasets.imagenet_variants import imagenet_classes
from mae_bench.datasets.preparing import prepare, published_sets, safe_name
from mae_bench.datasets.robustness_sets import FOLDERS
from mae_bench.files import DiskFull

from ..checkpoint.web import serve
from .test_archives import below, pack

ROOT = Path(__file__).parents[2]
IDS = imagenet_classes()


@pytest.fixture
def sets(tmp_path, monkeypatch) -> dict:
    """The published sets, without the checksums of their archives."""
    known = published_sets()
    for entry in known.values():
        for how in entry["archives"].values():
            how.pop("md5", None)
    monkeypatch.setattr(preparing, "published_sets", lambda: known)
    return known


def image(value: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def imagenet(tmp_path) -> Path:
    """Its three archives, of three classes."""
    folder = tmp_path / "archives"
    inner = []
    for label in (0, 7, 999):
        files = [(f"{IDS[label]}_{i}.JPEG", image(label % 250 + i)) for i in range(2)]
        packed = pack(tmp_path / "inner.tar", files)
        inner.append((f"{IDS[label]}.tar", packed.read_bytes()))
    pack(folder / "ILSVRC2012_img_train.tar", inner)
    names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in (1, 2, 3)]
    pack(folder / "ILSVRC2012_img_val.tar", [(n, image(i)) for i, n in enumerate(names)])
    table = np.array(
        [(1, IDS[7]), (2, IDS[0]), (3, IDS[999])],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")],
    )
    matlab = io.BytesIO()
    scipy.io.savemat(matlab, {"synsets": table})
    truth = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    kit = [("ILSVRC2012_devkit_t12/data/meta.mat", matlab.getvalue()), (truth, b"2\n3\n1\n")]
    pack(folder / "ILSVRC2012_devkit_t12.tar.gz", kit, "w:gz")
    return folder


def shown(folder: Path) -> list[str]:
    return [name for name, _ in below(folder) if not name.startswith(("devkit", ".prepared"))]


EXPECTED = [
    f"train/{IDS[label]}/{IDS[label]}_{i}.JPEG" for label in (0, 7, 999) for i in range(2)
] + [f"val/{IDS[label]}/ILSVRC2012_val_{i:08}.JPEG" for label, i in ((0, 1), (7, 3), (999, 2))]


def test_imagenet(sets, imagenet, tmp_path):
    folder = prepare("imagenet", imagenet, tmp_path / "data")
    assert shown(folder) == EXPECTED
    for split, labels in (("train", [0, 0, 7, 7, 999, 999]), ("val", [0, 7, 999])):
        dataset = ImageNet1K(data_root=str(folder), split=split, pipeline=[])
        assert [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))] == labels
    said = []
    for path in imagenet.iterdir():
        path.unlink()
    prepare("imagenet", imagenet, tmp_path / "data", said.append)
    assert len(said) == 3 and all("unpacked already" in line for line in said)


def test_killed_anywhere_it_goes_on_and_shows_no_half_set(sets, imagenet, tmp_path, monkeypatch):
    write = preparing._write_bytes
    for kill_at in range(0, 13, 2):
        root = tmp_path / f"data{kill_at}"
        written: list[Path] = []

        def count(path, content, written=written, kill_at=kill_at):
            if len(written) == kill_at:
                path.with_name(f".{path.name}.part").parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.part").write_bytes(content[:5])
                raise KeyboardInterrupt
            written.append(path)
            write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(preparing, "WRITERS", 1)
            patch.setattr(preparing, "_write_bytes", count)
            try:
                prepare("imagenet", imagenet, root)
            except KeyboardInterrupt:
                # what is under its name is whole
                train = list((root / "imagenet/train").rglob("*.JPEG"))
                assert len(train) in (0, 6)
        again: list[Path] = []

        def note(path, content, again=again):
            again.append(path)
            write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(preparing, "_write_bytes", note)
            folder = prepare("imagenet", imagenet, root)
        assert shown(folder) == EXPECTED
        assert not {p.name for p in written} & {p.name for p in again}  # nothing twice
        assert not list(folder.rglob("*.part"))


@pytest.mark.faults
def test_a_full_disk_is_named_and_goes_on_once_there_is_room(sets, imagenet, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")  # as of a write: no file is named

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_write_bytes", full)
        with pytest.raises(DiskFull, match=r"imagenet: the disk is full, what is in ILSVRC2012"):
            prepare("imagenet", imagenet, tmp_path / "data")
    assert shown(prepare("imagenet", imagenet, tmp_path / "data")) == EXPECTED


@pytest.mark.parametrize("name", [n for n, e in published_sets().items() if "config" in e])
def test_a_set_lies_where_its_recipe_looks(name):
    """The folders of the recipe are those that the archives give."""
    from mae_bench.config.load import load_config

    entry = published_sets()[name]
    cfg = load_config(ROOT / entry["config"])
    given = {target for how in entry["archives"].values() for target in how.get("gives", ())}
    if "set" in entry:
        found = cfg.test_dataloader.dataset
        place = Path(found.data_root, FOLDERS[entry["set"]])
        assert place in {Path("data", entry["folder"], target) for target in given or {""}}
        return
    assert given == set(entry["linked"])
    for loader in ("train_dataloader", "val_dataloader"):
        dataset = cfg[loader].dataset
        folder = Path("data", entry["folder"])
        wanted = [dataset.get("split"), dataset.get("ann_file"), dataset.get("data_prefix")]
        for place in wanted:
            for part in place.values() if hasattr(place, "values") else [place]:
                path = Path(dataset.data_root, part or "").relative_to(folder)
                tops = {path, *path.parents} | {folder / "x"}
                assert not part or any(Path(target) in tops for target in given), (part, given)


def test_every_set_is_on_the_page():
    page = (ROOT / "docs/data_sets.md").read_text()
    for name, entry in published_sets().items():
        for text in (f"`{name}`", entry["page"], entry["licence"], entry["size"]):
            assert text in page, (name, text)
        for archive in entry["archives"]:
            assert f"`{archive}`" in page, archive


def test_what_lies_in_another_layout_is_linked(sets, imagenet, tmp_path):
    said: list[str] = []
    kaggle = tmp_path / "archives/ILSVRC/Data/CLS-LOC/train" / IDS[3]
    kaggle.mkdir(parents=True)
    (kaggle / "a.JPEG").write_bytes(image(3))
    (imagenet / "ILSVRC2012_img_train.tar").unlink()
    folder = prepare("imagenet", imagenet, tmp_path / "data", said.append)
    assert (folder / "train").is_symlink() and (folder / "train" / IDS[3] / "a.JPEG").is_file()
    assert len(list((folder / "val").rglob("*.JPEG"))) == 3
    assert any("ILSVRC2012_img_train.tar: not needed" in line for line in said)


def test_zip_flat_files_and_several_archives_of_one_folder(sets, tmp_path):
    archives = tmp_path / "archives"
    archives.mkdir()
    with zipfile.ZipFile(archives / "train_val2017.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("train_val2017/train2017.json", "{}")
        packed.writestr("train_val2017/val2017.json", "[]")
    images = [("train_val_images/Aves/a/1.jpg", image(1))]
    pack(archives / "train_val_images.tar.gz", images, "w:gz")
    folder = prepare("inat2017", archives, tmp_path / "data")
    assert shown(folder) == ["train2017.json", "train_val_images/Aves/a/1.jpg", "val2017.json"]
    for part, corruption in (
        ("blur", "zoom_blur"),
        ("digital", "contrast"),
        ("noise", "shot_noise"),
        ("weather", "fog"),
    ):
        pack(archives / f"{part}.tar", [(f"{corruption}/1/{IDS[0]}/a.JPEG", image(0))])
    folder = prepare("imagenet-c", archives, tmp_path / "data")
    assert len(shown(folder)) == 4 and f"fog/1/{IDS[0]}/a.JPEG" in shown(folder)


def evil(name: str, **settings) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        for key, value in settings.items():
            setattr(entry, key, value)
        tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (evil("../outside.txt", size=3), "leads out of the folder"),
        (evil("/tmp/outside.txt", size=3), "leads out of the folder"),
        (evil("imagenet-a/../../outside.txt", size=3), "leads out of the folder"),
        (evil("imagenet-a/x", type=tarfile.SYMTYPE, linkname="/etc"), "is a link or device"),
        (evil("imagenet-a/x", type=tarfile.LNKTYPE, linkname="../x"), "is a link or device"),
        (evil("imagenet-a/x", type=tarfile.FIFOTYPE), "is a link or device"),
        (evil(".prepared/imagenet-a.tar", size=3), "is a name of ours"),
        (evil("imagenet-a/x.JPEG", size=2000)[:1024], "cut off"),
        (b"<html>not found</html>", "cut off or damaged"),
        (b"", "cut off or damaged"),
    ],
)
def test_archives_that_are_not_what_they_should_be(sets, tmp_path, content, message):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/imagenet-a.tar").write_bytes(content)
    with pytest.raises(ValueError, match=rf"imagenet-a.tar.*{message}"):
        prepare("imagenet-a", tmp_path / "archives", tmp_path / "data")
    assert not (tmp_path / "data/imagenet-a").exists()
    assert not list(tmp_path.rglob("outside.txt")) and not Path("/tmp/outside.txt").exists()


def test_a_bomb(sets, tmp_path):
    (tmp_path / "archives").mkdir()
    path = tmp_path / "archives/ADEChallengeData2016.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("ADEChallengeData2016/a.png", b"\0" * 10_000_000)
    with pytest.raises(ValueError, match="more than 100 times its size"):
        prepare("ade20k", tmp_path / "archives", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.png"))


def test_a_truncated_compressed_archive(sets, tmp_path):
    path = pack(tmp_path / "a/train_val2018.tar.gz", [("train_val2018/a.jpg", image(1))], "w:gz")
    for name in ("train2018", "val2018"):
        pack(tmp_path / f"a/{name}.json.tar.gz", [(f"{name}.json", b"{}")], "w:gz")
    path.write_bytes(path.read_bytes()[:-8])  # its checksum
    with pytest.raises(ValueError, match="train_val2018.tar.gz: is cut off or damaged"):
        prepare("inat2018", tmp_path / "a", tmp_path / "data")
    assert not (tmp_path / "data/inat2018/train_val2018").exists()


def test_names():
    assert safe_name("./a/b.jpg", Path("x.tar")) == "a/b.jpg"
    for name in ("", "..", "a/../../b", "/a", "C:/a", "a\\b"):
        with pytest.raises(ValueError, match=r"x\.tar: .* leads out"):
            safe_name(name, Path("x.tar"))


@pytest.mark.parametrize("checksum", [True, False])
def test_a_download_goes_on_where_it_stopped(sets, tmp_path, monkeypatch, checksum):
    """A tar without a checksum starts anew: nothing would tell that its parts fit."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 2)
    content = pack(tmp_path / "imagenet-a.tar", [(f"imagenet-a/{IDS[1]}/a.jpg", image(1))])
    content = content.read_bytes()
    how = sets["imagenet-a"]["archives"]["imagenet-a.tar"]
    how["md5"] = hashlib.md5(content).hexdigest()
    if not checksum:
        del how["md5"]
    part = tmp_path / "archives/.imagenet-a.tar.part"
    part.parent.mkdir()
    part.write_bytes(content[:700])  # of a process that was killed
    with serve() as web:
        web.files["/imagenet-a.tar"] = content
        how["url"] = f"{web.address}/imagenet-a.tar"
        folder = prepare("imagenet-a", part.parent, tmp_path / "data", download=True)
        ranges = [asked[2] for asked in web.asked if asked[0] == "GET"]
    assert ranges == (["bytes=700-"] if checksum else [None])
    assert (folder / "imagenet-a" / IDS[1] / "a.jpg").read_bytes() == image(1)
    assert not part.exists()


def test_a_download_of_something_else_is_not_kept(sets, tmp_path):
    with serve() as web:
        web.files["/imagenet-a.tar"] = b"<html>"
        how = sets["imagenet-a"]["archives"]["imagenet-a.tar"]
        how["url"], how["md5"] = f"{web.address}/imagenet-a.tar", "0" * 32
        with pytest.raises(ValueError, match="its MD5 is .* the published archive has 0000"):
            prepare("imagenet-a", tmp_path / "archives", tmp_path / "data", download=True)
    assert [path.name for path in (tmp_path / "archives").iterdir()] == [".imagenet-a.tar.lock"]


def test_download_checksum_and_space(sets, tmp_path, monkeypatch):
    served = tmp_path / "served"
    archive = pack(served / "imagenet-a.tar", [(f"imagenet-a/{IDS[1]}/a.jpg", image(1))])
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *a: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    how = sets["imagenet-a"]["archives"]["imagenet-a.tar"]
    how["url"] = f"http://127.0.0.1:{server.server_port}/imagenet-a.tar"
    how["md5"] = hashlib.md5(archive.read_bytes()).hexdigest()
    try:
        with pytest.raises(FileNotFoundError, match=r"no such archive; get it from https://github"):
            prepare("imagenet-a", tmp_path / "empty", tmp_path / "data")
        folder = prepare("imagenet-a", tmp_path / "empty", tmp_path / "data", download=True)
        assert (folder / "imagenet-a" / IDS[1] / "a.jpg").read_bytes() == image(1)
        how["md5"] = "0" * 32
        with pytest.raises(ValueError, match="its MD5 is .* the published archive has 0000"):
            prepare("imagenet-a", tmp_path / "empty", tmp_path / "other")
        how["url"] += "x"
        with pytest.raises(ValueError, match="imagenet-a.tarx: cannot be downloaded"):
            prepare("imagenet-a", tmp_path / "none", tmp_path / "other", download=True)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(FileNotFoundError, match="its owner has no public address: get it from"):
        prepare("imagenet-sketch", tmp_path / "none", tmp_path / "other", download=True)
    full = SimpleNamespace(free=10)
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda path: full)
    with pytest.raises(ValueError, match=r"0.0 GB are free, imagenet-a.tar has 0.0 GB"):
        prepare("imagenet-a", tmp_path / "empty", tmp_path / "other")
    with pytest.raises(ValueError, match="no data set 'mnist': there are imagenet, coco"):
        prepare("mnist", tmp_path, tmp_path)


def test_the_file_is_sound():
    text = preparing.SETS_FILE.read_text()
    for name, entry in yaml.safe_load(text).items():
        for file, how in entry["archives"].items():
            assert len(how.get("md5", "0" * 32)) == 32, (name, file)
            assert how.get("url", file).endswith(file)
