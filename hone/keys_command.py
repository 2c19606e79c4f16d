"""`hone keys`: who may use the server. A key is shown once, when it is made or rotated."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from hone.home import open_home
from hone.output import JsonOption, console, show_table, write_json
from runtime.access.keys import ApiKey, KeyLimits, KeyState
from runtime.access.roles import Role
from runtime.database import utc_now

app = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]
TenantOption = Annotated[str | None, typer.Option(help="Whose; unless given, that of HONE_TENANT.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For people: who or what uses it.")],
    role: Annotated[Role, typer.Option(help="Each has the rights of those before it.")] = Role.USER,
    tenant: TenantOption = None,
    scope: Annotated[list[str] | None, typer.Option(help="Only these groups of routes; repeatable.")] = None,
    acts_for_others: Annotated[
        bool, typer.Option("--acts-for-others", help="Its requests may name the user that they are for.")
    ] = False,
    days: Annotated[float | None, typer.Option(min=0.001, help="Until it runs out; unless given, it does not.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    concurrency: Annotated[int | None, typer.Option(min=1)] = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Make a key. From the first one on, the server serves nobody without."""
    with open_home(home=home, tenant=tenant) as here:
        made, sent = here.keys.create(
            name,
            role=role,
            scopes=scope or (),
            acts_for_others=acts_for_others,
            limits=KeyLimits(requests_per_minute, tokens_per_minute, concurrency),
            expires_at=utc_now() + timedelta(days=days) if days is not None else None,
        )
    _tell(made, sent, json)


@app.command("list")
def list_keys(
    role: Annotated[Role | None, typer.Option(help="Only those of this role.")] = None,
    state: Annotated[KeyState | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    after: Annotated[str | None, typer.Option(help="Prefix of the last key of the page before.")] = None,
    tenant: TenantOption = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """The keys of a tenant, newest first."""
    with open_home(home=home, tenant=tenant) as here:
        found = here.keys.list(role=role, state=state, limit=limit, after=after)
    following = found[-1].prefix if len(found) == limit else None
    if json:
        write_json({"keys": [_plain(key) for key in found], "next": following}, json)
        return
    now = utc_now()
    rows = [
        [
            k.prefix,
            k.name,
            k.role.value,
            ", ".join(k.scopes) or "all",
            k.state(now).value,
            _at(k.expires_at),
            _at(k.last_used_at),
        ]
        for k in found
    ]
    show_table("Keys (UTC)", ("prefix", "name", "role", "scopes", "state", "until", "last used"), rows)


@app.command()
def show(prefix: str, tenant: TenantOption = None, home: HomeOption = None, json: JsonOption = None) -> None:
    """All that is kept of a key."""
    with open_home(home=home, tenant=tenant) as here:
        found = _plain(here.keys.get(prefix))
    if json:
        write_json(found, json)
        return
    show_table(f"Key {prefix}", ("", ""), [[name, value] for name, value in found.items()])


@app.command()
def rotate(
    prefix: str,
    overlap: Annotated[
        float, typer.Option(min=0, max=30 * 24, help="Hours in which the one before is taken too.")
    ] = 24.0,
    tenant: TenantOption = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """A new secret under the same prefix."""
    with open_home(home=home, tenant=tenant) as here:
        made, sent = here.keys.rotate(prefix, overlap_s=overlap * 3600)
    _tell(made, sent, json)


@app.command()
def revoke(prefix: str, tenant: TenantOption = None, home: HomeOption = None, json: JsonOption = None) -> None:
    """Take a key no more; running servers hear of it within seconds."""
    with open_home(home=home, tenant=tenant) as here:
        revoked = here.keys.revoke(prefix)
    if json:
        write_json(_plain(revoked), json)
        return
    console.print(f"{prefix} ({revoked.name}) is revoked", markup=False, highlight=False)


def _tell(made: ApiKey, sent: str, json: str | None) -> None:
    if json:
        write_json({**_plain(made), "key": sent}, json)
        return
    console.print(sent, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{made.prefix} ({made.name}): {made.role.value} of {made.tenant}; keep it now, it is not shown again",
        markup=False,
        highlight=False,
    )


def _plain(key: ApiKey) -> dict[str, Any]:
    told = {name: getattr(key, name) for name in key.__slots__}
    told |= {name: _at(value) for name, value in told.items() if name.endswith(("_at", "_until"))}
    limits = key.limits.plain()
    return told | {
        "role": key.role.value,
        "scopes": list(key.scopes),
        "limits": limits,
        "state": key.state(utc_now()).value,
    }


def _at(instant: Any) -> str | None:
    return instant.isoformat(timespec="seconds") if instant is not None else None
