"""A checkpoint that is no longer what was written is never used."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mae_bench.checkpoint.format import (
    CheckpointMetadata,
    load_checkpoint,
    save_checkpoint,
)
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.files import sha256_of, write_json_atomic

pytestmark = pytest.mark.faults

METADATA = CheckpointMetadata(
    architecture={"note": '"digest": "' + "0" * 64},  # a text like what is looked for
    img_size=4,
    patch_size=4,
    mean=[127.0],
    std=[60.0],
    method="mae",
    data="noise",
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "c.safetensors"
    generator = torch.Generator().manual_seed(0)
    save_checkpoint(path, {"a": torch.randn(40, generator=generator), "b": torch.ones(3)}, METADATA)
    return path


def flips(content: bytes, chance):
    """The content with one bit changed, a bit of each byte."""
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << chance.randrange(8)
        yield position, bytes(changed)


def test_no_flipped_bit_goes_unnoticed(path, chance, tally):
    content = path.read_bytes()
    tally["flipped bits"] = len(content)
    for position, changed in flips(content, chance):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"c\.safetensors: "):
            load_checkpoint(path)
            pytest.fail(f"byte {position} of {len(content)}")
    path.write_bytes(content)
    assert load_checkpoint(path)[1] == METADATA


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(path):
    with safe_open(path, "pt") as file:
        digest = json.loads(file.metadata()["mae_bench"])["digest"]
    content = path.read_bytes()
    assert content.count(digest.encode()) == 1
    blank = content.replace(digest.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == digest


def test_a_page_of_zeros_is_noticed(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(5000)}, METADATA)
    content = path.read_bytes()
    path.write_bytes(content[:8192] + bytes(4096) + content[12288:])
    with pytest.raises(ValueError, match="does not fit the digest"):
        load_checkpoint(path)


def test_files_of_earlier_versions_have_no_digest_and_are_read(path):
    tensors, metadata = load_checkpoint(path)
    save_file(tensors, path.with_name("old.safetensors"), {"mae_bench": metadata.to_json()})
    assert load_checkpoint(path.with_name("old.safetensors"))[1] == METADATA


def test_another_file_than_the_maker_left_is_refused(path):
    entry = {"file": path.name, "sha256": sha256_of(path)}
    record = path.with_name("record.json")
    write_json_atomic({"exported": {**entry, "kept": [{"file": "k", "sha256": "1"}]}}, record)
    assert load_checkpoint(path)[1] == METADATA
    content = path.read_bytes()
    save_checkpoint(path, {"a": torch.zeros(40)}, METADATA)
    with pytest.raises(ValueError, match=r"is not the file that record\.json beside it says"):
        load_checkpoint(path)
    # one of a kept epoch
    kept = path.with_name("checkpoint_epoch_2.safetensors")
    kept.write_bytes(content)
    kept_entry = {"file": kept.name, "sha256": "f" * 64}
    write_json_atomic({"exported": {**entry, "kept": [kept_entry]}}, record)
    with pytest.raises(ValueError, match=r"epoch_2\.safetensors: is not the file that"):
        load_checkpoint(kept)


@pytest.mark.parametrize(
    "text", ["", "null", "{}", '{"exported": null}', '{"exported": {"file": 1}}', "["]
)
def test_a_record_that_says_nothing_of_the_file_is_no_obstacle(path, text):
    path.with_name("record.json").write_text(text)
    assert load_checkpoint(path)[1] == METADATA


def test_a_weight_that_calls_itself_a_folder_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.arange(30.0)}, path)
    content = bytearray(path.read_bytes())
    name = content.rindex(b"data/0") - len("w/")  # in the directory, after 46 bytes that end so
    assert content[name - 8 : name - 4] == bytes(4)  # attributes, before the place of the part
    content[name - 8] |= 0x10
    path.write_bytes(content)
    with pytest.raises(ValueError, match="w/data/0 is marked as a folder"):
        read_checkpoint(path)


def test_flipped_bits_of_torch_files_change_no_weight(tmp_path, chance, tally):
    path = tmp_path / "w.pth"
    weights = {"a": torch.arange(30.0), "b": torch.arange(4)}
    torch.save(weights, path)
    content = path.read_bytes()
    tally["flipped bits"] = len(content)
    refused = 0
    for position, changed in flips(content, chance):
        path.write_bytes(changed)
        try:
            found = read_checkpoint(path).stored
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
            continue
        assert found.keys() == weights.keys(), position
        assert all(torch.equal(found[name], weights[name]) for name in weights), position
    assert refused > len(content) / 4  # much of so small an archive is padding
