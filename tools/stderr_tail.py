"""The last lines that a child process wrote to its standard error, and the moment when it closed it.

A server that dies says why there, and nowhere else. Reading goes through the event loop, a bounded piece at a time, so that
a server that floods it holds up nothing; nothing grows without bound.
"""

import asyncio
import os
from collections.abc import Callable
from typing import TextIO

_PIECE_BYTES = 65_536
_PIECES = 4
"""Read at once; whoever writes faster waits for its pipe."""


class StderrTail:
    """A pipe: `file` goes to the child, the newest `limit` bytes stay here."""

    def __init__(self, on_end: Callable[[], None], *, limit: int = 4_096) -> None:
        """`on_end` is called once, when no process holds the other end any more."""
        self._on_end = on_end
        self._limit = limit
        self._tail = b""
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._read_end: int | None
        self._read_end, write_end = os.pipe()
        self.file: TextIO = os.fdopen(write_end, "w")
        os.set_blocking(self._read_end, False)
        self._loop.add_reader(self._read_end, self._on_readable)

    def handed_over(self) -> None:
        """The child has its own copy: let go of ours, or the end would never be seen."""
        self.file.close()

    def text(self) -> str:
        """What is known so far, newest lines last."""
        self._take()
        lines = self._tail.decode("utf-8", "replace").splitlines()
        worded = [line.strip() for line in lines if any(character.isalnum() for character in line)]
        return " | ".join(worded[-3:])

    def close(self) -> None:
        """Keeps what was written up to now; `on_end` is not called any more."""
        self.file.close()
        self._take()
        self._release()

    def _on_readable(self) -> None:
        self._take()
        if self._ended and self._read_end is not None:
            self._release()
            self._on_end()

    def _take(self) -> None:
        for _ in range(_PIECES):
            if self._read_end is None or self._ended:
                return
            try:
                piece = os.read(self._read_end, _PIECE_BYTES)
            except BlockingIOError:
                return
            self._ended = not piece
            self._tail = (self._tail + piece)[-self._limit :]

    def _release(self) -> None:
        if self._read_end is not None:
            self._loop.remove_reader(self._read_end)
            os.close(self._read_end)
            self._read_end = None
