"""Nobody can be recognised in what is published.

Belongs here: thresholds, suppression, the attacker that audits it, the certificate. Does not belong here: computing
values (`indicators`), writing files (`publication`). One door: `protect` makes the only table that may be published.
"""

from insertion_pipeline.disclosure.protecting import CannotProtect, NotProtected, SafeTable, protect
from insertion_pipeline.disclosure.thresholds import ForbiddenBreakdown, small_cells

__all__ = ["CannotProtect", "ForbiddenBreakdown", "NotProtected", "SafeTable", "protect", "small_cells"]
