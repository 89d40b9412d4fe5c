"""Messages of the portal on their way out: files in a folder, or an SMTP server by setting.

Belongs here: which of the two. Does not belong here: who gets which message when (`reminding`), wording, SMTP
(`mailing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from insertion_pipeline.lake import write_atomically
from insertion_pipeline.mailing import composed, name_of
from insertion_pipeline.portal.settings import PortalSettings


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
        message = composed(key, self.settings.mail_from, to, subject, text)
        if server := self.settings.mail_server:
            server.send(message)
            return
        self.outbox.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self.outbox / f"{name_of(key)}.eml", message.as_bytes())
