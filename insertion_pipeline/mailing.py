"""Sending a message by SMTP.

Belongs here: a message as it leaves, the server that takes it. Does not belong here: who gets which message, wording,
where the settings come from.

A message says what happened and gives a link; it names no person of a file and carries no value.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage

from pydantic import SecretStr

_SECONDS = 20


@dataclass(frozen=True)
class MailServer:
    """A server that takes messages, encrypted on their way unless told otherwise."""

    host: str
    port: int
    starttls: bool
    user: str | None
    password: SecretStr

    def send(self, message: EmailMessage) -> None:
        """Hand a message over. Raises `OSError` (of which `SMTPException` is one) when the server does not take it."""
        with smtplib.SMTP(self.host, self.port, timeout=_SECONDS) as server:
            if self.starttls:
                server.starttls(context=ssl.create_default_context())
            if self.user is not None:
                server.login(self.user, self.password.get_secret_value())
            server.send_message(message)


def composed(key: str, sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """One message of plain text. The same `key` gives the same Message-ID: whoever gets it twice knows it for one.

    Raises `ValueError` for a subject or an address that would carry a header of its own.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Message-ID"] = f"<{name_of(key)}@insertion-pipeline>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def name_of(key: str) -> str:
    """What a message is called everywhere: figures that tell nothing of it."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]
