"""The loss of a training run as a picture."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


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
