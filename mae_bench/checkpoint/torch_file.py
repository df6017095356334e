"""Files of ``torch.save``, read as tensors and plain values. Nothing in them is executed."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .limits import check_pickles


class LeftOut:
    """Stands for an object that nobody wants: takes everything, keeps nothing, runs nothing."""

    def __new__(cls, *args: object) -> "LeftOut":
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class PlainDict:
    """Stands for a kind of dictionary: an ordinary one is rebuilt, which keeps its items."""

    def __new__(cls, *args: object) -> Any:
        return OrderedDict()


class PlainList:
    """Stands for a kind of list, in the same way."""

    def __new__(cls, *args: object) -> Any:
        return []


# What training files hold besides tensors and plain containers: settings, log and bookkeeping. The
# names are not looked up; a stand-in is rebuilt, whose arguments are subject to the same check.
HARMLESS: dict[str, type] = {
    # dictionaries, which may hold the model
    r"collections\.defaultdict": PlainDict,
    r"(addict\.addict\.Dict|easydict\.EasyDict|yacs\.config\.CfgNode)": PlainDict,
    r"mmengine\.config\.config\.ConfigDict": PlainDict,
    r"collections\.deque": PlainList,
    # what a default dictionary is made with
    r"builtins\.(dict|list|int|float|str|tuple|slice|range|frozenset)": LeftOut,
    r"argparse\.Namespace|types\.SimpleNamespace": LeftOut,
    r"pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path": LeftOut,
    r"datetime\.(datetime|date|time|timedelta|timezone)": LeftOut,
    r"(decimal\.Decimal|fractions\.Fraction|uuid\.(UUID|SafeUUID))": LeftOut,
    r"typing\.\w+": LeftOut,
    r"(omegaconf|ml_collections|detectron2\.config|fairseq\.dataclass)\.[\w.]+": LeftOut,
    r"(pytorch_lightning|lightning|lightning_fabric)\.[\w.]+": LeftOut,
    r"transformers\.(training_args|trainer_utils|trainer_pt_utils)\.\w+": LeftOut,
    r"mmengine\.(logging\.history_buffer\.HistoryBuffer|config\.\w+\.\w+)": LeftOut,
    r"numpy\.(dtype|ndarray|dtypes\.\w+)": LeftOut,
    r"numpy\._?core\.multiarray\.(_reconstruct|scalar)": LeftOut,
    # MMEngine's log names the methods of its buffers so
    r"builtins\.getattr": LeftOut,
}


def load_torch_file(path: Path, allowed: Sequence[type | tuple[Any, str]] | None = None) -> Any:
    """What ``torch.save`` wrote, if that is tensors, plain containers and what is harmless.

    Args:
        path: the file.
        allowed: classes that are rebuilt as they are, because that runs no code; with a name, what
            is rebuilt in place of the class of that name. None: stand-ins of :data:`HARMLESS`.

    Raises:
        ValueError: anything else in it, which is named, a damaged file, or one with far more
            entries than a checkpoint has.
    """
    names = check_pickles(path)
    if allowed is None:
        allowed = [
            (stand_in, name)
            for name in names
            for pattern, stand_in in HARMLESS.items()
            if re.fullmatch(pattern, name)
        ]
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        # PyTorch writes "GLOBAL name" where a safe pickle needs an allow-list, "global name was"
        # where no list would help.
        refused = re.search(r"global:? (?:GLOBAL )?'?([\w.]+)", str(error), re.IGNORECASE)
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise ValueError(
                f"{path}: holds more than tensors ({refused[1]}), and reading that could run code; "
                "save the model's state_dict() alone"
            ) from None
        raise ValueError(
            f"{path}: truncated, or neither safetensors nor a file of torch.save; fetch it again"
        ) from None
