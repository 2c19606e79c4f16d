"""What a row will probably be given next, so that the model can read it in the same step.

A step costs nearly as much for one token of a row as for a few. So a row brings a guess at what follows, the model reads it too,
and the row takes as much of it as it is then really given: what is chosen, and how likely it was, is the same as without guesses.
"""

from collections.abc import Callable

import numpy as np

from runtime.policy.embedded.rows import Row

Guess = Callable[[Row, np.ndarray, int], list[int]]
"""As `guess`; the decoder takes whatever comes, and keeps what turns out right."""


def guess(row: Row, read: np.ndarray, most: int) -> list[int]:
    """Up to `most` tokens: what the grammar leaves no choice about, else what followed the last token where it stood before.

    Args: read: the row's tokens, prompt and completion, but for the last one.
    """
    most = min(most, row.limit - len(row.token_ids) - 1)
    if most < 1:
        return []
    forced = row.constraint.forced() if row.constraint is not None else []
    return forced[:most] or _after_the_same(row.token_ids[-1], read, most)


def _after_the_same(last: int, read: np.ndarray, most: int) -> list[int]:
    """What followed the same token, if possible after the same one before it, the latest time."""
    places = np.flatnonzero(read == last)
    if not len(places):
        return []
    alike = places[(places > 0) & (read[places - 1] == read[-1])]
    place = int((alike if len(alike) else places)[-1])
    return read[place + 1 : place + 1 + most].tolist()
