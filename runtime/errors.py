"""What can go wrong in the runtime.

RuntimeFault
├── PolicyError
│   ├── PolicyUnavailable   the policy server cannot be reached or failed
│   ├── UnknownModel        no such base model
│   ├── UnknownAdapter      the named adapter is not resident
│   ├── AdapterRejected     files missing, corrupt, or made for another base
│   └── PromptTooLong       prompt and one token exceed the context
├── StoreError
│   ├── DatabaseTooNew      made by a newer hone
│   └── TraceNotFound
├── ApprovalError
│   ├── ApprovalNotFound    no such question, or it is another thread's
│   ├── ApprovalSpent       answered before
│   └── ApprovalExpired     answered too late
├── TurnTooLong             its time was over before there was a decision
├── Stopping                the server ends and takes no new turns
├── ThreadBusy              a turn runs in it, or a call of it is open
├── KeyReused               an idempotency key came before with another body
├── TurnError
│   ├── Interrupted         it ended for a newer message of its thread, or because its client was gone
│   ├── TurnCutOff          its servers ended while it ran, too often to go on
│   ├── TurnFailed          it failed before, and so it is told again
│   └── TurnTaken           another server has taken it over
├── SystemPromptNotFound    the tenant has none of its own
├── ThreadNotFound          nothing is kept of it
├── AccessDenied
│   ├── Unauthenticated     no credential, or none that counts
│   └── Forbidden           the credential does not reach so far
├── IssuerUnavailable       the identity provider's keys cannot be had
├── KeyNotFound             no such API key, or it is another tenant's
├── KeySpent                it is revoked or has run out
├── RateLimited             a key or a tenant has used up what it may
│   └── Overloaded          the server has
├── BadSettings             the settings cannot start a server
└── BadRequest              the client's request cannot be served as it is
    └── ResponseNotFound    no response with this id is kept
"""

from collections.abc import Mapping

from tools.errors import JournalUnavailable


class RuntimeFault(Exception):
    """Base of all; the message names the value and the remedy."""


class PolicyError(RuntimeFault):
    pass


class PolicyUnavailable(PolicyError):
    pass


class UnknownModel(PolicyError):
    pass


class UnknownAdapter(PolicyError):
    pass


class AdapterRejected(PolicyError):
    pass


class PromptTooLong(PolicyError):
    pass


class StoreError(RuntimeFault):
    pass


class DatabaseTooNew(StoreError):
    pass


class TraceNotFound(StoreError):
    pass


class ApprovalError(RuntimeFault):
    pass


class ApprovalNotFound(ApprovalError):
    pass


class ApprovalSpent(ApprovalError):
    pass


class ApprovalExpired(ApprovalError):
    pass


class ThreadBusy(RuntimeFault):
    pass


class SystemPromptNotFound(RuntimeFault):
    pass


class ThreadNotFound(RuntimeFault):
    pass


class TurnTooLong(RuntimeFault):
    pass


class KeyReused(RuntimeFault):
    pass


class TurnError(RuntimeFault):
    pass


class Interrupted(TurnError):
    pass


class TurnCutOff(TurnError):
    pass


class TurnFailed(TurnError):
    pass


class TurnTaken(TurnError):
    pass


class Stopping(RuntimeFault):
    pass


class AccessDenied(RuntimeFault):
    pass


class Unauthenticated(AccessDenied):
    pass


class Forbidden(AccessDenied):
    pass


class IssuerUnavailable(RuntimeFault):
    pass


class KeyNotFound(RuntimeFault):
    pass


class KeySpent(RuntimeFault):
    pass


class RateLimited(RuntimeFault):
    """Carries what the client paces itself by."""

    def __init__(self, message: str, *, retry_s: float = 1.0, told: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.retry_s = retry_s
        """Seconds until it may work again."""
        self.told = dict(told or {})
        """Headers."""


class Overloaded(RateLimited):
    pass


class BadSettings(RuntimeFault):
    pass


class BadRequest(RuntimeFault):
    """Carries the field at fault for the error envelope."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ResponseNotFound(BadRequest):
    pass


_OWN_AFFAIRS = (
    PolicyUnavailable,
    AdapterRejected,
    StoreError,
    TurnTooLong,
    Stopping,
    BadSettings,
    JournalUnavailable,
    Interrupted,
    TurnCutOff,
    TurnTaken,
)
"""Their messages speak of this server and its machines; what others say may repeat what a user wrote."""


def told(error: BaseException) -> str:
    """An error as a log may tell it, where no user's words belong: in full where it is the server's own affair, else its kind."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, _OWN_AFFAIRS) else kind
