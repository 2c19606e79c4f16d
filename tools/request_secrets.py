"""Which secrets a tool's calls take, by name."""

from tools.spec import HttpBackend


def secret_names(backend: HttpBackend) -> list[str]:
    """Sorted, each once."""
    placed = backend.layout.placements if backend.layout is not None else ()
    named = {auth.secret for auth in backend.auth} | {p.secret for p in placed if p.secret is not None}
    signing = {backend.signing_secret} if backend.signing_secret is not None else set[str]()
    return sorted(named | signing)
