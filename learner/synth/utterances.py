"""How people ask: formal, casual and terse requests that carry some of a tool's values."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learner.synth.invention import InventedTool
from learner.synth.lexicon import VERBS, WORDS
from learner.synth.parameters import Parameter, Spoken, listed

_FORMAL = (
    "Please {ask}.",
    "Could you {ask}?",
    "Could you please {ask}?",
    "I would like to {ask}.",
    "Would you {ask} for me?",
    "Can you {ask}?",
    "I want you to {ask}.",
    "Kindly {ask}.",
    "I need to {ask}.",
    "I'd like you to {ask}, please.",
    "Would you be so kind as to {ask}?",
    "May I ask you to {ask}?",
    "Is it possible to {ask}?",
    "Would it be possible to {ask}?",
)
_CASUAL = (
    "{ask}",
    "{ask} please",
    "hey can you {ask}",
    "hi, {ask}",
    "can u {ask}",
    "{ask} thanks",
    "ok {ask}",
    "i need to {ask}",
    "let's {ask}",
    "{ask}!",
    "so I want to {ask}",
    "pls {ask}",
    "help me {ask}",
    "{ask}.",
    "can I {ask}",
    "I have to {ask}",
    "we need to {ask}",
    "I'd like to {ask}",
    "go ahead and {ask}",
    "could I {ask}?",
    "just {ask}",
    "{ask} for me",
    "time to {ask}",
    "I'm trying to {ask}",
)
# Around a request that already reads as a sentence of its own.
_BEFORE = (
    "hi, ",
    "hello, ",
    "hey, ",
    "ok ",
    "so ",
    "please, ",
    "quick question: ",
    "good morning, ",
    "um, ",
    "sorry, ",
    "one more thing: ",
    "Hello there. ",
    "next: ",
    "and ",
)
_AFTER = (" please", " thanks", "!", " asap", " if you can", ", thank you", " right now", " pls", ", ok?", "...")


@dataclass(frozen=True)
class Request:
    """What was said and what it carries."""

    text: str
    arguments: dict[str, Any]


def speak_values(rng: random.Random, tool: InventedTool, names: set[str]) -> dict[str, Spoken]:
    spoken = {p.name: p.speak(rng) for p in tool.parameters if p.name in names}
    if len(tool.group) == 2 and set(tool.group) <= set(spoken):
        left, right = tool.group
        for _ in range(5):  # "from km to km" would be no conversion
            if spoken[left][0] != spoken[right][0]:
                break
            spoken[right] = next(p for p in tool.parameters if p.name == right).speak(rng)
    return spoken


def beside(rng: random.Random, tool: InventedTool) -> str:
    """A request about the tool's subject that it does not serve, of those that were written for it."""
    assert tool.phrases
    template = rng.choice(tool.phrases.beside)
    return _say(rng, tool, template, speak_values(rng, tool, _names_in(tool, template)), ())


@dataclass(frozen=True)
class SpokenRequest:
    """A request, and each value in it with the user's words for it."""

    text: str
    spoken: dict[str, Spoken]


def complete(rng: random.Random, tool: InventedTool, toolset: Sequence[InventedTool] = ()) -> Request:
    """A request that carries all required parameters and some optional ones."""
    made = spoken_request(rng, tool, toolset)
    return Request(made.text, _arguments(tool, made.spoken))


def spoken_request(rng: random.Random, tool: InventedTool, toolset: Sequence[InventedTool] = ()) -> SpokenRequest:
    """As `complete`."""
    template, names = _plan(rng, tool)
    spoken = speak_values(rng, tool, names)
    return SpokenRequest(_say(rng, tool, template, spoken, toolset), spoken)


def for_each(
    rng: random.Random, tool: InventedTool, toolset: Sequence[InventedTool] = ()
) -> tuple[str, list[dict[str, Any]]] | None:
    """A request that names two or three values of one parameter, and the arguments of a call for each; None where the tool has no
    parameter that could be said so."""
    template, names = _plan(rng, tool)
    spoken = speak_values(rng, tool, names)
    able = [
        p
        for p in tool.parameters
        if p.name in spoken
        and p.is_plain
        and p.name not in tool.group
        and (template is None or template.count(f"{{{p.name}}}") == 1)
    ]
    if not able:
        return None
    parameter = rng.choice(able)
    values = [spoken[parameter.name], *(parameter.speak(rng) for _ in range(rng.choice((1, 1, 2))))]
    # a value that is itself an enumeration would be two
    if len({str(value) for value, _ in values}) < len(values) or any(len(_PARTS.split(said)) > 1 for _, said in values):
        return None
    *first, last = [said for _, said in values]
    together = (
        ", ".join(first) + rng.choice((" and ", " and ", " and ", ", ", " & ", " as well as ", " and also ")) + last
    )
    text = _say(rng, tool, template, {**spoken, parameter.name: (None, together)}, toolset)
    return text, [_arguments(tool, {**spoken, parameter.name: value}) for value in values]


