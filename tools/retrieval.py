"""Which tools to show for a conversation when there are more than the policy reads well.

BM25 over what a tool says of itself: its name, description and parameters. Names are read as words (`findFlights`, `find_flights`),
and a word's beginning counts too, so that "flying" finds "fly". No meaning is understood: a request that shares no word with its
tool finds it only while there is room.
"""

import re
from collections.abc import Collection, Sequence

import bm25s

from tools.spec import ToolSpec

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_BEGINNING = 4
"""Letters of a longer word that count as its beginning."""


def shortlist(specs: Sequence[ToolSpec], text: str, *, limit: int, keep: Collection[str] = ()) -> list[ToolSpec]:
    """The `limit` tools that fit the text best, in the order given; all of them where they are no more than that.

    Args:
        text: what the conversation is about, such as the user's last messages.
        keep: names of tools that are shown whatever the text says, such as those that the conversation has used.
    """
    if len(specs) <= limit:
        return list(specs)
    scores = _scores(specs, text)
    order = sorted(range(len(specs)), key=lambda i: (specs[i].name not in keep, -scores[i], i))
    chosen = set(order[:limit])
    return [spec for i, spec in enumerate(specs) if i in chosen]


def _scores(specs: Sequence[ToolSpec], text: str) -> list[float]:
    index = bm25s.BM25()
    corpus = [_tokens(_described(spec)) or ["-"] for spec in specs]
    index.index(corpus, show_progress=False)
    known = set().union(*corpus)
    query = [token for token in dict.fromkeys(_tokens(text)) if token in known]
    return [float(score) for score in index.get_scores(query)] if query else [0.0] * len(specs)


def _described(spec: ToolSpec) -> str:
    properties = spec.parameters.get("properties", {})
    texts = [spec.name, spec.name, spec.description]  # the name says most
    for name, schema in properties.items():
        texts.append(name)
        if isinstance(schema, dict):
            texts += [str(schema.get("description", "")), *(str(option) for option in schema.get("enum", ()))]
    return " ".join(texts)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    for found in _WORD.findall(text):
        word = found.lower()
        tokens.append(word)
        if len(word) >= _BEGINNING:
            tokens.append(f"{word[:_BEGINNING]}-")
    return tokens
