"""Publishing: whole or not at all, pointer last, and a refusal leaves everything as it was."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import Engine

from learner.bootstrap import Interval
from learner.gate import GateReport
from learner.publisher import Publisher
from learner.training_report import TrainingReport
from runtime.database import open_database
from runtime.errors import AdapterRejected
from runtime.policy.deployment import AdapterRecord, AdapterState, Channel, Deployment
from runtime.policy.manifest import Probe, digest_model, verify_adapter

PASSED = GateReport(
    promote=True, reasons=("reward rises by 0.200",), overall=Interval(mean=0.2, low=0.1, high=0.3, n=60)
)
REFUSED = GateReport(promote=False, reasons=("no gain beyond chance", "refuse is worse"))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path / 'hone.db'}")


@pytest.fixture
def deployment(engine: Engine) -> Deployment:
    return Deployment(engine)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({"w": torch.zeros(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def publisher(deployment: Deployment, tmp_path: Path, base: Path) -> Publisher:
    return Publisher(deployment, tmp_path / "adapters", base=base)


def training(tmp_path: Path, seed: int = 0) -> TrainingReport:
    folder = tmp_path / f"trained-{seed}"
    folder.mkdir(exist_ok=True)
    save_file(
        {"base_model.model.w.lora_A.weight": torch.full((4, 2), float(seed))}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    return TrainingReport(
        adapter_dir=folder,
        parent=None,
        steps=1,
        rewards=(0.5,),
        groups_total=2,
        groups_equal=0,
        batches_without_signal=0,
        no_signal=False,
        too_long=(),
        drift=0.1,
        kl=None,
        completion_tokens=10,
        shared_prompts=True,
        seconds=1.0,
        probes=(Probe(prompt_ids=(1, 2), completion_ids=(3,), logprobs=(-0.5,)),),
    )


def test_a_passed_candidate_serves(publisher: Publisher, deployment: Deployment, tmp_path: Path, base: Path) -> None:
    published = publisher.publish(
        training(tmp_path), PASSED, parent=None, batch_ids=["s1"], figures={"after": {"macro_f1": 0.9}}
    )
    assert published.promoted
    current = deployment.current()
    assert current is not None
    assert (current.name, current.path) == (published.name, published.path.resolve())
    manifest = verify_adapter(published.path, base_sha256=digest_model(base))
    assert manifest.batch_ids == ("s1",)
    assert manifest.probes[0].logprobs == (-0.5,)
    assert manifest.gate["promote"] is True
    assert manifest.gate["figures"] == {"after": {"macro_f1": 0.9}}


def test_a_refused_candidate_is_kept_with_the_reason_and_the_pointer_stays(
    publisher: Publisher, deployment: Deployment, tmp_path: Path
) -> None:
    first = publisher.publish(training(tmp_path), PASSED, parent=None)
    refused = publisher.publish(training(tmp_path, 1), REFUSED, parent=deployment.current())
    assert not refused.promoted
    assert refused.reason == "no gain beyond chance; refuse is worse"
    current = deployment.current()
    assert current is not None
    assert current.name == first.name
    record = deployment.get(refused.name)
    assert record.state is AdapterState.REJECTED
    assert record.parent == first.name
    assert deployment.history(refused.name)[0].reason == refused.reason


def test_each_version_has_a_new_name_and_path(publisher: Publisher, deployment: Deployment, tmp_path: Path) -> None:
    first = publisher.publish(training(tmp_path), PASSED, parent=None)
    second = publisher.publish(training(tmp_path), PASSED, parent=deployment.current())
    assert first.name != second.name
    assert first.path != second.path
    assert (first.version, second.version) == (1, 2)
    assert deployment.get(first.name).state is AdapterState.RETIRED


def test_a_verdict_against_another_incumbent_is_void(
    publisher: Publisher, deployment: Deployment, tmp_path: Path
) -> None:
    publisher.publish(training(tmp_path), PASSED, parent=None)
    measured_against = deployment.current()
    deployment.point(Channel.INCUMBENT, None, reason="rolled back")
    late = publisher.publish(training(tmp_path, 1), PASSED, parent=measured_against)
    assert not late.promoted
    assert "the base model serves by now" in late.reason
    assert deployment.current() is None


def test_a_broken_adapter_leaves_nothing(publisher: Publisher, deployment: Deployment, tmp_path: Path) -> None:
    report = training(tmp_path)
    assert report.adapter_dir is not None
    (report.adapter_dir / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterRejected, match="is missing"):
        publisher.publish(report, PASSED, parent=None)
    assert deployment.list() == []
    assert list((tmp_path / "adapters").iterdir()) == []


def test_a_run_without_an_adapter_is_not_published(publisher: Publisher, tmp_path: Path) -> None:
    report = training(tmp_path).model_copy(update={"adapter_dir": None})
    with pytest.raises(ValueError, match="nothing to publish"):
        publisher.publish(report, PASSED, parent=None)


class _DiesBefore(Deployment):
    """A deployment whose process is killed as it reaches one of its methods."""

    def __init__(self, engine: Engine, step: str) -> None:
        super().__init__(engine)
        self._step = step

    def publish(self, record: AdapterRecord) -> None:
        self._die("publish")
        super().publish(record)

    def point(self, channel: str, name: str | None, *, reason: str = "pointed") -> None:
        self._die("point")
        super().point(channel, name, reason=reason)

    def _die(self, step: str) -> None:
        if step == self._step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["publish", "point"])
def test_a_kill_between_the_steps_leaves_the_incumbent_and_the_next_run_works(
    step: str, engine: Engine, publisher: Publisher, deployment: Deployment, tmp_path: Path, base: Path
) -> None:
    first = publisher.publish(training(tmp_path), PASSED, parent=None)
    dying = Publisher(_DiesBefore(engine, step), tmp_path / "adapters", base=base)
    with pytest.raises(KeyboardInterrupt):
        dying.publish(training(tmp_path, 1), PASSED, parent=deployment.current())
    current = deployment.current()
    assert current is not None
    assert current.name == first.name
    again = publisher.publish(training(tmp_path, 1), PASSED, parent=current)
    assert again.promoted
    for folder in (tmp_path / "adapters").iterdir():
        verify_adapter(folder)


def test_cleaning_removes_staging_folders_alone(publisher: Publisher, tmp_path: Path) -> None:
    published = publisher.publish(training(tmp_path), PASSED, parent=None)
    (tmp_path / "adapters" / ".tmp-dead").mkdir()
    publisher.clean()
    assert list((tmp_path / "adapters").iterdir()) == [published.path]