def and_again(
    rng: random.Random, tool: InventedTool, toolset: Sequence[InventedTool] = ()
) -> tuple[str, list[dict[str, Any]]] | None:
    """A request and then the values of another, as in "the weather in Oslo today and in Rome tomorrow", with the arguments of a
    call for each; None where the tool has no parameters to be said so."""
    made = spoken_request(rng, tool, toolset)
    names = set(made.spoken)
    if not names or any(p.flag for p in tool.parameters if p.name in names):
        return None
    others = speak_values(rng, tool, names)
    if any(str(others[name][0]) == str(made.spoken[name][0]) for name in names):
        return None
    tail = " ".join(_pieces(rng, tool, others)).replace(" : ", ": ")
    joint = rng.choice((" and ", ", and ", ", and also ", " and then ", "; also ", ", and another one ", ", then "))
    text = made.text.rstrip(".?! ") + joint + tail + rng.choice(("", "", ".", "?", " please"))
    return text, [_arguments(tool, made.spoken), _arguments(tool, others)]


_PARTS = re.compile(r",| and | & ")


def _plan(rng: random.Random, tool: InventedTool) -> tuple[str | None, set[str]]:
    """A whole request to fill in, where the tool has such, and the parameters that are said."""
    if tool.phrases:
        template = rng.choice(tool.phrases.complete)
        return template, _names_in(tool, template)
    return None, {p.name for p in tool.parameters if p.required or rng.random() < 0.4}


def _names_in(tool: InventedTool, template: str) -> set[str]:
    return {p.name for p in tool.parameters if f"{{{p.name}}}" in template}


def _arguments(tool: InventedTool, spoken: dict[str, Spoken]) -> dict[str, Any]:
    return {p.name: spoken[p.name][0] for p in tool.parameters if p.name in spoken}


def _say(
    rng: random.Random,
    tool: InventedTool,
    template: str | None,
    spoken: dict[str, Spoken],
    toolset: Sequence[InventedTool],
    hinted: Sequence[Parameter] = (),
) -> str:
    if template is not None:
        text = template.format(**{name: _within(template, name, words) for name, (_, words) in spoken.items()})
        return _with_values_kept(_around(rng, text), spoken)
    noun = _spoken_noun(rng, tool, toolset)
    hints = [rng.choice(_HINTS).format(n=p.words) for p in hinted]
    if noun and rng.random() < 0.4:
        return _with_values_kept(_around(rng, _noun_ask(rng, tool, noun, spoken, hints)), spoken)
    return _with_values_kept(_wrap(rng, _ask(rng, tool, noun, spoken, hints)), spoken)


def _within(template: str, name: str, words: str) -> str:
    """The words of a value, without marks around them where the sentence has its own."""
    for opening, closing in _MARKS:
        if f"{opening}{{{name}}}{closing}" in template and words[0] + words[-1] in _AROUND and len(words) > 2:
            return words[1:-1]
    return words


_MARKS = ("''", '""', "[]", "()")
_AROUND = ("''", '""', "[]")


Lacking = tuple[Request, list[Parameter]]
"""A request, and the required parameters that it leaves out."""


def lacking(rng: random.Random, tool: InventedTool, toolset: Sequence[InventedTool] = ()) -> Lacking | None:
    """A request that leaves required parameters out, and which; None where the tool requires none."""
    if tool.phrases:
        if not tool.phrases.lacking:
            return None
        template = rng.choice(tool.phrases.lacking)
        spoken = speak_values(rng, tool, _names_in(tool, template))
        made = Request(_say(rng, tool, template, spoken, toolset), _arguments(tool, spoken))
        return made, [p for p in tool.required if p.name not in made.arguments]
    required = list(tool.required)
    if not required:
        return None
    count = 1 if rng.random() < 0.7 else rng.randint(1, len(required))
    dropped = {p.name for p in rng.sample(required, count)}
    missing = [p for p in required if p.name in dropped]
    names = {p.name for p in tool.parameters if p.required or rng.random() < 0.4} - dropped
    hinted = [p for p in missing if rng.random() < 0.2]
    return request(rng, tool, names, toolset, hinted=hinted), missing


