"""The store of keys, on both databases: what counts until when, and what is kept of it."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from runtime.access.audit import AuditLog
from runtime.access.keys import FRESH_S, Keys, KeyState
from runtime.access.roles import Role
from runtime.access.tables import api_keys
from runtime.errors import BadRequest, KeyNotFound, KeySpent
from tools.tenancy import Caller, acting, for_tenant


class Clock:
    """Both clocks of the store, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(engine: sa.Engine, clock: Clock) -> Keys:
    return Keys(engine, clock=clock.now, monotonic=clock.monotonic)


def test_after_a_rotation_both_secrets_count_until_the_overlap_is_over(keys: Keys, clock: Clock) -> None:
    made, first = keys.create("k", role=Role.USER)
    _, second = keys.rotate(made.prefix, overlap_s=60)
    for seconds, taken in ((0, [True, True]), (59, [True, True]), (60, [False, True]), (6000, [False, True])):
        clock.seconds = seconds
        assert [keys.verify(sent) is not None for sent in (first, second)] == taken
    assert first.rsplit("_", 1)[0] == second.rsplit("_", 1)[0]


def test_a_key_counts_until_it_runs_out_or_is_revoked_and_then_never_again(keys: Keys, clock: Clock) -> None:
    made, sent = keys.create("k", role=Role.USER, expires_at=clock.now() + timedelta(seconds=10))
    assert keys.verify(sent) is not None
    clock.seconds = 10
    assert keys.verify(sent) is None
    assert [key.state(clock.now()) for key in keys.list(state=KeyState.EXPIRED)] == [KeyState.EXPIRED]
    with pytest.raises(KeySpent, match="is expired; create another"):
        keys.rotate(made.prefix)
    other, lasting = keys.create("lasting", role=Role.USER)
    keys.revoke(other.prefix)
    keys.revoke(other.prefix)
    assert keys.verify(lasting) is None
    assert [entry.action for entry in AuditLog(keys._engine).list(thing=other.prefix)] == ["key.revoked", "key.created"]
    assert keys.exist()


def test_another_process_hears_of_keys_and_revocations_as_soon_as_what_it_knows_is_old(
    engine: sa.Engine, keys: Keys, clock: Clock
) -> None:
    elsewhere = Keys(engine, clock=clock.now, monotonic=clock.monotonic)
    assert not elsewhere.exist()
    made, sent = keys.create("k", role=Role.USER)
    clock.seconds = FRESH_S
    assert elsewhere.exist()
    assert elsewhere.verify(sent) is not None
    keys.revoke(made.prefix)
    clock.seconds = 2 * FRESH_S
    assert elsewhere.verify(sent) is None


def test_nothing_of_a_secret_is_kept_and_no_part_of_a_key_is_enough(engine: sa.Engine, keys: Keys) -> None:
    made, sent = keys.create("k", role=Role.USER)
    _, prefix, secret = sent.split("_")
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(api_keys)).all()
    assert secret not in repr(row)
    other = keys.create("other", role=Role.USER)[1].split("_")[2]
    digest = row.sha256
    for wrong in (
        f"hone_{prefix}_{other}",
        f"hone_{prefix}_",
        prefix,
        secret,
        digest,
        f"hone_{prefix}_{digest[:43]}",
        sent + "x",
    ):
        assert keys.verify(wrong) is None, wrong
    assert made.prefix == prefix


def test_uses_are_written_together_and_never_go_back(keys: Keys, clock: Clock) -> None:
    made, sent = keys.create("k", role=Role.USER)
    clock.seconds = 5
    keys.verify(sent)
    assert keys.get(made.prefix).last_used_at is None
    keys.write_uses()
    assert keys.get(made.prefix).last_used_at == clock.now()


def test_a_tenants_operator_sees_and_changes_its_own_alone(keys: Keys) -> None:
    with acting(Caller("acme", "key:x")):
        made, _ = keys.create("theirs", role=Role.USER)
        assert made.created_by == "key:x"
    with for_tenant("bolt"):
        assert keys.list() == []
        for change in (keys.get, keys.rotate, keys.revoke):
            with pytest.raises(KeyNotFound):
                change(made.prefix)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": " "}, "give the key a name"),
        ({"tenant": "shared"}, "'shared' is no name of a tenant"),
        ({"tenant": "A b"}, "'A b' is no name of a tenant"),
        ({"scopes": ["all"]}, "there is no scope 'all'"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "is over; give a later time"),
    ],
)
def test_what_cannot_be_is_refused_by_name(keys: Keys, given: dict, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        keys.create(**{"name": "k", "role": Role.USER, **given})
    assert not keys.exist()
