"""Where the master keys are kept: in a variable that the operator sets, or in a file that is made on first use.

Both are a list of keys, each 32 random bytes in base64. The first one seals; the others open what they sealed before
they were replaced, in this database or in a backup of it. Messages never quote a key.
"""

import base64
import binascii
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tools.envelope import KEY_BYTES, MasterKey
from tools.errors import BadMasterKey

VARIABLE = "HONE_MASTER_KEY"
_HOW = "a key is 32 random bytes in base64, as `openssl rand -base64 32` makes them"
_HEADER = """\
# Master keys of hone's stored secrets. The first one seals; the others open what they sealed before.
# Keep a copy apart from the database: without its key a stored secret cannot be read.
"""


class MasterKeys(Protocol):
    place: str
    """How messages call it."""

    def read(self) -> Sequence[MasterKey]:
        """All of them, the one that seals first; none: no key was made yet.

        Raises: BadMasterKey: what is there cannot be used.
        """
        ...

    def first(self) -> MasterKey:
        """The key that seals, made if there is none. Raises: BadMasterKey."""
        ...

    def renew(self) -> MasterKey:
        """A key that from now on seals; all others stay readable.

        Raises: BadMasterKey: there is none to change to.
        """
        ...


class GivenKeys:
    """The operator's own: hone reads them and changes nothing."""

    place = VARIABLE

    def __init__(self, text: str) -> None:
        """Raises: BadMasterKey."""
        self._keys = parse_keys(text, VARIABLE)

    def read(self) -> Sequence[MasterKey]:
        return self._keys

    def first(self) -> MasterKey:
        return self._keys[0]

    def renew(self) -> MasterKey:
        if len(self._keys) == 1:
            raise BadMasterKey(
                f"{VARIABLE} holds one key, so there is none to change to: make one (openssl rand -base64 32), write it "
                f"before the old one with a comma between, here and for every server, and rotate again"
            )
        return self._keys[0]


class KeyFile:
    """A file that only its owner may read; hone makes it and puts new keys before the old ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)

    def read(self) -> Sequence[MasterKey]:
        try:
            file = self._path.open(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return ()
        except OSError as e:
            raise BadMasterKey(f"{self._path} cannot be read: {e.strerror}; let the server's user read it") from e
        with file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise BadMasterKey(
                    f"{self._path} is open to other users (mode {mode:04o}): they may have read the keys; "
                    f"chmod 600 {self._path}, then change the key with hone secrets rotate-key"
                )
            return parse_keys(file.read(), self.place)

    def first(self) -> MasterKey:
        with self._alone():
            keys = self.read()
            return keys[0] if keys else self._put([MasterKey.generate()])

    def renew(self) -> MasterKey:
        with self._alone():
            return self._put([MasterKey.generate(), *self.read()])

    def _put(self, keys: Sequence[MasterKey]) -> MasterKey:
        """Raises: BadMasterKey: the file cannot be written; what was there stays."""
        lines = "".join(f"{base64.b64encode(key.material).decode()}\n" for key in keys)
        try:
            self._write(_HEADER + lines)
        except OSError as e:
            raise BadMasterKey(
                f"{self._path} cannot be written: {e.strerror}; let the server's user write it, or give {VARIABLE}"
            ) from e
        return keys[0]

    def _write(self, text: str) -> None:
        """Replaces the file in one step, on the disk before this returns: rows may then count on its keys."""
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        temporary.unlink(missing_ok=True)  # of a process that was killed; its key has sealed nothing
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        with self._folder() as folder:
            os.fsync(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two databases may share one home, so the database's lock is not enough."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._folder() as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _folder(self) -> Iterator[int]:
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def parse_keys(text: str, place: str) -> tuple[MasterKey, ...]:
    """The keys in `text`, apart by commas or white space; lines that begin with # say nothing.

    Raises: BadMasterKey: one is no key, or there is none.
    """
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    entries = " ".join(lines).replace(",", " ").split()
    if not entries:
        raise BadMasterKey(
            f"{place} holds no key: put the keys back from a backup, or remove it if there never were any"
        )
    return tuple(_parse(entry, number, place) for number, entry in enumerate(entries, start=1))


def _parse(entry: str, number: int, place: str) -> MasterKey:
    standard = entry.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        material = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        material = b""
    if len(material) != KEY_BYTES:
        raise BadMasterKey(f"{place}: entry {number} is no key: {_HOW}") from None
    return MasterKey(material)
