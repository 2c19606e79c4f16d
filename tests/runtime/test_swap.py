"""The adapter that serves follows the pointer, and only to what is proven."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.errors import AdapterRejected, PolicyUnavailable, UnknownAdapter
from runtime.policy.base import Completion, SamplingParams
from runtime.policy.deployment import AdapterRecord
from runtime.policy.manifest import CONFIG, WEIGHTS, Probe, write_adapter
from runtime.policy.swap import BASE, LivePolicy, ServedAdapter
from tests.runtime.thread_builder import START


class FakePolicy:
    """Scores each token of an adapter by the number in the adapter's weights file, and of the base by -5."""

    model = "fake"
    context_length = 100

    def __init__(self) -> None:
        self.resident: dict[str, float] = {}
        self.loads: list[str] = []
        self.down = False
        self.stale: str | None = None
        """An adapter that is answered for as if it were the base."""

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        value = (await self.score(prompt_ids, (1,), adapter=adapter))[0]
        return Completion("", (1,), (value,), "length", adapter)

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        self._check_up()
        if adapter is None or adapter == self.stale:
            return tuple(-5.0 for _ in completion_ids)
        if adapter not in self.resident:
            raise UnknownAdapter(f"no adapter {adapter!r}")
        return tuple(self.resident[adapter] for _ in completion_ids)

    async def load_adapter(self, name: str, path: Path) -> None:
        self._check_up()
        self.loads.append(name)
        self.resident[name] = float((path / WEIGHTS).read_text())

    async def unload_adapter(self, name: str) -> None:
        self.resident.pop(name, None)

    async def adapters(self) -> frozenset[str]:
        self._check_up()
        return frozenset(self.resident)

    async def close(self) -> None:
        self.resident.clear()

    def _check_up(self) -> None:
        if self.down:
            raise PolicyUnavailable("the server is down")


class TwoServers(FakePolicy):
    """Two replicas; loading reaches both, but the second may go on answering as before."""

    def __init__(self) -> None:
        super().__init__()
        self.second = FakePolicy()

    @property
    def replicas(self) -> Sequence[FakePolicy]:
        return [self, self.second]

    async def load_adapter(self, name: str, path: Path) -> None:
        await super().load_adapter(name, path)
        await self.second.load_adapter(name, path)


class FakeDeployment:
    def __init__(self) -> None:
        self.record: AdapterRecord | None = None
        self.error: Exception | None = None

    def current(self) -> AdapterRecord | None:
        if self.error is not None:
            raise self.error
        return self.record


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def policy() -> FakePolicy:
    return FakePolicy()


@pytest.fixture
def deployment() -> FakeDeployment:
    return FakeDeployment()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(policy: FakePolicy, deployment: FakeDeployment, clock: Clock) -> LivePolicy:
    return LivePolicy(policy, deployment, poll_s=0.001, max_resident=2, clock=clock)


def publish(folder: Path, version: int, *, trained: float | None = None, probes: bool = True) -> AdapterRecord:
    """An adapter that serves minus its version; `trained`: what its manifest says that it should."""
    source = folder / "trained"
    source.mkdir(exist_ok=True)
    (source / WEIGHTS).write_text(str(-float(version)))
    (source / CONFIG).write_text('{"r": 4}')
    value = -float(version) if trained is None else trained
    probe = Probe(prompt_ids=(1, 2), completion_ids=(3, 4), logprobs=(value, value))
    manifest = write_adapter(
        folder,
        source,
        version=version,
        base_model="m",
        base_sha256="0" * 64,
        created_at=START,
        probes=[probe] if probes else [],
    )
    return AdapterRecord.of(manifest, folder / manifest.name)


def as_served(record: AdapterRecord) -> ServedAdapter:
    return ServedAdapter(record.name, record.sha256)


