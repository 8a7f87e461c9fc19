"""A TCP proxy that tears a connection at a chosen word."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

Tear = Literal["before", "after", "silently"]


class Proxy:
    """Stands before a server on 127.0.0.1, and passes everything on until it is told to tear.

    Attributes:
        port: Where it listens.
        torn: How many connections it has torn.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._word: bytes | None = None
        self._tear: Tear = "before"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.port = int(self._listener.getsockname()[1])
        self.torn = 0

    def tear_at(self, word: bytes, tear: Tear) -> None:
        """Tear the next connection on which the client says a word.

        Before the server hears it; after the server has replied, and the reply is lost; or silently: the server
        hears nothing, and does not learn that the client has gone.
        """
        self._tear, self._word = tear, word

    def relent(self) -> None:
        """Tear nothing more until it is told again."""
        self._word = None

    def close(self) -> None:
        """End everything."""
        for one in (self._listener, *self._sockets):
            _end(one)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, server]
                loud = threading.Event()
                loud.set()
                for work in ((self._requests, client, server, loud), (self._answers, server, client, loud)):
                    self._threads.append(threading.Thread(target=work[0], args=work[1:]))
                    self._threads[-1].start()

    def _requests(self, client: socket.socket, server: socket.socket, loud: threading.Event) -> None:
        silent = False
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._word is None or self._word not in data:
                    server.sendall(data)
                    continue
                self._word = None
                self.torn += 1
                if self._tear == "after":
                    loud.clear()
                    server.sendall(data)
                    return
                silent = self._tear == "silently"
                break
        _end(client)
        if not silent:
            _end(server)

    def _answers(self, server: socket.socket, client: socket.socket, loud: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while (data := server.recv(65536)) and loud.is_set():
                client.sendall(data)
        _end(client)
        _end(server)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
