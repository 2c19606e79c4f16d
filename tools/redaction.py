"""Takes the secrets of a call out of what the policy, the traces and the logs are shown.

A service may repeat what it was sent ("invalid key sk-..."), an error may quote an address that carries a key.
"""

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MIN_CHARS = 4
"""A shorter secret is no secret, and taking it out would tear unrelated text apart."""


class Redaction:
    """The secrets that one call has used so far."""

    def __init__(self) -> None:
        self._shown_as: dict[str, str] = {}

    def cover(self, value: str, name: str) -> None:
        """From now on, `value` and the forms in which a request carries it are shown as `[secret NAME]`."""
        for form in _forms(value):
            if len(form) >= MIN_CHARS:
                self._shown_as[form] = f"[secret {name}]"

    def cover_pair(self, pair: str, name: str) -> None:
        """`user:password`: the pair, what Basic makes of it, and the password alone."""
        self.cover(pair, name)
        self.cover(base64.b64encode(pair.encode()).decode(), name)
        self.cover(pair.partition(":")[2], name)

    def clean(self, text: str) -> str:
        for form in sorted(self._shown_as, key=len, reverse=True):
            text = text.replace(form, self._shown_as[form])
        return text


def _forms(value: str) -> Iterable[str]:
    as_json = json.dumps(value)[1:-1]
    return {value, quote(value, safe=""), quote(value), quote_plus(value), as_json, json.dumps(as_json)[1:-1]}
