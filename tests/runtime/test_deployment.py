"""Which adapter serves, and how that changes."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime.database import open_database
from runtime.errors import AdapterRejected, UnknownAdapter
from runtime.policy.deployment import ALLOWED, AdapterRecord, AdapterState, Channel, Deployment
from runtime.policy.manifest import CONFIG, WEIGHTS, write_adapter
from tests.runtime.thread_builder import START


@pytest.fixture
def deployment(engine: sa.Engine) -> Deployment:
    return Deployment(engine, clock=lambda: START)


def make_record(folder: Path, version: int, parent: str | None = None) -> AdapterRecord:
    source = folder / "trained"
    source.mkdir(exist_ok=True)
    (source / WEIGHTS).write_bytes(b"weights")
    (source / CONFIG).write_text('{"r": 4}')
    created_at = START + timedelta(minutes=version)
    manifest = write_adapter(
        folder, source, version=version, base_model="m", base_sha256="0" * 64, created_at=created_at, parent=parent
    )
    return AdapterRecord.of(manifest, folder / manifest.name)


@pytest.fixture
def names(deployment: Deployment, tmp_path: Path) -> list[str]:
    """Three published adapters, each the parent of the next."""
    published: list[str] = []
    for version in (1, 2, 3):
        record = make_record(tmp_path, version, parent=published[-1] if published else None)
        deployment.publish(record)
        published.append(record.name)
    return published


def states(deployment: Deployment) -> list[AdapterState]:
    """By rising version."""
    return [record.state for record in reversed(deployment.list())]


def serving(deployment: Deployment, channel: str = "incumbent") -> str | None:
    record = deployment.current(channel)
    return record.name if record else None


def test_at_first_the_base_serves(deployment: Deployment) -> None:
    assert deployment.current() is None
    assert deployment.current("canary") is None
    assert deployment.list() == []
    assert deployment.next_version() == 1


def test_a_published_adapter_is_a_candidate_and_comes_back_as_it_was(deployment: Deployment, tmp_path: Path) -> None:
    record = make_record(tmp_path, 7)
    deployment.publish(record)
    assert deployment.get(record.name) == record
    assert deployment.list() == [record]
    assert record.state is AdapterState.CANDIDATE
    assert deployment.next_version() == 8
    assert deployment.current() is None


def test_publishing_again_changes_nothing(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    deployment.publish(deployment.get(names[0]))
    assert serving(deployment) == names[0]
    assert states(deployment)[0] is AdapterState.INCUMBENT
    assert len(deployment.history(names[0])) == 2


def test_a_version_is_given_once(deployment: Deployment, names: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(AdapterRejected, match=r"version 2 is already taken.*next version"):
        deployment.publish(make_record(other, 2, parent="another"))
    assert len(deployment.list()) == 3


def test_pointing_retires_what_served_before(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    deployment.point("incumbent", names[1])
    assert serving(deployment) == names[1]
    assert states(deployment) == [AdapterState.RETIRED, AdapterState.INCUMBENT, AdapterState.CANDIDATE]


def test_rolling_back_is_pointing_at_the_one_before(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    deployment.point("incumbent", names[1])
    deployment.point("incumbent", names[0])
    assert serving(deployment) == names[0]
    assert states(deployment)[:2] == [AdapterState.INCUMBENT, AdapterState.RETIRED]
    deployment.point("incumbent", None)
    assert serving(deployment) is None
    assert states(deployment)[:2] == [AdapterState.RETIRED, AdapterState.RETIRED]


def test_pointing_at_what_serves_changes_nothing(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    before = deployment.history()
    deployment.point("incumbent", names[0])
    deployment.point("canary", None)
    assert deployment.history() == before


def test_a_canary_that_is_promoted_leaves_its_channel(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    deployment.point("canary", names[1])
    assert (serving(deployment), serving(deployment, "canary")) == (names[0], names[1])
    deployment.point("incumbent", names[1])
    assert (serving(deployment), serving(deployment, "canary")) == (names[1], None)
    assert states(deployment)[:2] == [AdapterState.RETIRED, AdapterState.INCUMBENT]


def test_the_incumbent_cannot_be_its_own_canary(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    with pytest.raises(AdapterRejected, match="cannot become canary"):
        deployment.point("canary", names[0])
    assert (serving(deployment), serving(deployment, "canary")) == (names[0], None)


def test_a_rejected_adapter_never_serves(deployment: Deployment, names: list[str]) -> None:
    deployment.reject(names[1], "worse on clarify")
    deployment.reject(names[1], "again")
    assert [t.reason for t in deployment.history(names[1])] == ["worse on clarify", "published"]
    for channel in Channel:
        with pytest.raises(AdapterRejected, match="is rejected and cannot become"):
            deployment.point(channel, names[1])
        assert serving(deployment, channel) is None


def test_rejecting_the_incumbent_brings_back_its_nearest_proven_ancestor(
    deployment: Deployment, names: list[str]
) -> None:
    for name in names:
        deployment.point("incumbent", name)
    deployment.reject(names[1], "tainted")
    assert serving(deployment) == names[2]
    deployment.reject(names[2], "tainted too")
    assert serving(deployment) == names[0]
    assert states(deployment) == [AdapterState.INCUMBENT, AdapterState.REJECTED, AdapterState.REJECTED]
    deployment.reject(names[0], "and the last")
    assert serving(deployment) is None


def test_rejecting_the_canary_leaves_the_incumbent(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0])
    deployment.point("canary", names[1])
    deployment.reject(names[1], "more repeats")
    assert (serving(deployment), serving(deployment, "canary")) == (names[0], None)


def test_unknown_adapters_and_channels_are_named(deployment: Deployment) -> None:
    for action in (deployment.get, lambda name: deployment.point("incumbent", name)):
        with pytest.raises(UnknownAdapter, match="'hone-v9-nothing'"):
            action("hone-v9-nothing")
    with pytest.raises(UnknownAdapter):
        deployment.reject("hone-v9-nothing", "why not")
    with pytest.raises(ValueError, match="sidecar"):
        deployment.current("sidecar")


def test_a_flip_that_fails_halfway_changes_nothing(engine: sa.Engine, names: list[str]) -> None:
    deployment = Deployment(engine)
    deployment.point("incumbent", names[0])
    ticks = iter([START])  # the clock breaks after the first change of state

    def breaking_clock() -> object:
        return next(ticks)

    before = (deployment.history(), deployment.list(), serving(deployment))
    with pytest.raises(StopIteration):
        Deployment(engine, clock=breaking_clock).point("incumbent", names[1])  # type: ignore[arg-type]
    assert (deployment.history(), deployment.list(), serving(deployment)) == before


def test_each_process_sees_the_flips_of_the_other(database_url: str, tmp_path: Path) -> None:
    engines = [open_database(database_url) for _ in range(2)]
    here, there = (Deployment(engine) for engine in engines)
    first, second = make_record(tmp_path, 1), make_record(tmp_path, 2)
    here.publish(first)
    there.publish(second)
    assert here.next_version() == 3
    here.point("incumbent", first.name)
    assert serving(there) == first.name
    there.point("incumbent", second.name)
    assert serving(here) == second.name
    for engine in engines:
        engine.dispose()


def test_flips_at_once_leave_one_incumbent(database_url: str, tmp_path: Path) -> None:
    engines = [open_database(database_url) for _ in range(4)]
    records = [make_record(tmp_path, version) for version in range(1, 5)]
    for record in records:
        Deployment(engines[0]).publish(record)
    problems: list[Exception] = []

    def flip(engine: sa.Engine, record: AdapterRecord) -> None:
        try:
            for _ in range(5):
                Deployment(engine).point("incumbent", record.name)
        except Exception as e:  # any failure is the finding
            problems.append(e)

    pairs = zip(engines, records, strict=True)
    threads = [threading.Thread(target=flip, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    deployment = Deployment(engines[0])
    incumbents = [record.name for record in deployment.list() if record.state is AdapterState.INCUMBENT]
    assert incumbents == [serving(deployment)]
    for engine in engines:
        engine.dispose()


def test_history_tells_each_change_newest_first(deployment: Deployment, names: list[str]) -> None:
    deployment.point("incumbent", names[0], reason="gate passed")
    newest, published = deployment.history(names[0])
    assert (newest.from_state, newest.to_state) == (AdapterState.CANDIDATE, AdapterState.INCUMBENT)
    assert (newest.reason, newest.at) == ("gate passed", START)
    assert (published.from_state, published.to_state) == (None, AdapterState.CANDIDATE)
    assert len(deployment.history(limit=2)) == 2


def test_every_state_says_what_may_follow() -> None:
    assert set(ALLOWED) == set(AdapterState)
    assert not ALLOWED[AdapterState.REJECTED]
