"""Standard output that may be in any encoding, full or closed, without ending the work."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class ForgivingStream:
    """A text stream that drops what it cannot write and remembers why.

    Characters that its encoding lacks are written as escapes.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | None = None
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop."""
        if self.error is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        if self.error is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.error = error
        try:
            # what is still in the buffer goes nowhere, so that Python ends without a complaint
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def forgiving_output() -> Iterator[ForgivingStream]:
    """Make standard output and standard error forgiving; gives the former.

    One that was closed before the start is None, and its number free for any other file.
    """
    before = sys.stdout, sys.stderr
    output, errors = (
        ForgivingStream(os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") if one is None else one)
        for one in before
    )
    sys.stdout, sys.stderr = output, errors  # type: ignore[assignment]
    try:
        yield output
    finally:
        output.flush()
        sys.stdout, sys.stderr = before


def code_after(output: ForgivingStream, code: int) -> int:
    """Say that not all was shown, and give the exit code.

    A reader that went away, as ``head`` does, has seen what it wanted; a full disk has lost it.
    """
    output.flush()
    if output.error is None:
        return code
    closed = output.error.errno == errno.EPIPE
    why = "was closed by its reader" if closed else f"cannot be written ({output.error.strerror})"
    print(f"standard output {why}: not all was shown; files are as they should be", file=sys.stderr)
    return code if closed else code or 2
