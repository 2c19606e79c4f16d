"""What can go wrong with tools.

ToolError
├── BadToolSpec         a definition that cannot be registered
├── UnknownTool         no such tool
├── DuplicateTool       the name is taken
├── NotHeld             nothing is changed about the tool that could be shown or accepted
├── ImportFailed        a source of tools (MCP server, address, file) cannot be read
│   └── BadImport       it was read, and is no description of tools, or not one that can be used as asked
└── DestinationRefused  an address that tools may not call

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


class NotHeld(ToolError):
    pass


class ImportFailed(ToolError):
    pass


class BadImport(ImportFailed):
    pass


class DestinationRefused(ToolError):
    pass
