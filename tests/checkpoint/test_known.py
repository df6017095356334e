"""Checkpoints by name: the list, the folder, and fetching from a server on this machine."""

import hashlib
import io
import re
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from timm.models.vision_transformer import VisionTransformer as TimmViT

from mae_bench.checkpoint import known
from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.checkpoint.known import (
    Known,
    describe_missing,
    fetch_known,
    known_checkpoints,
    known_table,
)
from mae_bench.checkpoint.locate_checkpoint import find_here, push
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.cli.run_suite import fetch
from mae_bench.files import DiskFull
from mae_bench.suite.plan import Plan
from mae_bench.text import PlainConsole

from .test_adapters_files import foreign_tensors
from .web import COMMIT, serve


@pytest.fixture
def web(monkeypatch, tmp_path):
    """The server, and the hub's library told to ask it and to keep a cache of its own."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


def saved(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def mae(web) -> tuple[Known, bytes]:
    """A checkpoint of the server, of the size of a test, with a hash as published ones have."""
    content = saved({"model": foreign_tensors("official_mae")})
    web.files["/mae/tiny.pth"] = content
    entry = replace(
        known_checkpoints()["mae:vit_base"],
        address=f"{web.address}/mae/tiny.pth",
        hash="md5:" + hashlib.md5(content).hexdigest()[:6],
    )
    return entry, content


def test_the_list_is_complete():
    for entry in known_checkpoints().values():
        assert re.fullmatch(r"[a-z0-9_]+:[a-z0-9_]+", entry.name)
        assert entry.format in ADAPTERS
        assert entry.address.startswith("https://") and entry.source and entry.method
        if entry.hash:
            algorithm, start = entry.hash.split(":")
            assert algorithm in ("md5", "sha256") and re.fullmatch("[0-9a-f]{6,64}", start)
            if algorithm == "sha256":  # torch.hub's and OpenMMLab's file names end in it
                assert f"-{start}." in entry.file_name
    files = [entry.file_name for entry in known_checkpoints().values()]
    assert len(set(files)) == len(files)


def test_the_list_in_the_docs_is_fresh():
    page = Path(__file__).parents[2] / "docs/checkpoints.md"
    assert known_table() in page.read_text(), "put the text of known_table() into the page"


def test_sizes_are_those_of_the_models():
    """About 4 bytes for each value of timm's model."""
    widths = {"base": (768, 12, 16), "large": (1024, 24, 16), "huge": (1280, 32, 14)}
    for size, (width, depth, patch) in widths.items():
        with torch.device("meta"):
            model = TimmViT(embed_dim=width, depth=depth, num_heads=16, patch_size=patch)
        values = sum(tensor.numel() for tensor in model.state_dict().values())
        finetuned = known_checkpoints()[f"mae:vit_{size}_finetuned"]
        assert finetuned.megabytes == pytest.approx(4e-6 * values, abs=1)
        head = 1000 * (width + 1)
        encoder = known_checkpoints()[f"mae:vit_{size}"]
        assert encoder.megabytes == pytest.approx(4e-6 * (values - head), abs=1)


def test_fetched_once_checked_and_found_again(mae, web, tmp_path):
    entry, content = mae
    path = fetch_known(entry)
    assert path == Path("checkpoints/tiny.pth") and path.read_bytes() == content
    assert fetch_known(entry) == path
    assert len([one for one in web.asked if one[0] == "GET"]) == 1
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".part")] == []


def test_another_folder(mae, monkeypatch, tmp_path):
    monkeypatch.setenv("MAE_BENCH_CHECKPOINTS", str(tmp_path / "shared"))
    assert fetch_known(mae[0]) == tmp_path / "shared/tiny.pth"


def test_a_broken_line_goes_on_where_it_stopped(mae, web, monkeypatch):
    entry, content = mae
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    web.cut = 1000
    with suppress(FileNotFoundError):  # huggingface_hub 1 and later go on by themselves
        fetch_known(entry)
    path = fetch_known(entry)
    assert path.read_bytes() == content
    assert ("GET", "/mae/tiny.pth", "bytes=1000-") in web.asked
    path.unlink()
    path.with_name(".tiny.pth.part").write_bytes(content)
    assert fetch_known(entry).read_bytes() == content


