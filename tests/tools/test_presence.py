"""Whether a process lives, told by real processes."""

import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from tools.presence import Presence


def live(folder: Path, told: Connection) -> None:
    presence = Presence(folder)
    told.send(presence.owner)
    signal.pause()


def test_a_killed_process_is_gone_and_a_living_one_is_not(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=live, args=(tmp_path, there))
    process.start()
    owner = here.recv()
    me = Presence(tmp_path)
    assert not me.is_gone(owner)
    process.kill()
    process.join()
    assert me.is_gone(owner)
    assert not me.is_gone(me.owner)
    me.close()


def test_of_a_stranger_nothing_is_known(tmp_path: Path) -> None:
    me = Presence(tmp_path)
    assert not me.is_gone("stranger")
    me.close()


def test_the_ended_are_known_until_they_are_forgotten(tmp_path: Path) -> None:
    wanted, unwanted, alive = (Presence(tmp_path) for _ in range(3))
    wanted.close()
    unwanted.close()
    assert alive.ended() == {wanted.owner, unwanted.owner}
    alive.forget({unwanted.owner})
    assert {path.stem for path in tmp_path.iterdir()} == {wanted.owner, alive.owner}
    assert alive.is_gone(wanted.owner)
    alive.close()
