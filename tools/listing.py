"""Which of many tools a listing shows: by tag, owner and state, a page at a time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.holds import Standing, ToolState
from tools.spec import ToolSpec


@dataclass(frozen=True, slots=True)
class Wanted:
    """None and empty: any."""

    tags: tuple[str, ...] = ()
    """All of them."""
    owner: str | None = None
    state: ToolState | None = None

    def fits(self, spec: ToolSpec, standing: Standing | None = None) -> bool:
        """
        Args:
            standing: where a registered tool stands, if it is held.
        """
        state = standing.state if standing is not None else ToolState.ACTIVE
        return (
            set(self.tags) <= set(spec.tags)
            and self.owner in (None, spec.owner)
            and (self.state is None or self.state is state)
        )


def page(specs: Sequence[ToolSpec], *, after: str | None, limit: int) -> tuple[list[ToolSpec], str | None]:
    """The first `limit` tools that come after a name, and the name that the next page comes after; None: there is none.

    Args:
        specs: by name.
    """
    rest = [spec for spec in specs if after is None or spec.name > after]
    shown = rest[:limit]
    return shown, shown[-1].name if len(rest) > limit else None