def test_without_a_published_hash_nothing_is_continued(mae, web):
    entry, content = mae
    path = fetch_known(replace(entry, hash=None))
    path.unlink()
    path.with_name(".tiny.pth.part").write_bytes(b"something else")
    assert fetch_known(replace(entry, hash=None)).read_bytes() == content


def test_what_is_not_the_published_file_is_refused(mae, web):
    entry, content = mae
    web.files["/mae/tiny.pth"] = content[:-1] + b"x"
    with pytest.raises(ValueError, match=r"tiny\.pth: what came has not the published hash md5:"):
        fetch_known(entry)
    assert not [p for p in Path("checkpoints").iterdir() if not p.name.endswith(".lock")]
    Path("checkpoints/tiny.pth").write_bytes(b"own file")
    with pytest.raises(ValueError, match=r"is not mae:vit_base, whose hash begins with md5:"):
        fetch_known(entry)
    assert Path("checkpoints/tiny.pth").read_bytes() == b"own file"


def test_without_a_network_it_says_what_to_put_where(mae, web, monkeypatch):
    entry, _ = mae
    message = (
        r"checkpoints/tiny\.pth: not there.*cannot be had.*put the file \(about 343 MB\) there"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=message):
        fetch_known(entry)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(FileNotFoundError, match=message):
        fetch_known(replace(entry, address=f"{web.address}/gone/tiny.pth"))


@pytest.mark.faults
def test_a_full_disk_is_not_taken_for_the_network_or_another_hash(mae):
    entry, _ = mae
    entry.file.parent.mkdir(parents=True, exist_ok=True)
    entry.file.with_name(f".{entry.file.name}.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"tiny\.pth\.part: the disk is full"):
        fetch_known(entry)


def test_several_processes_fetch_it_once(mae, web):
    entry, content = mae
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch_known(entry))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and found[0].read_bytes() == content
    assert len([one for one in web.asked if one[0] == "GET"]) == 1


def test_names_and_hashes_say_what_names_of_tensors_cannot(mae, monkeypatch, tmp_path):
    entry, content = mae
    monkeypatch.setattr(known, "known_checkpoints", lambda: {entry.name: entry})
    facts = dict(method="mae", data="ImageNet-1K", epochs=1600, format="official_mae")
    read = read_checkpoint("mae:vit_base")
    assert read.facts == facts | dict(known="mae:vit_base")
    assert read.says_input
    # A file that somebody has fetched, in another folder: known by its hash.
    (tmp_path / "tiny.pth").write_bytes(content)
    assert read_checkpoint(tmp_path / "tiny.pth").facts == read.facts
    # A fork's file of the same name is what its names are like.
    (tmp_path / "tiny.pth").write_bytes(saved({"model": foreign_tensors("official_mae"), "x": 1}))
    facts = read_checkpoint(tmp_path / "tiny.pth").facts
    assert facts["method"] == "as MAE (guessed from names)" and facts["guessed"] == "mae"
    assert "known" not in facts and facts["data"] is None
    with pytest.raises(ValueError, match="mae:vit_bse: no such checkpoint; known are mae:vit_base"):
        read_checkpoint("mae:vit_bse")


def test_what_is_missing_is_said_with_its_size():
    text = describe_missing("mae:vit_large")
    assert text.startswith("checkpoints/mae_pretrain_vit_large.pth (mae:vit_large, about 1,213 MB,")
    assert "size not published" in describe_missing("moco_v3:vit_base")
    assert describe_missing("a/b.pth") == "a/b.pth"


def hub_files(name: str) -> dict[str, bytes]:
    config = b'{"model_type": "vit", "num_attention_heads": 2, "image_size": 32}'
    processor = b'{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    return {
        "pytorch_model.bin": saved(foreign_tensors(name)),
        "config.json": config,
        "preprocessor_config.json": processor,
    }


