"""Finds which words mean about the same, by the sentence model: `python -m learner.near_words`, which writes
`learner/synth/near_words.txt`.

They are everyday words, such as are written small in the phrasebook and the questions. Words of one kind that are told apart by
just that word (days, colours, units, opposites) are near each other for a sentence model and must not be exchanged.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from learner.synth import phrasebook, questions
from learner.synth.renaming import NEAR_WORDS
from learner.vocabulary import frequent_words
from tools.embedding import MiniLm
from tools.likeness import content_words

_NEAR = 0.64
"""Least cosine."""
_MOST = 6
"""Words that are kept beside one."""
_OFTEN = 3
"""Least number of times that a word is written small."""
_OFTEN_SMALL = 0.8
"""Least share of places in which a word is written small; else it is a name."""
_TOLD_APART = """
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october
november december spring summer autumn fall winter morning noon afternoon evening night midnight today tomorrow yesterday weekend
weekday red blue green yellow white black grey gray brown pink purple orange gold silver one two three four five six seven eight
nine ten eleven twelve twenty thirty fifty hundred thousand million billion first second third fourth last dozen half quarter inch
inches foot feet yard yards mile miles meter meters metre metres kilometer kilometers kilometre kilometres centimeter gram grams
kilogram kilograms pound pounds ounce ounces ton tons litre liter litres liters gallon gallons cup cups spoon minute minutes hour
hours day days week weeks month months year years decade century daily weekly monthly yearly annual degree degrees celsius
fahrenheit dollar dollars euro euros cent cents yen north south east west northern southern eastern western left right up down
upper lower top bottom above below inside outside front back before after start begin end finish early late earlier later earliest
latest old new young older newer final min max minimum maximum small large big little tiny huge short long tall high low higher
highest lowest longer shorter more less fewer most least many few all none some any every each both neither either hot cold warm
cool wet dry fast slow quick heavy light open close closed lock unlock on off in out enter exit entry arrive leave arrival
departure arriving departing buy sell bought sold seller buyer purchase sale borrow lend lender borrower import export input
output send receive sender receiver recipient give take push pull add remove delete insert increase decrease rise raise drop grow
shrink gain lose loss profit win won lost winner loser male female man woman men women boy girl husband wife mother father mom dad
son daughter brother sister parent child uncle aunt grandmother grandfather adult kid baby teen king queen love hate like dislike
happy sad good bad better worse best worst positive negative plus minus true false yes no even odd public private single double
married divorced wrong success failure pass fail accept reject approve deny allow forbid grant refuse enable disable active
inactive stop go continue pause resume play record load unload upload download encode decode encrypt decrypt compress read write
reader writer ask answer question teach learn teacher student doctor nurse patient host guest owner tenant landlord employer
employee boss customer client vendor supplier hire fire plaintiff defendant breakfast lunch dinner brunch supper domestic foreign
indoor outdoor urban rural latitude longitude height width length depth weight volume area radius diameter base mass speed
velocity acceleration force energy power pressure temperature distance mean median mode average variance sine cosine prefix suffix
row column horizontal vertical english french german spanish italian chinese japanese russian mandarin latin greek dog cat horse
cow pig sheep bird fish rabbit heavier lighter darker brighter stronger weaker safer fake real same different similar opposite
expensive cheap rich poor full empty alive dead birth death human animal because although however therefore also too credit debit
asset liability income expense debt savings deposit withdraw withdrawal visible hidden safe dangerous danger strong weak thick
thin legal illegal clean dirty loud quiet junior senior hard easy remember forget health illness forward behind able unable can
could should would must might shall will was were is are be been has have had does did do available requested face nose tax
revenue amount total age younger net network air gas size bigger smaller larger translator novel language vehicle couldn wouldn
shouldn wasn weren isn aren doesn didn don hasn haven hadn mustn ain needn
"""
_APART = frozenset(_TOLD_APART.split())


def near_words(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Of each word that has such: others that mean about the same, the nearest first; of few, also one of its own stem."""
    vectors = MiniLm(exact=True).embed(words)
    for word, likeness in zip(words, vectors @ vectors.T, strict=True):
        order = np.argsort(-likeness, kind="stable")
        near = [str(words[int(at)]) for at in order if likeness[at] >= _NEAR and words[int(at)] != word]
        others = [other for other in near if _stem(other) != _stem(word) and not _APART & {word, other}]
        forms = [other for other in near if other not in others and _stem(other) == _stem(word)]
        found = others[:_MOST] if len(others) > 1 else [*others, *forms[:1]]
        if found:
            yield word, found


def _stem(word: str) -> str:
    return re.sub(r"(ies|ing|ed|es|s|e|y|er|ers|ion|ions)$", "", word)


def everyday_words() -> list[str]:
    """The frequent words that are written small in what the generator's people say to tools, and in its questions.

    Requests beside a tool (`beside`) are left out: what is near their words was not read by anybody yet, and a sentence model takes
    some opposites for near.
    """
    said = " ".join(_served(entry.text) for side in ("train", "eval") for entry in phrasebook.entries(side))
    said += " ".join(text for side in ("train", "eval") for text in questions.questions(side))
    spoken = Counter(re.findall(r"[A-Za-z]+", said))
    words = [word for word in frequent_words(capitalised=0) if len(word) > 2]
    says = {word: bool(content_words(word)) for word in words}
    return [
        w for w in words if says[w] and spoken[w] >= max(_OFTEN, _OFTEN_SMALL * (spoken[w] + spoken[w.capitalize()]))
    ]


def _served(entry: str) -> str:
    return json.dumps({key: value for key, value in json.loads(entry).items() if key != "beside"})


def write(path: Path = NEAR_WORDS) -> None:
    lines = [f"{word}: {' '.join(near)}\n" for word, near in near_words(everyday_words())]
    path.write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    write()
