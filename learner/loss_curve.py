"""The loss of a training run: its log, and the log as a picture."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


class LossLog:
    """Mean loss and speed, printed and kept every so many steps; nothing without a file."""

    def __init__(self, path: Path | None, every: int, processes: int) -> None:
        self._path, self._every, self._processes = path, every, processes
        self._started, self._tokens = time.monotonic(), 0
        self._losses, self._packed, self._considered = list[float](), 0, 0

    def add(self, step: int, loss: float, tokens: int, packed: int, considered: int) -> None:
        """Args, of this process: tokens: read; packed: families trained on; considered: those and the ones with too many tools."""
        self._tokens += tokens * self._processes
        self._packed, self._considered = self._packed + packed, self._considered + considered
        self._losses.append(loss)
        if step % self._every or self._path is None:
            return
        speed = self._tokens / (time.monotonic() - self._started)
        entry = {
            "step": step,
            "loss": float(np.mean(self._losses)),
            "tokens_per_s": round(speed),
            "families_left_out": round(1 - self._packed / self._considered, 3),
        }
        self._write(entry)
        self._losses = []

    def add_held_out(self, step: int, loss: float) -> None:
        self._write({"step": step, "held_out_loss": loss})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._path is None:
            return
        print(json.dumps(entry), flush=True)
        with self._path.open("a") as log:
            log.write(json.dumps(entry) + "\n")


def draw_loss(log: Path, picture: Path) -> None:
    """Draws a log of `{"step", "loss"}` lines, as measured and as a running mean, and what `{"step", "held_out_loss"}` lines tell;
    without any of the former there is nothing to draw.

    Args:
        picture: replaced as a whole, or left as it was.
    """
    if not log.exists():
        return
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    # a resumed run repeats the steps after its checkpoint
    loss_at = {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}
    held_out_at = {entry["step"]: entry["held_out_loss"] for entry in entries if "held_out_loss" in entry}
    if not loss_at:
        return
    steps = np.array(sorted(loss_at))
    losses = np.array([loss_at[step] for step in steps])
    window = min(len(losses), max(5, len(losses) // 25))
    means = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="0.75", linewidth=0.8, label="as logged")
    axes.plot(steps[window - 1 :], means, color="C0", label=f"mean of {window}")
    if held_out_at:
        at = sorted(held_out_at)
        axes.plot(at, [held_out_at[step] for step in at], color="C1", marker=".", label="held out, mean model")
    axes.set(
        xlabel="step", ylabel="nats per written token", yscale="log", title=f"{losses[-1]:.4f} at step {steps[-1]:,}"
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    temporary = picture.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(picture)
