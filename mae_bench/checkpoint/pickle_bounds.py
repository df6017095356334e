"""How much a pickle would rebuild, counted instruction by instruction; none is executed.

PyTorch's reader of tensors calls only what it knows, but among that are functions that allocate or
copy: a few bytes can then ask for any amount of memory, or name a key that takes forever to hash.
"""

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import IO, Any

# Instructions. A pickle needs about 30 for a tensor; each can make an object of some 100 bytes.
MAX_INSTRUCTIONS = 500_000
# Bytes that a called function makes of one character, such as "\U0001f600".
MAX_GROWTH = 10
ITEM = 8  # bytes of a reference in a container
# What PyTorch would call, and what no file needs: one fills memory by number, the other copies a
# tensor that may be one value repeated.
REFUSED = {
    "builtins bytearray",
    "__builtin__ bytearray",
    "torch._utils _rebuild_device_tensor_from_cpu_tensor",
}
GROWING = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
CALLING = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"}
PUTTING = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
GETTING = {"GET", "BINGET", "LONG_BINGET"}


class _Sized:
    """Stands for an object with all that it refers to, repetitions included: text, and the rest."""

    __slots__ = ("rest", "text")

    def __init__(self, text: int, rest: int) -> None:
        self.text, self.rest = text, rest


def python3_name(module: str, name: str) -> str:
    """Dotted name of a class or function, which old pickles may name as Python 2 did."""
    if (module, name) in NAME_MAPPING:
        return ".".join(NAME_MAPPING[module, name])
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def find_excess(stream: IO[bytes], limit: int, names: set[str]) -> str | None:
    """Why the next pickle of a stream is not to be loaded; None where it may be.

    Args:
        stream: left after the pickle, or where it goes too far.
        limit: bytes that one object may have, and all calls together may allocate.
        names: gets the dotted names of the classes and functions that the pickle asks for.

    Raises:
        Exception: any, where the pickle is damaged.
    """
    stack: list[Any] = []  # of _Sized; None is a mark
    memo: dict[int, _Sized] = {}
    allocated = 0
    argument: Any
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if number >= MAX_INSTRUCTIONS:
            return "its pickle rebuilds far more objects than a checkpoint has tensors"
        if name == "GLOBAL":
            if argument in REFUSED:
                return (
                    f"holds more than tensors ({argument.replace(' ', '.')}), and reading that "
                    "could take any amount of memory; save the model's state_dict() alone"
                )
            names.add(python3_name(*argument.split(" ", 1)))
        if name in PUTTING:
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in GETTING:
            stack.append(memo[int(argument)])
        elif name == "MARK":
            stack.append(None)
        elif not opcode.stack_before:
            constant = isinstance(argument, (str, bytes)) and name != "GLOBAL"
            text = len(argument) if constant else 0
            stack += [_Sized(text, 0) for _ in opcode.stack_after]
        else:
            taken = _take(stack, opcode)
            text = sum([one.text for one in taken])
            rest = sum([one.rest + ITEM for one in taken])
            if name in GROWING:
                # Changed in place: the memo has it too.
                taken[0].text, taken[0].rest = text, rest
                stack.append(taken[0])
            else:
                if name in CALLING:
                    text *= MAX_GROWTH
                    allocated += text + rest
                stack += [_Sized(text, rest) for _ in opcode.stack_after]
            if max(text + rest, allocated) > limit:
                return "its pickle unpacks to far more than its size, which no weights do"
    return None


def _take(stack: list[Any], opcode: pickletools.OpcodeInfo) -> list[_Sized]:
    """Take off the stack what an instruction takes, in order, without marks."""
    before = opcode.stack_before
    taken = []
    number = len(before)
    if pickletools.markobject in before:
        while (one := stack.pop()) is not None:
            taken.append(one)
        number = before.index(pickletools.markobject)
    taken += [stack.pop() for _ in range(number)]
    return [one for one in reversed(taken) if one is not None]
