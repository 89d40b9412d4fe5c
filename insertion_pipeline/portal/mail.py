"""Messages on their way out: files in a folder, or an SMTP server by setting.

Belongs here: making and sending a message. Does not belong here: who gets which message when (`reminding`), wording.

A message says what happened and gives a link; it names no person of a file and carries no value.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from insertion_pipeline.lake import write_atomically
from insertion_pipeline.portal.settings import PortalSettings

_SECONDS = 20


@dataclass(frozen=True)
class Mail:
    """Where messages go. The same `key` gives the same Message-ID and the same file: sending again doubles nothing."""

    settings: PortalSettings
    outbox: Path

    @classmethod
    def of(cls, settings: PortalSettings, outbox: Path) -> Mail:
        return cls(settings, outbox)

    def send(self, key: str, to: str, subject: str, text: str) -> None:
        """Send one message. Raises `OSError` (of which `SMTPException` is one) when it does not leave."""
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.settings.mail_from, to, subject
        message["Message-ID"] = f"<{name}@insertion-pipeline>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        if self.settings.smtp_host is None:
            self.outbox.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self.outbox / f"{name}.eml", message.as_bytes())
            return
        with smtplib.SMTP(self.settings.smtp_host, self.settings.smtp_port, timeout=_SECONDS) as server:
            if self.settings.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if self.settings.smtp_user is not None:
                server.login(self.settings.smtp_user, self.settings.smtp_password.get_secret_value())
            server.send_message(message)
