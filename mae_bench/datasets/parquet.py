"""Images in Parquet files, in the form of Hugging Face's ``datasets``, which reads them.

It writes what is in them into its cache, Arrow files in which each image lies whole at one place.
So an image is one read at a known place, as in an archive, and nothing of the library is needed in
the processes that load.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .archives import Member

LABELS = ("label", "labels", "cls", "class")


@dataclass(frozen=True)
class ParquetImages:
    """What some files hold.

    Attributes:
        members: the images, in the order of the files' rows; without labels, ``label`` is empty.
        classes: names by label where a column of ``ClassLabel`` has them; then labels are numbers.
    """

    members: list[Member]
    classes: tuple[str, ...] | None


def read_parquet(files: Sequence[Path], with_label: bool = True) -> ParquetImages:
    """Images and labels in Parquet files.

    Args:
        files: of one split.
        with_label: whether labels are needed.

    Raises:
        ModuleNotFoundError: ``datasets`` is not installed.
        ValueError: a file is damaged, or it cannot be told which column holds images, or labels.
    """
    table, arrow_files = _load(files)
    where = str(files[0])
    image = _image_column(table, where)
    label, classes = _label_column(table, where) if with_label else (None, None)
    labels = [""] * len(table) if label is None else _labels(table, label, where)
    members: list[Member] = []
    for archive, name, offset, size in _places(arrow_files, image, where):
        row = len(members)
        members.append(Member(name or str(row), archive, offset, size, labels[row]))
    return ParquetImages(members, classes)


def _load(files: Sequence[Path]) -> tuple[Any, list[str]]:
    """The files as a table of ``datasets``, and its cache."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{files[0]}: Parquet files are read by Hugging Face's datasets, and {error.name} is "
            "not installed: pip install 'mae-bench[parquet]'"
        ) from None
    names = [str(path.resolve()) for path in files]
    # The library reads the variable once, when it is imported.
    cache = os.environ.get("HF_DATASETS_CACHE")
    try:
        table = datasets.load_dataset("parquet", data_files=names, split="train", cache_dir=cache)
    except (ValueError, OSError, datasets.exceptions.DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{files[0]}: cannot be read as Parquet ({cause}): get it again") from None
    return table, [entry["filename"] for entry in table.cache_files]


def _image_column(table: Any, where: str) -> str:
    import pyarrow as pa

    fields = list(table.data.schema)
    found = [
        field.name
        for field in fields
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    if len(found) > 1 and "image" in found:
        found = ["image"]
    if len(found) != 1:
        raise ValueError(
            f"{where}: {len(found)} of its columns ({', '.join(f.name for f in fields)}) hold "
            "images, as a struct of bytes and path: one has to, or be called image"
        )
    return found[0]


def _label_column(table: Any, where: str) -> tuple[str, tuple[str, ...] | None]:
    names = {
        column: tuple(feature.names)
        for column, feature in table.features.items()
        if type(feature).__name__ == "ClassLabel"
    }
    called = [name for name in LABELS if name in table.column_names]
    column = called[0] if called else next(iter(names)) if len(names) == 1 else None
    if column is None:
        raise ValueError(
            f"{where}: which of its columns ({', '.join(table.column_names)}) is the label? Call "
            f"it {LABELS[0]}"
        )
    return column, names.get(column)


def _labels(table: Any, column: str, where: str) -> list[str]:
    labels = table.data.column(column).to_pylist()
    for row, label in enumerate(labels):
        if label is None or (isinstance(label, int) and label < 0):
            raise ValueError(f"{where}, row {row}: has no label ({label}): is it a test set?")
    return [str(label) for label in labels]


def _places(files: Sequence[str], column: str, where: str) -> Iterator[tuple[str, str, int, int]]:
    """Cache file, name, offset and size of each image."""
    import pyarrow as pa

    row = 0
    for file in files:
        with pa.memory_map(file) as source:
            base, length = source.read_buffer(1).address, source.size()
            source.seek(0)
            for batch in pa.ipc.open_stream(source):
                images = batch.column(column)
                content = images.field("bytes")
                if content.null_count or images.null_count:
                    raise ValueError(
                        f"{where}, row {row + content.is_null().index(True).as_py()}: has a path "
                        "in place of an image: pack the images themselves"
                    )
                _, ends, data = content.buffers()
                kind = np.int64 if pa.types.is_large_binary(content.type) else np.int32
                first = content.offset
                places = np.frombuffer(ends, kind)[first : first + len(content) + 1].astype(int)
                start = data.address - base
                if not 0 <= start < length:
                    raise ValueError(f"{file}: its columns are compressed: delete it, start again")
                paths = _names(images, len(content))
                for name, at, end in zip(paths, places, places[1:], strict=False):
                    yield file, name, int(start + at), int(end - at)
                row += len(content)


def _names(images: Any, count: int) -> list[str]:
    if images.type.get_field_index("path") < 0:
        return [""] * count
    return [name or "" for name in images.field("path").to_pylist()]
