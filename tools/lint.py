"""What in a tool's definition makes models misuse it: findings, each with its place, its rule and a remedy. Pure.

A definition with findings can be registered all the same: they are warnings to its developer. What cannot be registered is
refused by `tools.catalogue.check_spec`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tools.likeness import near_pairs, squashed, words
from tools.spec import ToolSpec
from tools.typed_credentials import typed_credential

MAX_PARAMETERS = 12
"""At the top level."""
MAX_NESTING = 2
"""Objects inside one another below the arguments themselves."""
MIN_DESCRIPTION_WORDS = 4


class Rule(StrEnum):
    NO_DESCRIPTION = "no-description"
    SHORT_DESCRIPTION = "short-description"
    UNDESCRIBED_PARAMETER = "undescribed-parameter"
    AMBIGUOUS_NAME = "ambiguous-name"
    """A name that says nothing of what it holds."""
    NAMES_ALIKE = "names-alike"
    """Two parameters that differ by case or underscore alone."""
    SHOULD_BE_ENUM = "should-be-enum"
    """The description lists what may be given, the schema takes any text."""
    MISSING_FORMAT = "missing-format"
    """A date, time or email address without `format` or `pattern`."""
    NUMBER_IN_STRING = "number-in-string"
    TOO_MANY_PARAMETERS = "too-many-parameters"
    NESTED_TOO_DEEP = "nested-too-deep"
    REQUIRED_MISSING = "required-missing"
    """There are parameters, and nothing says which ones a call needs."""
    REQUIRED_UNDEFINED = "required-undefined"
    """A required parameter that is not described among the properties."""
    TYPED_CREDENTIAL = "typed-credential"
    """Registered before such definitions were refused."""
    TOOLS_ALIKE = "tools-alike"
    """Another registered tool has nearly the same name or description."""


@dataclass(frozen=True, slots=True)
class Finding:
    tool: str
    path: str
    """JSON path (RFC 9535) within the tool's definition."""
    rule: Rule
    message: str
    remedy: str

    def plain(self) -> dict[str, str]:
        return {
            "tool": self.tool,
            "path": self.path,
            "rule": self.rule.value,
            "message": self.message,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        return f"{self.tool}: {self.path}: {self.message}; {self.remedy} [{self.rule.value}]"


def lint(spec: ToolSpec, others: Sequence[ToolSpec] = ()) -> list[Finding]:
    """Findings on one tool, the tool itself first, then its parameters, then what stands beside it.

    Args: others: the registered tools; one of the same name is the tool's own former version.
    """
    beside = {other.name: other for other in others if other.name != spec.name}
    return [*_alone(spec), *_alike([spec, *beside.values()], about={spec.name})]


def lint_all(specs: Sequence[ToolSpec], others: Sequence[ToolSpec] = ()) -> list[Finding]:
    """Findings on several tools, with each other and with `others` beside them."""
    names = {spec.name for spec in specs}
    beside = [other for other in others if other.name not in names]
    return [*(finding for spec in specs for finding in _alone(spec)), *_alike([*specs, *beside], about=names)]


def _alone(spec: ToolSpec) -> Iterator[Finding]:
    for path, rule, message, remedy in (*_of_tool(spec), *_of_schema(spec.parameters, "$.parameters")):
        yield Finding(spec.name, path, rule, message, remedy)
    if (typed := typed_credential(spec)) is not None:
        remedy = "register it anew so (--replace), and have the service give out another key"
        yield Finding(spec.name, "$.backend", Rule.TYPED_CREDENTIAL, typed, remedy)


_Found = tuple[str, Rule, str, str]
"""Path, rule, message, remedy."""


def _of_tool(spec: ToolSpec) -> Iterator[_Found]:
    said = words(spec.description)
    if not said:
        yield (
            "$.description",
            Rule.NO_DESCRIPTION,
            "there is none",
            "say in a sentence what the tool does and when to use it",
        )
    elif len(said) < MIN_DESCRIPTION_WORDS:
        yield (
            "$.description",
            Rule.SHORT_DESCRIPTION,
            f"{spec.description!r} has {len(said)} words",
            "say what the tool does, of what, and when to use it",
        )
    if squashed(spec.name) in _VAGUE_TOOLS:
        yield (
            "$.name",
            Rule.AMBIGUOUS_NAME,
            f"{spec.name!r} fits any tool",
            "name what it does to what, as in find_flights",
        )
    properties = _properties(spec.parameters)
    if len(properties) > MAX_PARAMETERS:
        yield (
            "$.parameters.properties",
            Rule.TOO_MANY_PARAMETERS,
            f"{len(properties)} parameters, more than {MAX_PARAMETERS}",
            "fix or drop what callers seldom set, or make two tools of it",
        )
    if properties and "required" not in spec.parameters:
        yield (
            "$.parameters.required",
            Rule.REQUIRED_MISSING,
            "nothing says which parameters a call needs",
            'list them; write "required": [] if a call needs none',
        )
    yield from _too_deep(spec.parameters)


def _of_schema(schema: Any, path: str) -> Iterator[_Found]:
    """What is wrong with the named values of a schema, at any depth; definitions are looked at where they stand."""
    if not isinstance(schema, Mapping):
        return
    properties = _properties(schema)
    yield from _of_names(schema, properties, path)
    for name, part in properties.items():
        here = child(f"{path}.properties", name)
        yield from _of_value(name, part, here)
        yield from _of_schema(part, here)
    for name, part in _mapping(schema.get("$defs")).items():
        yield from _of_schema(part, child(f"{path}['$defs']", name))
    yield from _of_schema(schema.get("items"), f"{path}.items")
    for key in ("anyOf", "oneOf", "allOf"):
        for place, part in enumerate(_sequence(schema.get(key))):
            yield from _of_schema(part, f"{path}.{key}[{place}]")


def _of_names(schema: Mapping[str, Any], properties: Mapping[str, Any], path: str) -> Iterator[_Found]:
    first: dict[str, str] = {}
    for name in properties:
        twin = first.setdefault(squashed(name), name)
        if twin != name:
            yield (
                child(f"{path}.properties", name),
                Rule.NAMES_ALIKE,
                f"{name!r} and {twin!r} differ by case or separators alone",
                "rename one after what sets it apart",
            )
    for place, name in enumerate(_sequence(schema.get("required"))):
        if properties and name not in list(properties):
            yield (
                f"{path}.required[{place}]",
                Rule.REQUIRED_UNDEFINED,
                f"{name!r} is required and not among the properties",
                "describe it there, or take it out",
            )


def _of_value(name: str, schema: Any, path: str) -> Iterator[_Found]:
    shape = _mapping(schema)
    text = str(shape.get("description") or "")
    if not text.strip() and "$ref" not in shape:
        yield (
            f"{path}.description",
            Rule.UNDESCRIBED_PARAMETER,
            f"{name!r} has no description",
            "say what it holds, in which unit or form",
        )
    if squashed(name) in _VAGUE_PARAMETERS or len(name) == 1:
        yield (
            path,
            Rule.AMBIGUOUS_NAME,
            f"{name!r} says nothing of what it holds",
            f"name it after that, as in {_better(name)}",
        )
    if _takes_any_text(shape):
        yield from _of_text(name, shape, text, path)


def _of_text(name: str, shape: Mapping[str, Any], text: str, path: str) -> Iterator[_Found]:
    if options := listed_options(text):
        yield (
            path,
            Rule.SHOULD_BE_ENUM,
            f"the description lists what may be given ({', '.join(options)}), the schema takes any text",
            f"give an enum: {', '.join(options)}",
        )
    elif kind := _kind_of_moment(name, text):
        yield (
            path,
            Rule.MISSING_FORMAT,
            f"{name!r} holds {_KINDS[kind]} and has no format",
            f'give "format": "{kind}", or a pattern',
        )
    elif _is_number(name, shape, text):
        yield path, Rule.NUMBER_IN_STRING, f"{name!r} holds a number as text", 'give "type": "integer" or "number"'


def _takes_any_text(shape: Mapping[str, Any]) -> bool:
    kinds = _sequence(shape.get("type")) or [shape.get("type")]
    return "string" in kinds and not any(key in shape for key in ("enum", "const", "pattern", "format"))


_QUOTED = r"""["'`“‘]([\w .+/-]{1,40}?)["'`”’]"""
_QUOTED_LIST = re.compile(rf"{_QUOTED}(?:\s*(?:,|/|\||,?\s*(?:or|and))\s*{_QUOTED})+")
_BAR_LIST = re.compile(r"(?<![\w|])\w[\w.-]*(?:\s*\|\s*\w[\w.-]*)+")
_WORD_LIST = re.compile(
    r"(?:\b(?:one of|either|options(?: are)?|choices(?: are)?|can be|must be|allowed values(?: are)?|possible values(?: are)?|"
    r"valid values(?: are)?|supported values(?: are)?)\b\s*:?\s*\(?|\(|:\s)"
    r"(?P<list>[\w-]+(?:\s*(?:,|/)\s*(?:or\s+)?[\w-]+)*\s*,?\s*(?:\bor\b|/|,)\s*[\w-]+)(?=\s*(?:[).;]|$))",
    re.IGNORECASE,
)
_SAYS_OR = re.compile(r"\bor\b|/|\bof\b|\beither\b|values", re.IGNORECASE)
"""Without such a word two names in brackets, as in (city, country), are parts of one value."""
_FOR_EXAMPLE = re.compile(
    r"\b(?:e\.?g\.?|for example|for instance|examples?|such as|like|i\.?e\.?|etc|default(?:s to)?)\b", re.IGNORECASE
)


def listed_options(text: str) -> tuple[str, ...]:
    """The values that a description names as the only ones, as far as it lists them; a list of examples is none."""
    for pattern in (_QUOTED_LIST, _BAR_LIST, _WORD_LIST):
        for found in pattern.finditer(text):
            if _FOR_EXAMPLE.search(text, max(0, found.start() - 25), min(len(text), found.end() + 6)):
                continue
            options = _options(found, quoted=pattern is _QUOTED_LIST)
            if len(options) > (1 if pattern is not _WORD_LIST or _SAYS_OR.search(found[0]) else 2):
                return options
    return ()


def _options(found: re.Match[str], *, quoted: bool) -> tuple[str, ...]:
    if quoted:
        parts = re.findall(_QUOTED, found[0])
    else:
        parts = re.split(r"\s*(?:,\s*(?:or\s+)?|/|\||\bor\b)\s*", found.groupdict().get("list") or found[0])
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


_KINDS = {"date-time": "a date and time", "date": "a date", "time": "a time of day", "email": "an email address"}
_NO_MOMENT = re.compile(
    r"time[ -]?(?:zone|out|span|frame|limit|range|period|unit|interval|series)|real[ -]time|"
    r"(?:one|first|same|long|full|part|life)[ -]?time|"
    r"at a time|number of times|up to date|date (?:format|range)|time format|"
    r"(?:subject|body|text|content|title|template|message|recipients?) (?:of|for|in) (?:the |an? |your )?email|"
    r"email (?:campaign|template|subject|body|content|list|message|text|title|account|provider|service|client|marketing)",
    re.IGNORECASE,
)


def _kind_of_moment(name: str, text: str) -> str | None:
    """The format that a value should have by its name or description; None: no date, time or email address."""
    told = re.sub(r"e-mail", "email", f"{' '.join(words(name))}. {text}", flags=re.IGNORECASE)
    said = set(words(_NO_MOMENT.sub("", told)))
    if "email" in said:
        return "email"
    if {"datetime", "timestamp"} & said or {"date", "time"} <= said:
        return "date-time"
    return "date" if "date" in said else "time" if "time" in said else None


_COUNTED = re.compile(
    r"^\W*(?:(?:the|a|an|total|maximum|minimum|max|min)\s+)*(?:(?:number|count|quantity) of (?!the\b)|amount of|how many|how much)|"
    r"\b(?:an integer|(?:a )?numeric(?:al)? value|a decimal number|in (?:seconds|minutes|hours|days|meters|metres|km|kilometers|"
    r"miles|kg|pounds|percent|"
    r"dollars|euros|usd|eur))\b",
    re.IGNORECASE,
)
_COUNT_NAMES = frozenset(
    "amount count quantity price limit age total percent percentage latitude longitude width height weight".split()
)


def _is_number(name: str, shape: Mapping[str, Any], text: str) -> bool:
    if (words(name) or ("",))[-1] in _COUNT_NAMES or _COUNTED.search(text):
        return True
    given = [*_sequence(shape.get("examples")), *([shape["default"]] if "default" in shape else [])]
    return bool(given) and all(
        isinstance(value, str) and re.fullmatch(r"-?\d+\.\d+|-?[1-9]\d{0,5}|0", value) for value in given
    )


def _too_deep(parameters: Mapping[str, Any]) -> Iterator[_Found]:
    found = next(_beyond(parameters, parameters, "$.parameters", 0, ()), None)
    if found is not None:
        yield (
            found,
            Rule.NESTED_TOO_DEEP,
            f"objects nested deeper than {MAX_NESTING} levels",
            "flatten it, or take the inner object apart into parameters",
        )


def _beyond(schema: Any, root: Mapping[str, Any], path: str, depth: int, seen: tuple[str, ...]) -> Iterator[str]:
    """Paths of objects below the allowed depth; a reference is followed, one into itself has no end."""
    shape = _mapping(schema)
    reference = shape.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            yield path
        else:
            yield from _beyond(_referred(root, reference), root, path, depth, (*seen, reference))
    properties = _properties(shape)
    if properties and depth > MAX_NESTING:
        yield path
        return
    for name, part in properties.items():
        yield from _beyond(part, root, child(f"{path}.properties", name), depth + 1, seen)
    yield from _beyond(shape.get("items"), root, f"{path}.items", depth, seen) if "items" in shape else ()
    for key in ("anyOf", "oneOf", "allOf"):
        for place, part in enumerate(_sequence(shape.get(key))):
            yield from _beyond(part, root, f"{path}.{key}[{place}]", depth, seen)


def _referred(root: Mapping[str, Any], reference: str) -> Any:
    """What a local reference points to; None where it leads nowhere or elsewhere."""
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        node = _mapping(node).get(part.replace("~1", "/").replace("~0", "~"))
    return node if reference.startswith("#") else None


def _alike(specs: Sequence[ToolSpec], about: set[str]) -> Iterator[Finding]:
    for a, b, how in sorted(near_pairs({spec.name: spec.description for spec in specs})):
        for name, other in ((a, b), (b, a)):
            if name in about:
                yield Finding(
                    name,
                    f"$.{how}",
                    Rule.TOOLS_ALIKE,
                    f"nearly the same {how} as the tool {other!r}",
                    "say in both what sets them apart, or keep one of them",
                )


_VAGUE_PARAMETERS = frozenset(
    "id data value val param params parameter arg args argument input obj object item info key var payload thing stuff misc field "
    "tmp foo bar".split()
)
_VAGUE_TOOLS = frozenset(
    "api call do data execute func function get handle handler main process query request run tool use util action".split()
)
_BETTER = {"id": "order_id", "data": "order_lines", "value": "temperature_celsius", "x": "longitude", "y": "latitude"}


def _better(name: str) -> str:
    return _BETTER.get(squashed(name), "departure_city")


def child(path: str, name: str) -> str:
    """A member's JSON path; names that are no plain words are quoted."""
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        return f"{path}.{name}"
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"{path}['{quoted}']"


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(schema.get("properties"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
