"""Tokens of an identity provider that is really there: a small issuer over HTTP whose keys change, and what it never signed."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from runtime.access import oidc
from runtime.errors import BadSettings
from runtime.prompt import Renderer
from runtime.settings import load_settings
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.serving import serving


class Issuer:
    """Signs tokens, and says over HTTP by which keys."""

    url = ""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})]
        self.asked = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def description() -> dict[str, str]:
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

        @app.get("/keys")
        def keys() -> Any:
            self.asked += 1
            return KeySet(self.keys).as_dict(private=False)

        return app

    def token(self, *, key: Any = None, alg: str = "RS256", **changed: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "hone",
            "sub": "ann",
            "org": "acme",
            "groups": [],
            "iat": now,
            "exp": now + 60,
        }
        claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        key = key if key is not None else self.keys[-1]
        return jwt.encode({"alg": alg, "kid": key.kid}, claims, key, algorithms=[alg])


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    with serving(made.app()) as url:
        made.url = url
        yield made


@contextmanager
def trusting(issuer: Issuer, home: Path, renderer: Renderer, **others: Any) -> Iterator[ServedApp]:
    asked = {
        "oidc_issuer": issuer.url,
        "oidc_audience": "hone",
        "oidc_tenant_claim": "org",
        "oidc_role_claim": "groups",
        "oidc_roles": {"devs": "developer", "admins": "operator"},
    }
    with served_app(home, renderer, ["Hello."] * 9, **{**asked, **others}) as server:
        yield server


def who(server: ServedApp, token: str) -> httpx2.Response:
    return server.http.get("/v1/whoami", headers={"authorization": f"Bearer {token}"})


def test_claims_become_tenant_user_and_the_highest_role(issuer: Issuer, tmp_path: Path, renderer: Renderer) -> None:
    with trusting(issuer, tmp_path, renderer) as server:
        assert server.http.get("/v1/models").status_code == 401
        ann = who(server, issuer.token()).json()
        assert [ann[name] for name in ("tenant", "user", "role", "via")] == ["acme", "ann", "user", "oidc"]
        assert who(server, issuer.token(groups=["x", "admins", "devs"])).json()["role"] == "operator"
        tools = server.http.get("/v1/tools", headers={"authorization": f"Bearer {issuer.token()}"})
        assert tools.status_code == 403
        body = {"messages": [{"role": "user", "content": "Hi"}], "user": "somebody else"}
        sent = {"authorization": f"Bearer {issuer.token()}"}
        said = server.http.post("/v1/chat/completions", json=body, headers=sent)
        assert server.http.get(f"/v1/traces/{said.headers['x-hone-trace']}", headers=sent).json()["user"] == "ann"


def test_a_token_that_is_not_for_us_or_not_of_the_issuer_is_refused(
    issuer: Issuer, tmp_path: Path, renderer: Renderer
) -> None:
    now, own = int(time.time()), issuer.keys[0]
    public = own.as_pem(private=False)
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    claims = {"iss": issuer.url, "aud": "hone", "sub": "ann", "org": "acme", "exp": now + 60}
    whole, confused = issuer.token(), _confused(public, claims)
    unsigned = f"{_part({'alg': 'none'})}.{_part(claims)}."
    wrong = {
        "for another": issuer.token(aud="another"),
        "for nobody": issuer.token(aud=None),
        "of another": issuer.token(iss="https://evil.example"),
        "run out": issuer.token(exp=now - 60),
        "for ever": issuer.token(exp=None),
        "not yet": issuer.token(nbf=now + 600),
        "of a stranger's key": issuer.token(key=stranger),
        "unsigned": unsigned,
        "signed with the public key as a secret": confused,
        "changed": whole[:-8] + "AAAAAAAA",
        "cut": whole.rsplit(".", 1)[0],
        "no token": "a.b.c",
        "huge": "a" * 20_000,
    }
    with trusting(issuer, tmp_path, renderer) as server:
        assert who(server, whole).status_code == 200
        for what, token in wrong.items():
            answer = who(server, token)
            assert answer.status_code == 401, what
            assert token not in answer.text, what
        others: list[dict[str, Any]] = [{"org": None}, {"org": "shared"}, {"org": "../x"}, {"sub": "key:abcdefgh"}]
        for other in others:
            assert who(server, issuer.token(**other)).status_code == 403, other


def test_keys_that_the_issuer_rotates_are_followed_and_made_up_ones_cost_it_nothing(
    issuer: Issuer, tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "APART_S", 0.3)
    with trusting(issuer, tmp_path, renderer) as server:
        old = issuer.token()
        assert who(server, old).status_code == 200
        issuer.keys = [ECKey.generate_key("P-256", {"kid": "two"})]
        time.sleep(0.35)
        assert who(server, issuer.token(alg="ES256")).status_code == 200
        assert who(server, old).status_code == 401
        asked = issuer.asked
        for i in range(20):
            stranger = ECKey.generate_key("P-256", {"kid": f"made-up-{i}"})
            assert who(server, issuer.token(key=stranger, alg="ES256")).status_code == 401
        assert issuer.asked - asked <= 8  # at most one for each 0.3 s


def test_an_issuer_in_a_private_network_is_not_called_unless_it_is_allowed(
    issuer: Issuer, tmp_path: Path, renderer: Renderer
) -> None:
    with trusting(issuer, tmp_path, renderer, allowed_networks=()) as server:
        answer = who(server, issuer.token())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "issuer_unavailable")
        assert "allowed_networks" in answer.json()["error"]["message"]
    assert issuer.asked == 0


def test_an_issuer_that_is_away_leaves_its_keys_as_they_were(
    tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "KEPT_S", 0.0)
    monkeypatch.setattr(oidc, "APART_S", 0.0)
    gone = Issuer()
    with serving(gone.app()) as url:
        gone.url = url
        held = trusting(gone, tmp_path, renderer)
        server = held.__enter__()
        assert who(server, gone.token()).status_code == 200
    try:
        assert who(server, gone.token()).status_code == 200
    finally:
        held.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"oidc_issuer": "https://id.example"}, "oidc_issuer needs oidc_audience"),
        ({"oidc_algorithms": ("HS256",)}, "'HS256' is none that a token may be signed by"),
        ({"oidc_algorithms": ("none",)}, "'none' is none"),
        ({"oidc_roles": {"admins": "king"}}, "oidc_roles"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(BadSettings, match=told):
        load_settings(**given)


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _confused(secret: bytes, claims: dict[str, Any]) -> str:
    """Signed with what everybody knows, as if it were a secret; by hand, since the library refuses to."""
    signed = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(claims)}"
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), 'sha256'))}"