def _with_values_kept(text: str, spoken: dict[str, Spoken]) -> str:
    """Undoes a capital at the beginning where a value begins the text: its case is part of it."""
    for _, words in spoken.values():
        if words[0].islower() and text.startswith(words[0].upper() + words[1:]):
            return words + text[len(words) :]
    return text


def request(
    rng: random.Random,
    tool: InventedTool,
    names: set[str],
    toolset: Sequence[InventedTool] = (),
    *,
    hinted: Sequence[Parameter] = (),
) -> Request:
    """A request for `tool` that carries the parameters in `names` and no other.

    Where no other tool of `toolset` is about the same noun, the noun alone may stand for the tool. Parameters in `hinted`
    are touched on without a value, as in "from some city".
    """
    spoken = speak_values(rng, tool, names)
    return Request(_say(rng, tool, None, spoken, toolset, hinted), _arguments(tool, spoken))


_HINTS = (
    "for a {n}",
    "with some {n}",
    "on a {n}",
    "at some {n}",
    "with a {n}",
    "for the {n}",
    "of some {n}",
    "for my {n}",
    "by {n}",
    "for another {n}",
    "with that {n}",
)


def _spoken_noun(rng: random.Random, tool: InventedTool, toolset: Sequence[InventedTool]) -> str | None:
    """What the user calls the tool's object; None where another tool is about the same one, so that the verb must tell."""
    if any(other is not tool and _stem(other.noun) == _stem(tool.noun) for other in toolset):
        return None
    noun = tool.alias if tool.alias and rng.random() < 0.5 else tool.noun
    draw = rng.random()
    if draw < 0.15:
        return _stem(noun)
    return noun + "s" if draw < 0.22 and not noun.endswith("s") else noun


def _stem(noun: str) -> str:
    return noun.removesuffix("s")


_NOUN_QUESTIONS = (
    "what's the {noun}",
    "what is the {noun}",
    "what are the {noun}",
    "how is the {noun}",
    "how's the {noun}",
    "any {noun}",
    "is there a {noun}",
    "are there any {noun}",
    "do you have {noun}",
    "do you have a {noun}",
    "which {noun} is there",
    "which {noun}",
    "how much is the {noun}",
    "how many {noun}",
    "what would be the {noun}",
    "where is the {noun}",
    "where can I find {noun}",
    "where's my {noun}",
    "what about {noun}",
    "what {noun} do you have",
    "can I have a {noun}",
    "could I have a {noun}",
    "could I get a {noun}",
    "how about a {noun}",
    "who has the {noun}",
    "has the {noun} come",
    "when is the {noun}",
    "what kind of {noun} is there",
)
_NOUN_WISHES = (
    "I need a {noun}",
    "I need the {noun}",
    "i need {noun}",
    "give me the {noun}",
    "I'd like a {noun}",
    "I'd like {noun}",
    "I want a {noun}",
    "I want {noun}",
    "we want a {noun}",
    "get me a {noun}",
    "get us {noun}",
    "tell me the {noun}",
    "looking for {noun}",
    "I'm looking for a {noun}",
    "I am after a {noun}",
    "put me down for a {noun}",
    "let me have the {noun}",
    "a {noun}",
    "my {noun}",
    "the {noun}",
    "{noun}",
    "{noun}",
    "{noun}",
    "{noun}:",
    "number of {noun}",
    "one {noun}",
    "new {noun}",
    "another {noun}",
    "this is about {noun}",
    "{noun} please:",
    "I have a {noun}",
    "don't forget the {noun}",
    "it's for a {noun}",
)


