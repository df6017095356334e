"""Whether a file still holds what was written: by a digest inside it, or its maker's record.

Neither safetensors nor ``torch.load`` would notice a flipped bit in a weight.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..run_folder import RECORD_NAME, stated_sum

DIGEST_KEY = "digest"
BLANK = "0" * 64  # stands in the place of the digest while that is computed
_FOLDER = 0x10  # among the attributes of a ZIP's entry, as MS-DOS had them
# Before the digest, in metadata that are JSON in the JSON of the header.
_MARK = rf"\"{DIGEST_KEY}\": \"".encode()
AGAIN = "it was damaged or changed after it was written; copy it again, or write it anew"


def seal(content: bytes) -> Sequence[bytes | memoryview]:
    """Write the digest into a safetensors file whose metadata have ``BLANK`` for it.

    Args:
        content: of the whole file.

    Returns:
        pieces of the sealed file, in order; nothing of the content is copied.
    """
    view = memoryview(content)
    start = content.index(_MARK + BLANK.encode()) + len(_MARK)
    digest = hashlib.sha256(view).hexdigest().encode()
    return view[:start], digest, view[start + len(BLANK) :]


def check_seal(path: Path, metadata: str) -> None:
    """Compare a safetensors file with the digest in its metadata, and with its maker's record.

    Args:
        path: of the file.
        metadata: our block of the file's metadata, JSON; one without a digest is of an earlier
            version.

    Raises:
        ValueError: another content.
    """
    values = json.loads(metadata)
    stated = values.get(DIGEST_KEY) if isinstance(values, dict) else None
    recorded = stated_sum(path)
    if stated is None and recorded is None:
        return
    blanked, plain = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(int.from_bytes(start, "little"))
        plain.update(start)
        blanked.update(start.replace(_MARK + str(stated).encode(), _MARK + BLANK.encode(), 1))
        while chunk := file.read(1 << 20):
            if stated is not None:
                blanked.update(chunk)
            if recorded is not None:
                plain.update(chunk)
    if stated is not None and blanked.hexdigest() != stated:
        raise ValueError(f"{path}: its content does not fit the digest in it: {AGAIN}")
    if recorded is not None and plain.hexdigest() != recorded:
        raise ValueError(
            f"{path}: is not the file that {RECORD_NAME} beside it says its run left "
            f"(SHA-256 {recorded[:12]}…): {AGAIN}, or move it to another folder"
        )


def archive_damage(path: Path) -> str | None:
    """What is wrong with a ZIP archive, such as ``torch.save`` writes, by the checksum of each
    part; None if nothing.

    Of a part that calls itself a folder PyTorch reads nothing, and gives whatever is in memory.
    """
    try:
        with zipfile.ZipFile(path) as file:
            for entry in file.infolist():
                if entry.external_attr & _FOLDER and not entry.is_dir():
                    return f"{entry.filename} is marked as a folder"
            part = file.testzip()
    except Exception as error:  # a damaged archive can fail in any way
        return str(error) or type(error).__name__
    return part and f"the checksum of {part} is wrong"
