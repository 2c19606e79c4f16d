"""Whole words as tokens, and where their embeddings begin."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from learner.starter import TURN_END, build_model, train_tokenizer
from learner.vocabulary import begun_embeddings, frequent_words, with_words

TEXTS = ["find a room", "book two rooms in Oslo", "the weather of the week", '{"name":"get_weather"}'] * 20
ODD = [
    "getWeatherNow",
    "prices_2024",
    "Smörgåsbord \n\t x2!",
    "<tool_call>{}</tool_call>",
    "vrask skoolt",
    "I'd say HTTPError",
]


@pytest.fixture(scope="module")
def pieces() -> Any:
    return train_tokenizer(TEXTS)


@pytest.fixture(scope="module")
def words() -> list[str]:
    return frequent_words(plain=1500, capitalised=300)


@pytest.fixture(scope="module")
def tokenizer(pieces: Any, words: list[str]) -> Any:
    return with_words(pieces, words)


@pytest.mark.parametrize("around", ["{}", "say {} twice", "get_{}_now", '{{"{}":1}}'])
def test_a_word_is_one_token_wherever_it_stands(tokenizer: Any, words: list[str], around: str) -> None:
    assert [word for word in words if word not in tokenizer.tokenize(around.format(word))] == []


def test_names_are_parted_where_a_capital_begins(tokenizer: Any) -> None:
    assert tokenizer.tokenize("findLargeHouse") == ["find", "Large", "House"]


def test_whatever_is_written_comes_back(tokenizer: Any, words: list[str]) -> None:
    for text in [*ODD, " ".join(words)]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokens_that_were_there_stay_and_no_number_is_free(pieces: Any, tokenizer: Any) -> None:
    tokens = tokenizer.get_vocab()
    assert pieces.get_vocab().keys() <= tokens.keys()
    assert sorted(tokens.values()) == list(range(len(tokenizer)))
    assert tokenizer.eos_token == TURN_END
    assert tokenizer.tokenize("<tool_call>") == ["<tool_call>"]


def test_words_that_are_tokens_already_change_nothing(tokenizer: Any, words: list[str]) -> None:
    assert with_words(tokenizer, words).get_vocab() == tokenizer.get_vocab()


def test_a_server_that_reads_the_files_finds_the_same_tokens(tokenizer: Any, words: list[str], tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    build_model("tiny", tokenizer).config.save_pretrained(tmp_path)  # by which another class of tokenizer is chosen
    served = AutoTokenizer.from_pretrained(tmp_path)
    for text in ["book two rooms in Oslo", json.dumps({"city": "Oslo"}), "get_weather_now", " ".join(words)]:
        assert served.encode(text) == tokenizer.encode(text)


def test_words_that_mean_the_same_begin_side_by_side(pieces: Any, tokenizer: Any, words: list[str]) -> None:
    known, tokens = pieces.get_vocab(), tokenizer.get_vocab()
    before = torch.randn(len(pieces), 256, generator=torch.Generator().manual_seed(1))
    begun = begun_embeddings(known, before, tokens)
    assert begun.shape == (len(tokenizer), 256)
    places = begun - begun[[number for token, number in tokens.items() if token in words]].mean(0)

    def likeness(pairs: list[tuple[str, str]]) -> float:
        ones, others = (places[[tokens[pair[at]] for pair in pairs]] for at in (0, 1))
        return torch.cosine_similarity(ones, others).mean().item()

    near = [
        ("road", "street"),
        ("film", "movie"),
        ("town", "city"),
        ("war", "battle"),
        ("father", "mother"),
        ("river", "lake"),
    ]
    far = [(one, other) for (one, _), (_, other) in zip(near, [*near[1:], near[0]], strict=True)]
    assert likeness(near) > likeness(far) + 0.1


def test_pieces_that_are_no_words_keep_their_embeddings(pieces: Any, tokenizer: Any) -> None:
    known, tokens = pieces.get_vocab(), tokenizer.get_vocab()
    before = torch.randn(len(pieces), 32, generator=torch.Generator().manual_seed(1))
    begun = begun_embeddings(known, before, tokens)
    for token in ("<|im_end|>", "</tool_call>", "_", "7", "Ġ"):
        assert torch.equal(begun[tokens[token]], before[known[token]])


def test_a_model_wider_than_the_sentence_model_begins_too(pieces: Any, tokenizer: Any) -> None:
    before = torch.randn(len(pieces), 512, generator=torch.Generator().manual_seed(1))
    begun = begun_embeddings(pieces.get_vocab(), before, tokenizer.get_vocab())
    assert begun.shape == (len(tokenizer), 512)
    assert torch.isfinite(begun).all()
