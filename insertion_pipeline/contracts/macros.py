"""What a contract's rules may call beside plain SQL: checks of the sector's numbers, as DuckDB macros.

Belongs here: the macros, whose names `expressions` lets through. Does not belong here: the numbers of persons, which
are no rule but the nature of a field (`cells`).
"""

from __future__ import annotations

#: La Poste's establishments outgrew the key: the sum of their digits is a multiple of five instead (INSEE).
_LA_POSTE = "356000000"


def _digit(position: int) -> str:
    return f"CAST(siret[{position}] AS INTEGER)"


def _doubled(position: int) -> str:
    """Twice the digit, its own digits summed."""
    return f"(2 * {_digit(position)} - CASE WHEN {_digit(position)} > 4 THEN 9 ELSE 0 END)"


_SUM = " + ".join(_digit(position) for position in range(1, 15))
_KEYED_SUM = " + ".join(_doubled(position) if position % 2 else _digit(position) for position in range(1, 15))

#: `siret_holds(siret)`: whether fourteen digits have the key of a SIRET; null for anything else.
MACROS = f"""
CREATE OR REPLACE TEMP MACRO siret_holds(siret) AS CASE
    WHEN regexp_full_match(siret, '[0-9]{{14}}')
    THEN ({_KEYED_SUM}) % 10 = 0 OR (starts_with(siret, '{_LA_POSTE}') AND ({_SUM}) % 5 = 0)
END
"""
