"""Which secrets a tool's calls take, by name."""

from tools.spec import HttpBackend


def secret_names(backend: HttpBackend) -> list[str]:
    """Sorted, each once."""
    placed = backend.layout.placements if backend.layout is not None else ()
    named = {auth.secret for auth in backend.auth} | {p.secret for p in placed if p.secret is not None}
    return sorted(named)