async def test_the_base_serves_until_the_pointer_names_an_adapter(
    live: LivePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    assert await live.refresh() == BASE
    deployment.record = publish(tmp_path, 1)
    assert await live.refresh() == live.current() == as_served(deployment.record)
    assert live.status().swaps == 1


async def test_an_adapter_is_loaded_once(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1)
    for _ in range(3):
        await live.refresh()
    assert policy.loads == [deployment.record.name]


async def test_going_back_loads_nothing(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    first, second = publish(tmp_path, 1), publish(tmp_path, 2)
    for record in (first, second):
        deployment.record = record
        await live.refresh()
    policy.loads.clear()
    deployment.record = first
    assert await live.refresh() == as_served(first)
    deployment.record = None
    assert await live.refresh() == BASE
    assert policy.loads == []


async def test_a_corrupt_adapter_leaves_the_old_one_serving_and_is_not_tried_again(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    good, bad = publish(tmp_path, 1), publish(tmp_path, 2)
    deployment.record = good
    await live.refresh()
    (bad.path / WEIGHTS).write_text("-2.5")
    deployment.record = bad
    assert await live.refresh() == as_served(good)
    assert "adapter_model.safetensors" in live.status().refused[bad.name]
    assert live.status().waiting_for == bad.name
    (bad.path / WEIGHTS).write_text("-2.0")
    assert await live.refresh() == as_served(good)
    assert policy.loads == [good.name]


async def test_an_adapter_that_serves_other_than_it_was_trained_is_unloaded_and_refused(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1, trained=-3.0)
    assert await live.refresh() == BASE
    assert "not attested" in live.status().refused[deployment.record.name]
    assert policy.resident == {}


async def test_an_adapter_that_the_server_ignores_is_refused(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1, trained=-5.0)
    policy.stale = deployment.record.name
    assert await live.refresh() == BASE
    assert "changes nothing" in live.status().refused[deployment.record.name]


async def test_an_adapter_without_probes_is_refused(
    live: LivePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1, probes=False)
    assert await live.refresh() == BASE
    assert "no probes" in live.status().refused[deployment.record.name]


async def test_each_replica_must_prove_what_it_serves(deployment: FakeDeployment, tmp_path: Path) -> None:
    servers = TwoServers()
    live = LivePolicy(servers, deployment)
    deployment.record = publish(tmp_path, 1)
    servers.second.stale = deployment.record.name
    assert await live.refresh() == BASE
    servers.second.stale = None
    deployment.record = publish(tmp_path, 2)
    assert await live.refresh() == as_served(deployment.record)


async def test_a_server_that_is_down_is_no_fault_of_the_adapter(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1)
    policy.down = True
    assert await live.refresh() == BASE
    assert live.status().refused == {}
    assert "down" in (live.status().last_error or "")
    policy.down = False
    assert await live.refresh() == as_served(deployment.record)
    assert live.status().last_error is None


async def test_the_adapter_of_a_running_turn_stays_resident(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    records = [publish(tmp_path, version) for version in (1, 2, 3, 4)]
    deployment.record = records[0]
    await live.refresh()
    with live.lease() as served:
        for record in records[1:]:
            deployment.record = record
            await live.refresh()
        assert served == as_served(records[0])
        assert records[0].name in policy.resident
        assert records[1].name not in policy.resident
    deployment.record = records[1]
    await live.refresh()
    assert records[0].name not in policy.resident


async def test_adapters_that_a_restarted_server_lost_are_loaded_and_attested_again(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, clock: Clock, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1)
    await live.refresh()
    policy.resident.clear()
    clock.now += 60
    assert await live.refresh() == as_served(deployment.record)
    assert policy.loads == [deployment.record.name] * 2


async def test_a_record_of_other_weights_than_the_directorys_is_refused(
    live: LivePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    record, other = publish(tmp_path, 1), publish(tmp_path, 2)
    deployment.record = AdapterRecord(
        name=record.name,
        version=record.version,
        path=record.path,
        sha256=other.sha256,
        manifest=record.manifest,
        created_at=record.created_at,
    )
    assert await live.refresh() == BASE
    assert "the deployment says" in live.status().refused[record.name]


async def test_a_cancelled_refresh_leaves_nothing_half_served(
    live: LivePolicy, policy: FakePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.record = publish(tmp_path, 1)
    entered = asyncio.Event()

    class Stuck(FakePolicy):
        async def score(
            self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
        ) -> tuple[float, ...]:
            entered.set()
            await asyncio.Event().wait()
            return ()

    stuck = Stuck()
    task = asyncio.create_task(LivePolicy(stuck, deployment).refresh())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stuck.resident == {}


async def test_the_loop_outlives_a_deployment_that_cannot_be_read(
    live: LivePolicy, deployment: FakeDeployment, tmp_path: Path
) -> None:
    deployment.error = OSError("disk is gone")
    loop = asyncio.create_task(live.run())
    async with asyncio.timeout(10):
        while "disk is gone" not in (live.status().last_error or ""):
            await asyncio.sleep(0)
        deployment.record, deployment.error = publish(tmp_path, 1), None
        while live.current() == BASE:
            await asyncio.sleep(0)
    loop.cancel()
    assert live.status().last_error is None


async def test_an_adapter_that_the_policy_rejects_is_refused(deployment: FakeDeployment, tmp_path: Path) -> None:
    class Picky(FakePolicy):
        async def load_adapter(self, name: str, path: Path) -> None:
            raise AdapterRejected("made for another base")

    deployment.record = publish(tmp_path, 1)
    live = LivePolicy(Picky(), deployment)
    assert await live.refresh() == BASE
    assert live.status().refused == {deployment.record.name: "made for another base"}
