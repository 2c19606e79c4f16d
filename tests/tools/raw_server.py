"""A server below HTTP's frameworks: it notes every connection, every name asked for in TLS and every request's head."""

import contextlib
import itertools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator

Answer = Callable[[bytes], Iterable[bytes]]
"""From a request's head to the pieces of the response."""


def short_json(head: bytes) -> Iterable[bytes]:
    return (b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"ok": true}',)


class RawServer:
    """Listens on every address of this machine, IPv6's too where there is any."""

    def __init__(self, answer: Answer = short_json, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.server_names: list[str | None] = []
        self._answer = answer
        self._tls = tls
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        self._listener = socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._callers: list[int] = []
        self._probes = 0
        self._called = threading.Condition()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def visits(self) -> int:
        """Connections so far, whether or not they sent anything."""
        # Connections queue in order: once one of our own is through, none that came before it is missed.
        with socket.create_connection(("127.0.0.1", self.port)) as probe, self._called:
            port = probe.getsockname()[1]
            assert self._called.wait_for(lambda: port in self._callers, timeout=10)
            self._callers.remove(port)
            return len(self._callers)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:  # closed
                return
            with self._called:
                self._callers.append(peer[1])
                self._called.notify_all()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(10)
            stream = self._tls.wrap_socket(connection, server_side=True) if self._tls is not None else connection
            with stream, stream.makefile("rb") as incoming:
                while head := b"".join(itertools.takewhile(lambda line: line not in (b"\r\n", b""), incoming)):
                    length = re.search(rb"content-length: (\d+)", head.lower())
                    incoming.read(int(length[1]) if length else 0)
                    self.heads.append(head)
                    for piece in self._answer(head):
                        stream.sendall(piece)


@contextlib.contextmanager
def raw_server(answer: Answer = short_json, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server = RawServer(answer, tls)
    try:
        yield server
    finally:
        server.close()
