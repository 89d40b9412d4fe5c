"""An SMTP server on loopback, for whatever writes to somebody.

Belongs here: the server, and a fixture that starts it. Does not belong here: an assertion.
"""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from email.message import EmailMessage

import pytest


class Postman(socketserver.StreamRequestHandler):
    """An SMTP server as small as RFC 5321 allows: it asks for a password, and keeps what it is given."""

    server: Office

    def handle(self) -> None:
        self.say("220 loopback")
        while line := self.rfile.readline():
            self.server.heard.append(command := line.decode().rstrip())
            match command.split(" ")[0].upper():
                case "EHLO":
                    self.say("250-loopback", "250-8BITMIME", "250 AUTH PLAIN")
                case "AUTH":
                    known = base64.b64encode(b"\0portail\0secret").decode()
                    self.say("235 yes" if command == f"AUTH PLAIN {known}" else "535 no")
                case "DATA":
                    self.say("354 go on")
                    sent = b"".join(line.removeprefix(b".") for line in iter(self.rfile.readline, b".\r\n"))
                    self.server.kept.append(email.message_from_bytes(sent, policy=email.policy.default))
                    self.say("250 kept")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class Office(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Postman)
        self.heard: list[str] = []
        self.kept: list[EmailMessage] = []


@pytest.fixture
def office() -> Iterator[Office]:
    with Office() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
