"""The MCP servers of others that `tests/mcp_environment.sh` installs, each in an environment of its own."""

from pathlib import Path

from tools.spec import McpStdioServer

FOLDER = Path(__file__).parents[2] / ".venv-mcp"


def python_of(name: str) -> str:
    """The interpreter of one environment."""
    python = FOLDER / name / "bin" / "python"
    assert python.exists(), f"{python} is not there: run bash tests/mcp_environment.sh"
    return str(python)


def time_server() -> McpStdioServer:
    return McpStdioServer(command=python_of("time"), args=("-m", "mcp_server_time", "--local-timezone", "UTC"))


def git_server() -> McpStdioServer:
    return McpStdioServer(command=python_of("git"), args=("-m", "mcp_server_git"))


def sqlite_server(database: Path) -> McpStdioServer:
    """Speaks the protocol of the handshake era."""
    start = "import sys; from mcp_server_sqlite import main; sys.exit(main())"
    return McpStdioServer(command=python_of("sqlite"), args=("-c", start, "--db-path", str(database)))