def _noun_ask(rng: random.Random, tool: InventedTool, noun: str, spoken: dict[str, Spoken], hints: list[str]) -> str:
    """The noun stands for the tool: "any hotels in Oslo", "Oslo hotel", "in Oslo, is there a hotel"."""
    pieces = _pieces(rng, tool, spoken) + hints
    draw = rng.random()
    if draw < 0.22:  # no verb at all, the noun somewhere among the values
        pieces.insert(rng.randint(0, len(pieces)), noun)
        return rng.choice((" ", " ", ", ")).join(pieces)
    if draw < 0.4:
        bare = _before_noun(rng, tool, spoken)
        if bare is not None:
            value, rest = bare
            head = rng.choice(_NOUN_WISHES + _NOUN_QUESTIONS).format(noun=f"{value} {noun}")
            return " ".join([head, *_pieces(rng, tool, rest), *hints]).replace(": :", ":")
    question = rng.random() < 0.5
    head = rng.choice(_NOUN_QUESTIONS if question else _NOUN_WISHES).format(noun=noun)
    if pieces and rng.random() < 0.15:
        return f"{pieces[0]}{rng.choice((', ', ' - ', ': '))}{' '.join([head, *pieces[1:]])}"
    return " ".join([head, *pieces]).replace(": :", ":").replace(" : ", ": ") + (
        "?" if question and rng.random() < 0.7 else ""
    )


def _before_noun(
    rng: random.Random, tool: InventedTool, spoken: dict[str, Spoken]
) -> tuple[str, dict[str, Spoken]] | None:
    """A value that can stand before the noun, as in "electric bike", and the others."""
    able = [
        p.name
        for p in tool.parameters
        if p.name in spoken
        and p.schema.get("type") == "string"
        and not p.flag
        and p.name not in tool.group  # which of them it is would be left to guess
        and len(spoken[p.name][1].split()) < 3
    ]
    if not able:
        return None
    name = rng.choice(able)
    return spoken[name][1], {n: v for n, v in spoken.items() if n != name}


def _ask(rng: random.Random, tool: InventedTool, noun: str | None, spoken: dict[str, Spoken], hints: list[str]) -> str:
    draw = rng.random()
    if draw < 0.1 and noun:
        bare = _before_noun(rng, tool, spoken)
        if bare is not None:
            value, rest = bare
            head = _head(rng, tool, f"{value} {noun}", with_value=True)
            return " ".join([head, *_pieces(rng, tool, rest), *hints]).replace(" : ", ": ")
    pieces = _pieces(rng, tool, spoken) + hints
    head = _head(rng, tool, noun)
    if pieces and draw > 0.88:  # the value first, as in "for Paris, get weather"
        first = pieces.pop(0)
        return " ".join([first + ",", head, *pieces])
    return " ".join([head, *pieces]).replace(" : ", ": ")


def _head(rng: random.Random, tool: InventedTool, noun: str | None, *, with_value: bool = False) -> str:
    """Args: with_value: the noun carries a value, so it must be said."""
    verb = tool.verb
    if verb in VERBS and rng.random() < 0.5:
        verb = rng.choice(VERBS[verb])
    draw = rng.random()
    if draw < 0.06 and tool.description and not tool.alias and not with_value:
        return tool.description[0].lower() + tool.description[1:].rstrip(".")
    if draw < 0.1 and noun:
        return f"{noun} {tool.verb}"
    if draw < 0.13 and not with_value:
        return tool.name
    thing = noun or tool.noun
    return f"{verb} {rng.choice(('', '', 'a ', 'the ', 'my ', 'this ', 'me a ', 'us the ', 'some '))}{thing}"


def _pieces(rng: random.Random, tool: InventedTool, spoken: dict[str, Spoken]) -> list[str]:
    """The values, each with the words that tie it to its parameter."""
    pieces: list[str] = []
    done: set[str] = set()
    if tool.group and set(tool.group) <= set(spoken) and rng.random() < 0.85:
        pieces.append(rng.choice(tool.group_cues).format(*(spoken[name][1] for name in tool.group)))
        done = set(tool.group)
    types = [str(p.schema) for p in tool.parameters]
    figures = any(p.schema.get("type") in _FIGURES for p in tool.parameters if p.name in tool.group)
    # Bare values: told apart by their type, or by the order of the signature.
    bare = rng.random() < 0.12
    for parameter in tool.parameters:
        if parameter.name in spoken and parameter.name not in done:
            alone = types.count(str(parameter.schema)) == 1
            words = spoken[parameter.name][1]
            # one of a group, and a figure beside a group of figures, could be any of them
            unclear = parameter.name in tool.group or (figures and parameter.schema.get("type") in _FIGURES)
            if bare and not unclear and (len(done) or alone or parameter.schema.get("type") == "string"):
                pieces.append(words)
            else:  # two values of one type must be told apart by their names
                explicit = not alone and rng.random() < 0.7
                pieces.append(say(rng, parameter, words, explicit=explicit or (unclear and figures)))
    if not bare and len(pieces) > 1 and rng.random() < 0.4:
        rng.shuffle(pieces)
    return pieces


