"""The words of the pages, gathered for translators: `make messages` writes `locale/portal.pot`.

Belongs here: gathering. Does not belong here: rendering a page in a language (`rendering`).
"""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import write_po

from insertion_pipeline.ingestion.reporting import VERDICTS
from insertion_pipeline.portal.pages.analyst import SHELVES
from insertion_pipeline.portal.pages.reviewer import COMPARISONS, LEVELS, REASONS, TRAITS
from insertion_pipeline.portal.rendering import ROLES, STATES, STATUSES
from insertion_pipeline.portal.tokens import SCOPES

_HERE = Path(__file__).parent
TEMPLATE = _HERE / "locale" / "portal.pot"
#: What a route puts around a sentence for its page to translate (`languages`).
_MARKS = ("marked", "Sentence")


def gathered() -> bytes:
    """The catalogue template: every message of templates and routes, and the words of states, roles and scopes."""
    catalogue = Catalog(project="insertion-pipeline", charset="utf-8")
    options = {"**.html": {"extensions": "jinja2.ext.i18n", "trim_blocks": "true", "silent": "false"}}
    found = extract_from_dir(
        _HERE,
        method_map=[("**.html", "jinja2"), ("**.py", "python")],
        options_map=options,
        keywords=DEFAULT_KEYWORDS | dict.fromkeys(_MARKS),
    )
    for file, _, message, _, context in sorted(found, key=lambda one: (one[0], one[1])):
        catalogue.add(message, locations=[(file, 1)], context=context)
    tables = (*STATES.values(), *STATUSES.values())
    shared = (ROLES, SCOPES, LEVELS, COMPARISONS, REASONS, TRAITS)
    words = [*VERDICTS.values(), *SHELVES, *(word for word, _ in tables)]
    words += [word for table in shared for word in table.values()]
    for word in words:
        catalogue.add(word, locations=[("rendering.py", 1)])
    content = io.BytesIO()
    write_po(content, catalogue, omit_header=True, include_lineno=False, sort_output=True, width=110)
    return content.getvalue()


if __name__ == "__main__":
    TEMPLATE.write_bytes(gathered())
