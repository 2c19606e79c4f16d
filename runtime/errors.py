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
├── BadSettings             the settings cannot start a server
└── BadRequest              the client's request cannot be served as it is
    └── ResponseNotFound    no response with this id is kept
"""


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


class BadSettings(RuntimeFault):
    pass


class BadRequest(RuntimeFault):
    """Carries the field at fault for the error envelope."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ResponseNotFound(BadRequest):
    pass
