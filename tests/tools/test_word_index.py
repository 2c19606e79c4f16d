"""BM25 over texts that come and go."""

from collections.abc import Sequence

import bm25s
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.word_index import WordIndex, tokens

TEXTS = st.lists(st.text("abcd efgh.", min_size=1, max_size=40), min_size=1, max_size=12)


def index_of(texts: Sequence[str]) -> WordIndex:
    index = WordIndex()
    for text in texts:
        index.add(text)
    return index


@settings(deadline=None)
@given(TEXTS, st.text("abcd efgh.", max_size=30))
def test_scores_are_those_of_bm25s(texts: list[str], asked: str) -> None:
    texts = [text if tokens(text) else "none" for text in texts]
    library = bm25s.BM25()
    library.index([tokens(text) for text in texts], show_progress=False)
    query = [token for token in dict.fromkeys(tokens(asked)) if token in library.vocab_dict]
    expected = library.get_scores(query) if query else np.zeros(len(texts))
    np.testing.assert_allclose(index_of(texts).scores(asked)[0], expected, atol=1e-5)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.text("abcd efgh.", max_size=30))
def test_what_was_removed_leaves_no_trace_in_the_scores(staying: list[str], going: list[str], asked: str) -> None:
    index = WordIndex()
    gone = [(index.add(text), text) for text in going]
    for text in staying:
        index.add(text)
    for place, text in gone:
        index.remove(place, text)
    (scores,) = index.scores(asked)
    np.testing.assert_allclose(scores[len(going) :], index_of(staying).scores(asked)[0])
    assert not scores[: len(going)].any()


def test_an_empty_index_and_a_text_without_words_give_no_scores() -> None:
    assert WordIndex().scores("anything").shape == (1, 0)
    assert index_of(["", "find flights"]).scores("?!").tolist() == [[0, 0]]
