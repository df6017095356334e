"""Files made to exhaust memory end in one clear line, with the memory bounded by the system."""

import io
import json
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import VisionTransformer

from .test_adapters_files import BASE, foreign_tensors

MILLION = 1_000_000
ALLOWED_MIB = 256  # address space beyond what the imports take
BOMB_MIB = 320

READER = """
import resource, sys
from mae_bench.checkpoint.reader import read_checkpoint
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[3:]:
    try:
        read_checkpoint(path)
        print("read")
    except ValueError as error:
        print(error)
try:
    bytearray(int(sys.argv[2]) << 20)
except MemoryError:
    print("limited")
"""


def many_names_safetensors(path: Path) -> None:
    entries = (
        f'"t{i}":{{"dtype":"F32","shape":[1],"data_offsets":[{4 * i},{4 * i + 4}]}}'
        for i in range(MILLION)
    )
    header = ("{" + ",".join(entries) + "}").encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * MILLION))


def endless_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 60) + b'{"t":')


MANY_NAMES = pickle.dumps(dict.fromkeys(map(str, range(MILLION))), protocol=2)


def many_names_torch(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c/data.pkl", MANY_NAMES)
        archive.writestr("c/version", "3")


def many_names_old_torch(path: Path) -> None:
    """Magic number, protocol and system as PyTorch writes them, then the content."""
    torch.save({}, path, _use_new_zipfile_serialization=False)
    start = io.BytesIO(path.read_bytes())
    for _ in range(3):
        pickle.load(start)
    path.write_bytes(start.getbuffer()[: start.tell()].tobytes() + MANY_NAMES)


def with_pickle(path: Path, content: bytes) -> None:
    """A file of torch.save with another pickle in it."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(1)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))


def text(value: str) -> bytes:
    """Instruction that pushes a string."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


ENCODE = b"c_codecs\nencode\n"
# {"x": bytearray(2 GiB)}
BYTES_BY_NUMBER = (
    b"\x80\x02}"
    + text("x")
    + b"cbuiltins\nbytearray\n"
    + pickle.dumps(1 << 31, 2)[2:-1]
    + b"\x85Rs."
)


def bytes_by_number(path: Path) -> None:
    with_pickle(path, BYTES_BY_NUMBER)


def bytes_by_number_in_names_of_storages(path: Path) -> None:
    """Old files have a pickle more, after their content."""
    torch.save({"a": torch.ones(7)}, path, _use_new_zipfile_serialization=False)
    start = io.BytesIO(path.read_bytes())
    for _ in range(3):
        pickle.load(start)
    for _ in pickletools.genops(start):
        pass
    path.write_bytes(start.getbuffer()[: start.tell()].tobytes() + BYTES_BY_NUMBER)


def doubled_text(path: Path) -> None:
    """A byte becomes two hexadecimal digits, 31 times."""
    calls = text("aa") + text("latin1") + b"\x86R" + (text("hex") + b"\x86R") * 31
    with_pickle(path, b"\x80\x02}" + text("x") + ENCODE * 32 + calls + b"s.")


def copied_text(path: Path) -> None:
    """A megabyte of text, encoded again and again."""
    first = ENCODE + b"q\0" + text("a" * (1 << 20)) + text("latin1") + b"\x86q\1R"
    with_pickle(path, b"\x80\x02}" + text("x") + b"](" + first + b"h\0h\1R" * 5000 + b"es.")


def endless_key(path: Path) -> None:
    """A key of two keys of two keys: Python would hash 2 ** 60 of them."""
    with_pickle(path, b"\x80\x02})q\0" + b"h\0\x86q\0" * 60 + b"K\1s.")


def converted_values(path: Path) -> None:
    """One value seen as a billion, which a conversion writes out."""
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(1).expand(10**9)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        content = archive.read(name)
    start = content.index(b"ctorch._utils\n_rebuild_tensor_v2")
    end = content.rindex(b"R") + 1  # of the call that makes the tensor
    convert = b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n("
    rest = b"ctorch\nfloat64\n" + text("cpu") + b"\x89tR"
    with_pickle(path, content[:start] + convert + content[start:end] + rest + content[end:])


def many_entries_npz(path: Path) -> None:
    np.savez(path, a=np.ones(1))
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    directory = data[start:end] * MILLION
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)
    path.write_bytes(data[:start] + directory + record)


def bomb_npz(path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": (BOMB_MIB << 20,)}
    )
    write_bomb(path, {"a.npy": buffer.getvalue() + bytes(BOMB_MIB << 20)})


def bomb_torch(path: Path) -> None:
    """A file of torch.save, packed again with the compression that it never uses."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1, dtype=torch.uint8)}, buffer)
    with zipfile.ZipFile(buffer) as old:
        content = {name: old.read(name) for name in old.namelist()}
    write_bomb(path, {n: bytes(BOMB_MIB << 20) if "/data/" in n else c for n, c in content.items()})


def write_bomb(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def expanded_torch(path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**12)}, path)


def huge_claim_npz(path: Path) -> None:
    buffer = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(buffer, shape)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", buffer.getvalue())


def huge_claim_old_torch(path: Path) -> None:
    """The storage's size is written into the pickle: a terabyte that the file does not hold."""
    torch.save({"a": torch.ones(7)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(b"K\x07N") == 1
    path.write_bytes(data.replace(b"K\x07N", pickle.dumps(10**12, 2)[2:-1] + b"N"))


def deep_metadata(path: Path) -> None:
    text = json.dumps({"__metadata__": {"mae_bench": "[" * MILLION}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


HOSTILE = {
    "names.safetensors": (many_names_safetensors, "names far more tensors than a checkpoint has"),
    "endless.safetensors": (endless_header, "truncated"),
    "names.pth": (many_names_torch, "far more objects than a checkpoint has tensors"),
    "names-old.pth": (many_names_old_torch, "far more objects than a checkpoint has tensors"),
    "number.pth": (bytes_by_number, "holds more than tensors (builtins.bytearray)"),
    "number-old.pth": (bytes_by_number_in_names_of_storages, "more than tensors (builtins.bytearr"),
    "doubled.pth": (doubled_text, "which no weights do"),
    "copied.pth": (copied_text, "which no weights do"),
    "key.pth": (endless_key, "which no weights do"),
    "converted.pth": (converted_values, "(torch._utils._rebuild_device_tensor_from_cpu_tensor)"),
    "entries.npz": (many_entries_npz, "far more entries than a checkpoint has tensors"),
    "bomb.npz": (bomb_npz, "which no trained weights do"),
    "bomb.pth": (bomb_torch, "which no trained weights do"),
    "expanded.pth": (expanded_torch, "which no trained weights do"),
    "claim.npz": (huge_claim_npz, "truncated"),
    "claim-old.pth": (huge_claim_old_torch, "truncated"),
    "deep.safetensors": (deep_metadata, "not a JSON object"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set as Linux has it")
def test_hostile_files_end_in_one_line_within_bounded_memory(tmp_path):
    for name, (write, _) in HOSTILE.items():
        write(tmp_path / name)
    paths = [str(tmp_path / name) for name in HOSTILE]
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(ALLOWED_MIB), str(BOMB_MIB), *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.endswith("limited\n"), "a bomb would have fitted"
    lines = [line for line in ended.stdout.splitlines() if str(tmp_path) in line or line == "read"]
    assert len(lines) == len(HOSTILE), ended.stdout[-2000:] + ended.stderr[-2000:]
    for line, path, (_, message) in zip(lines, paths, HOSTILE.values(), strict=True):
        assert line.startswith(f"{path}: ") and message in line, line


@pytest.mark.parametrize(
    ("tensor", "seen"),
    [
        (torch.eye(3).to_sparse(), "float32, not dense"),
        (torch.zeros(3, device="meta"), "float32, not dense"),
        (torch.ones(3).to(torch.float8_e4m3fn), "float8_e4m3fn, dense"),
        (torch.ones(3, dtype=torch.complex64), "complex64, dense"),
    ],
    ids=["sparse", "without data", "8 bits", "complex"],
)
def test_tensors_that_no_model_computes_with(tmp_path, tensor, seen):
    path = tmp_path / "c.pth"
    torch.save({"norm.weight": tensor}, path)
    with pytest.raises(ValueError, match=rf"c\.pth: tensor norm\.weight \({seen}\)"):
        read_checkpoint(path)


def test_a_pipe_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="/dev/zero: is a device or a pipe"):
        read_checkpoint("/dev/zero")


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_tensor_of_any_other_shape_ends_in_one_line(tmp_path, name):
    """Each tensor in turn, in shapes that it never has."""
    tensors = foreign_tensors(name)
    suffix = "npz" if ADAPTERS[name].npz else "pth"
    path = tmp_path / f"c.{suffix}"
    refused = 0
    backbone = VisionTransformer(**BASE)
    for key in tensors:
        if ".1." in key or "_1/" in key:
            continue  # the second block is as the first
        for shape in ((), (3,), (2, 3, 5, 1)):
            changed = tensors | {key: torch.ones(shape)}
            if suffix == "npz":
                np.savez(path, **{k: v.numpy() for k, v in changed.items()})
            else:
                torch.save(changed, path)
            try:
                load_backbone(backbone, path)
            except ValueError as error:
                refused += 1
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            try:
                _ = read_checkpoint(path, adapter=ADAPTERS[name]).imported
            except ValueError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert refused > len(tensors) // 2


def test_training_file_of_mmengine_is_read_without_its_log(tmp_path):
    from mmengine.logging import MessageHub

    hub = MessageHub("hostile-files-test")
    for step in range(3):
        hub.update_scalar("train/loss", float(step))
    hub.update_info("iter", 3)
    path = tmp_path / "epoch_3.pth"
    content = dict(
        meta=dict(epoch=3, iter=9, cfg="model = 1", seed=0, experiment_name="x"),
        state_dict=foreign_tensors("mmpretrain_vit"),
        message_hub=hub.state_dict(),
        optimizer={"state": {}, "param_groups": [{"lr": 1e-3}]},
        param_schedulers=[{"last_step": 3}],
    )
    torch.save(content, path)
    data = path.read_bytes()
    assert b"HistoryBuffer" in data and b"numpy" in data
    assert set(read_checkpoint(path).stored) == set(content["state_dict"])
