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
        self._last: tuple[tuple[ToolSpec, ...], tuple[ToolSpec, ...]] = ((), ())

    def list(self) -> Sequence[ToolSpec]:
        """By name; the same object as long as the catalogue is the same."""
        usable = self._catalogue.usable()
        of, here = self._last
        if usable is not of:
            here = tuple(spec for spec in usable if self._is_here(spec))
            self._last = (usable, here)
        return here

    def _is_here(self, spec: ToolSpec) -> bool:
        return not isinstance(spec.backend, PythonBackend) or spec.backend.function in self._python
