"""Which tools the agent learns on, and which are kept apart to measure what was learnt.

A candidate adapter is judged on tools that it never trained on, so some of the registered ones have to be such. Who registers a
tool may say (`ToolSpec.never_train`); otherwise its name decides, and the side stays with the name: a tool that was trained on
can never measure. The first few tools of a catalogue are all learnt on, since there the loss would outweigh the measure.
"""

import hashlib

NEVER_TRAIN_SHARE = 0.15
"""Of the names."""
LEARNT_ON_FIRST = 4
"""Registered tools, without those that ship with hone, before names begin to decide."""


def is_set_apart(name: str) -> bool:
    """Whether a name falls on the never-train side; the same name always falls on the same."""
    digest = hashlib.sha256(f"never-train/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < NEVER_TRAIN_SHARE
