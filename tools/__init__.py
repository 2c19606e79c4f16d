"""What the agent may call, and how it is registered."""

from tools.outcome import refusal
from tools.python_tools import PythonTools

__all__ = ["PythonTools", "refusal"]
