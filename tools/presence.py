"""Which server processes of one home still live, as the journal needs to know it.

Each holds a lock on a file of its own, which the system lets go of when the process ends, however it ends: no process id
that another process may have by now, no heartbeat to write. Only processes that share the folder can be told; whether
one on another machine lives is not known here.
"""

import fcntl
import os
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import IO

SUFFIX = ".lock"


class Presence:
    """This process among them, from construction until `close` or death."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.owner = uuid.uuid4().hex
        """This process's name in the journal."""
        self._file = _hold(folder / f"{self.owner}{SUFFIX}")

    def is_gone(self, owner: str) -> bool:
        """True: it was a process of this home and has ended. False: it lives, or nobody here can say."""
        return owner != self.owner and _is_free(self._folder / f"{owner}{SUFFIX}")

    def is_here(self, owner: str) -> bool:
        """True: it is a process of this home and lives. False: it has ended, or is not of this home."""
        path = self._folder / f"{owner}{SUFFIX}"
        return owner == self.owner or (path.exists() and not _is_free(path))

    def ended(self) -> set[str]:
        """Processes of this home that have ended and are not forgotten yet."""
        owners = {path.stem for path in self._folder.glob(f"*{SUFFIX}")} - {self.owner}
        return {owner for owner in owners if self.is_gone(owner)}

    def forget(self, owners: Collection[str]) -> None:
        """From here on nobody can say of these processes, which have ended, that they did."""
        for owner in owners:
            (self._folder / f"{owner}{SUFFIX}").unlink(missing_ok=True)

    def close(self) -> None:
        """From here on this process counts as ended. Its file stays until it is forgotten, for calls it left open."""
        self._file.close()


def is_anyone_here(folder: Path) -> bool:
    """Whether a process of this home lives."""
    return any(not _is_free(path) for path in folder.glob(f"*{SUFFIX}"))


def _hold(path: Path) -> IO[bytes]:
    while True:
        file = path.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else somebody forgot it between the two lines above
            return file
        file.close()


def _is_free(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except (FileNotFoundError, BlockingIOError):
        return False
