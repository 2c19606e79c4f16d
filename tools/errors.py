"""What can go wrong with tools.

ToolError
├── BadToolSpec         a definition that cannot be registered
├── UnknownTool         no such tool
├── DuplicateTool       the name is taken
├── SharedTool          it is there for all tenants, and one of them would change it or take its name
├── NotHeld             nothing is changed about the tool that could be shown or accepted
├── ImportFailed        a source of tools (MCP server, address, file) cannot be read
│   └── BadImport       it was read, and is no description of tools, or not one that can be used as asked
├── DestinationRefused  an address that tools may not call
├── JournalUnavailable  what is called cannot be written down, so nothing is called
├── CallNotFound        no such tool call on record
├── BadRetention        records would be removed that are needed yet
├── CallNotUnknown      the outcome of the call is known, so there is nothing to settle
└── SecretError
    ├── BadSecret       a name or a value that cannot be kept
    ├── UnknownSecret   no secret of that name is stored
    ├── SecretOutOfBounds  a tool would send it where its keeper has not said that it may go
    ├── BadMasterKey    the master keys cannot be read, or there is none to change to
    └── SecretLocked    sealed under a key that is not there, or changed since

A call that fails is not an exception: `tools.execution` returns a `CallResult` that the policy is shown.
"""


class ToolError(Exception):
    """Base of all; the message names the value and the remedy."""


class BadToolSpec(ToolError):
    pass


class UnknownTool(ToolError):
    pass


class DuplicateTool(ToolError):
    pass


class SharedTool(ToolError):
    pass


class NotHeld(ToolError):
    pass


class ImportFailed(ToolError):
    pass


class BadImport(ImportFailed):
    pass


class DestinationRefused(ToolError):
    pass


class JournalUnavailable(ToolError):
    pass


class CallNotFound(ToolError):
    pass


class BadRetention(ToolError):
    pass


class CallNotUnknown(ToolError):
    pass


class SecretError(ToolError):
    """Its messages never hold a value or a key."""


class BadSecret(SecretError):
    pass


class UnknownSecret(SecretError):
    pass


class SecretOutOfBounds(SecretError):
    pass


class BadMasterKey(SecretError):
    pass


class SecretLocked(SecretError):
    pass
