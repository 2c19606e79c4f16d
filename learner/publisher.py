"""From a trained adapter and the gate's word to what is served.

The order makes a crash harmless at any point: the adapter's folder appears whole, then the deployment knows it as a
candidate, and only then the pointer moves. What was interrupted is a folder that nobody serves. A refused candidate is
kept, with the reason, and the pointer stays.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from learner.gate import GateReport
from learner.training_report import TrainingReport
from runtime.database import Clock, utc_now
from runtime.policy.deployment import AdapterRecord, Channel, Deployment
from runtime.policy.manifest import digest_model, verify_adapter, write_adapter


class Published(BaseModel):
    """What became of a candidate."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    sha256: str
    path: Path
    promoted: bool
    reason: str


class Publisher:
    """Writes adapters under one folder and enters them into one deployment."""

    def __init__(self, deployment: Deployment, root: Path, *, base: Path, clock: Clock = utc_now) -> None:
        self._deployment = deployment
        self._root = root
        self._base = base
        self._clock = clock

    def clean(self) -> None:
        """Removes what an interrupted `write_adapter` left. Only while no other learner works on the folder."""
        for leftover in self._root.glob(".tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def publish(
        self,
        training: TrainingReport,
        gate: GateReport,
        *,
        parent: AdapterRecord | None,
        batch_ids: Sequence[str] = (),
        figures: dict[str, Any] | None = None,
    ) -> Published:
        """Publishes the candidate and promotes or rejects it.

        Args:
            parent: the incumbent that it was trained from and measured against. If another serves by now, the gate's
                word is void and the candidate is rejected.
            figures: of the evaluation, kept in the manifest beside the gate's report.

        Raises:
            ValueError: the run kept no adapter.
            AdapterRejected: the adapter's files are not what PEFT saves.
        """
        if training.adapter_dir is None:
            raise ValueError("the training run kept no adapter: there is nothing to publish")
        base_sha256 = digest_model(self._base)
        manifest = write_adapter(
            self._root,
            training.adapter_dir,
            version=self._deployment.next_version(),
            base_model=str(self._base),
            base_sha256=base_sha256,
            created_at=self._clock(),
            parent=parent.name if parent else None,
            batch_ids=batch_ids,
            gate=gate.model_dump(mode="json") | {"figures": figures or {}},
            probes=training.probes,
        )
        path = self._root / manifest.name
        verify_adapter(path, base_sha256=base_sha256)
        self._deployment.publish(AdapterRecord.of(manifest, path))
        promoted, reason = self._settle(manifest.name, gate, parent)
        return Published(
            name=manifest.name,
            version=manifest.version,
            sha256=manifest.sha256,
            path=path,
            promoted=promoted,
            reason=reason,
        )

    def _settle(self, name: str, gate: GateReport, parent: AdapterRecord | None) -> tuple[bool, str]:
        reason = "; ".join(gate.reasons)
        if not gate.promote:
            self._deployment.reject(name, reason)
            return False, reason
        serving = self._deployment.current()
        if (serving and serving.name) != (parent and parent.name):
            reason = f"{serving.name if serving else 'the base model'} serves by now: it was measured against another"
            self._deployment.reject(name, reason)
            return False, reason
        self._deployment.point(Channel.INCUMBENT, name, reason=reason)
        return True, reason