def test_hub_gives_weights_with_what_lies_beside(web):
    web.repositories["somebody/vit"] = hub_files("hf_vit")
    read = read_checkpoint("hf-hub:somebody/vit")
    assert (read.format, read.num_heads, read.revision) == ("hf_vit", 2, COMMIT)
    assert read.statistics == ([127.5] * 3, [127.5] * 3)
    assert read.facts["revision"] == COMMIT
    assert (
        read.sha256
        == hashlib.sha256(web.repositories["somebody/vit"]["pytorch_model.bin"]).hexdigest()
    )
    # From the cache, without a word to the hub, where the commit is given.
    web.asked.clear()
    assert read_checkpoint(f"hf-hub:somebody/vit@{COMMIT}").sha256 == read.sha256
    assert not [one for one in web.asked if one[0] == "GET"]


def test_a_suite_finds_what_is_here_and_fetches_the_rest(mae, web, monkeypatch, tmp_path):
    entry, _ = mae
    monkeypatch.setattr(known, "known_checkpoints", lambda: {entry.name: entry})
    web.repositories["somebody/vit"] = hub_files("hf_vit")
    names = [entry.name, "hf-hub:somebody/vit", "gone.pth"]
    assert [find_here(name) for name in names] == [None] * 3 and not web.asked
    said = PlainConsole(file=io.StringIO())
    assert fetch(Plan([], absent=names), said) == 2
    assert said.file.getvalue().split() == ["fetching", names[0], "fetching", names[1]]
    web.asked.clear()
    found = [find_here(name) for name in names]
    assert found[0] == entry.file and found[1].name == "pytorch_model.bin" and found[2] is None
    assert find_here(found[1].parent) == found[1]  # a folder of Hugging Face
    assert not web.asked
    entry.file.write_bytes(b"another")
    with pytest.raises(ValueError, match="is not mae:vit_base, whose hash begins with md5:"):
        find_here(entry.name)


def test_a_suite_without_a_network_lists_what_is_missing(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(Plan([], absent=["mae:vit_base", "mae:vit_large"]), PlainConsole()) == 0
    assert "mae_pretrain_vit_base.pth: not there, and it cannot be had" in capfd.readouterr().err


def test_hub_without_the_file_or_the_repository(web):
    web.repositories["somebody/empty"] = {"README.md": b""}
    with pytest.raises(FileNotFoundError, match="somebody/empty: cannot be had: it has none of"):
        read_checkpoint("hf-hub:somebody/empty")
    with pytest.raises(FileNotFoundError, match="hf-hub:no/body: cannot be had"):
        read_checkpoint("hf-hub:no/body")
    with pytest.raises(ValueError, match="hf-hub:vit: is not hf-hub:OWNER/NAME"):
        read_checkpoint("hf-hub:vit")


def test_timm_gives_weights_and_input_statistics(web):
    model = "vit_small_patch16_224.augreg_in21k"
    state = TimmViT(embed_dim=16, depth=2, num_heads=2, img_size=32, patch_size=8).state_dict()
    web.repositories[f"timm/{model}"] = {"pytorch_model.bin": saved(state)}
    read = read_checkpoint(f"timm:{model}")
    assert (read.format, read.revision, read.says_input) == ("timm", COMMIT, True)
    assert read.statistics == ([127.5] * 3, [127.5] * 3)
    for name in ("vit_smal", "vit_small_patch16_224.other"):
        with pytest.raises(ValueError, match=rf"timm:{name}: timm [\d.]+ has no weights of that"):
            read_checkpoint(f"timm:{name}")


def test_pushed_files_come_back(web, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", web.address)  # as the library reads it on import
    path = tmp_path / "c.pth"
    path.write_bytes(saved(foreign_tensors("hf_vit")))
    said = []
    assert push("somebody/mine", path, "# A card", said.append) == COMMIT
    assert said == [f"pushed to {web.address}/somebody/mine/commit/{COMMIT}"]
    assert web.uploads["somebody/mine"]["README.md"] == b"# A card"
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", web.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    web.repositories["somebody/mine"] = web.uploads["somebody/mine"]
    assert (
        read_checkpoint("hf-hub:somebody/mine").sha256
        == hashlib.sha256(path.read_bytes()).hexdigest()
    )
