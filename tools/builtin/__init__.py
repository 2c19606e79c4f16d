"""The tools that ship with hone and work offline; `tools.builtin.shelf` puts them together."""

from tools.builtin.shelf import builtin_functions, builtin_tools

__all__ = ["builtin_functions", "builtin_tools"]
