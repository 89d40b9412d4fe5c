"""The accounts of a file: every unit of it is somewhere.

Belongs here: the account of a file, its balance. Does not belong here: counting (the readers do), deciding
(`conforming`).
"""

from __future__ import annotations

from dataclasses import dataclass


class AccountsDoNotBalance(Exception):
    """Units of a file were lost or counted twice. Never caught: it is a defect of the reader."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the units of a file went. A unit is a physical line, a row, a `Personne` or a JSON element."""

    lines: int = 0
    blank: int = 0
    header_footer: int = 0
    accepted: int = 0
    rejected: int = 0

    @property
    def is_balanced(self) -> bool:
        return self.lines == self.blank + self.header_footer + self.accepted + self.rejected

    def __add__(self, other: Account) -> Account:
        return Account(
            self.lines + other.lines,
            self.blank + other.blank,
            self.header_footer + other.header_footer,
            self.accepted + other.accepted,
            self.rejected + other.rejected,
        )

    def checked(self) -> Account:
        """This account, when it balances. Raises `AccountsDoNotBalance`."""
        if not self.is_balanced:
            raise AccountsDoNotBalance(
                f"{self.lines} lines, but {self.blank} blank + {self.header_footer} header/footer"
                f" + {self.accepted} accepted + {self.rejected} rejected"
            )
        return self


@dataclass(frozen=True, slots=True)
class Member:
    """One physical file (or sheet) of a delivery. `table` is null for one that the contract has no table for."""

    rank: int
    table: str | None
    account: Account