_FIGURES = ("integer", "number", "array")


def say(rng: random.Random, parameter: Parameter, text: str, *, explicit: bool = False) -> str:
    cues = [c for c in parameter.cues if "{n}" in c] if explicit and not parameter.flag else parameter.cues
    words = parameter.words if rng.random() < 0.85 else parameter.name
    return rng.choice(cues or parameter.cues).format(n=words, v=text)


def _wrap(rng: random.Random, ask: str) -> str:
    draw = rng.random()
    if draw < 0.3:
        return rng.choice(_FORMAL).format(ask=ask)
    if draw < 0.75:
        text = rng.choice(_CASUAL).format(ask=ask)
        return text[0].upper() + text[1:] if rng.random() < 0.4 else text
    return _around(rng, ask)


def _around(rng: random.Random, text: str) -> str:
    """Small talk before or after, or a sentence of context that decides nothing."""
    draw = rng.random()
    if draw < 0.15:
        text = rng.choice(_BEFORE) + text
    elif draw < 0.28:
        text = text.rstrip("?.") + rng.choice(_AFTER)
    elif draw < 0.36:
        text = rng.choice(_CONTEXTS).format(a=rng.choice(WORDS), b=rng.choice(WORDS)) + text
    elif draw < 0.5:
        text += rng.choice((".", "?", "?", "!"))
    return text[0].upper() + text[1:] if rng.random() < 0.35 else text


def mistyped(rng: random.Random, text: str, kept: str) -> str:
    """One word with two letters exchanged, one doubled or one left out, as fingers do.

    Args: kept: words in which nothing may change, such as values.
    """
    able = [found for found in _LONG_WORD.finditer(text) if found[0].lower() not in kept.lower()]
    if not able:
        return text
    found = rng.choice(able)
    word, at = found[0], rng.randint(1, len(found[0]) - 3)
    wrong = rng.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1 :],
        )
    )
    return text[: found.start()] + wrong + text[found.end() :]


_LONG_WORD = re.compile(r"(?<![\w.@'-])[A-Za-z]{5,}(?![\w.@'-])")


_CONTEXTS = (
    "the {a} is {b}. ",
    "I am a bit {a} about the {b}, ",
    "my {a} {b} again. ",
    "we talked about {a}. ",
    "since the {a} is {b}, ",
    "before the {a} {b}, ",
    "I never {a} the {b}: ",
    "no {a} here, only {b}. ",
    "our {a} and {b} are gone. ",
)


_REPLIES = (
    *("{v}", "{v}", "{v}", "{v}", "{v} please", "it's {v}", "{v}.", "use {v}", "oh, {v}"),
    *("It is {v}.", "Sure, it's {v}.", "my {n} is {v}", "The {n} is {v}.", "How about {v}?", "Yes, {v}", "Sure, {v}."),
)


def reply(rng: random.Random, parameters: list[Parameter], spoken: dict[str, Spoken]) -> str:
    """The user's answer to a question about missing values."""
    if len(parameters) == 1 and not parameters[0].flag:
        parameter = parameters[0]
        text = spoken[parameter.name][1]
        if rng.random() < 0.2:
            return say(rng, parameter, text)
        return rng.choice(_REPLIES).format(v=text, n=parameter.words)
    if rng.random() < 0.35 and not any(p.flag for p in parameters):
        said = listed([f"{'my ' if rng.random() < 0.4 else ''}{p.words} is {spoken[p.name][1]}" for p in parameters])
        text = rng.choice(("", "Yes, ", "Sure, ", "ok, ")) + said + rng.choice(("", "."))
        return _with_values_kept(text[0].upper() + text[1:] if rng.random() < 0.5 else text, spoken)
    joiner = rng.choice((", ", " and ", "; "))
    return joiner.join(say(rng, p, spoken[p.name][1], explicit=True) for p in parameters)
