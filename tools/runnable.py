"""What of a catalogue this process can call."""

from collections.abc import Sequence

from tools.catalogue import Catalogue
from tools.python_tools import PythonTools
from tools.spec import PythonBackend, ToolSpec


class RunnableTools:
    """The tools of a catalogue but the functions of other programs, which this process cannot call."""

    def __init__(self, catalogue: Catalogue, python: PythonTools) -> None:
        self._catalogue = catalogue
        self._python = python

    def list(self) -> Sequence[ToolSpec]:
        return [spec for spec in self._catalogue.list() if self._is_here(spec)]

    def _is_here(self, spec: ToolSpec) -> bool:
        return not isinstance(spec.backend, PythonBackend) or spec.backend.function in self._python
