"""The licences of every locked distribution, from the metadata and the licence files that were installed.

    python -m insertion_pipeline_tests.licences

Belongs here: which licences may be depended on, finding the one that a distribution states, refusing what is unknown.
Does not belong here: what a release says of its components (`publication.describing`).

Distributions state their licence in three ways: an SPDX expression, classifiers, free text. Where they state none, or
the whole text, the text is recognised by the sentence that only this licence has.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from boolean.boolean import AND, OR, Expression
from license_expression import ExpressionError, LicenseSymbol, get_spdx_licensing
from packaging.requirements import Requirement

from insertion_pipeline_tests.conftest import REPOSITORY

LOCKS = tuple(sorted(REPOSITORY.glob("requirements*.lock")))

#: What the extra `spark` adds is 450 MB that few machines have. Read where it was installed, for these versions alone.
READ = {("py4j", "0.10.9.9"): "BSD-3-Clause", ("pyspark", "4.1.4"): "Apache-2.0"}

#: MIT, BSD, Apache, MPL, PSF, and what asks for less than they do.
ALLOWED = frozenset(
    {
        *("MIT", "MIT-0", "MIT-CMU", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "PSF-2.0"),
        *("0BSD", "CC0-1.0", "CNRI-Python", "ISC", "Zlib", "LicenseRef-scancode-public-domain"),
    }
)
#: May be depended on as it was published, and not changed.
UNMODIFIED = frozenset({"LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"})

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "LicenseRef-scancode-public-domain",
    "Python Software Foundation License": "PSF-2.0",
}
_WORDS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "psfl": "PSF-2.0",
}
_SENTENCES = {
    "Apache License Version 2.0, January 2004": "Apache-2.0",
    "Licensed under the Apache License, Version 2.0": "Apache-2.0",
    "Permission is hereby granted, free of charge, to any person obtaining a copy": "MIT",
    "Redistribution and use in source and binary forms, with or without modification": "BSD-2-Clause",
    'between the Python Software Foundation ("PSF"), and the Individual or Organization': "PSF-2.0",
}
_LICENCE_FILE = re.compile(r"\.dist-info/(licenses/)?(LICEN[CS]E|COPYING)[^/]*$", re.IGNORECASE)
_SPDX = get_spdx_licensing()


@dataclass(frozen=True)
class Refused:
    """A distribution that may not be depended on, and why."""

    name: str
    reason: str


def locked(locks: Sequence[Path] = LOCKS) -> dict[str, str]:
    """The locked distributions that this platform installs, each with its version, by name."""
    lines = {line.rstrip(" \\") for lock in locks for line in lock.read_text().splitlines() if "==" in line}
    requirements = [Requirement(line) for line in lines if not line.lstrip().startswith(("#", "--"))]
    installed = [one for one in requirements if one.marker is None or one.marker.evaluate()]
    return {one.name: str(one.specifier).removeprefix("==") for one in sorted(installed, key=lambda one: one.name)}


def refused(distributions: Mapping[str, str]) -> Iterator[Refused]:
    """Those, of versions by name, whose licence is unknown or not allowed, or that were changed where they may not."""
    for name, version in distributions.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if not is_allowed(READ.get((name, version), "NONE"), ALLOWED):
                yield Refused(name, "locked, and not installed here")
            continue
        stated = licence_of(distribution)
        if stated is None:
            yield Refused(name, "states no licence that is known")
        elif not is_allowed(stated, ALLOWED | UNMODIFIED):
            yield Refused(name, f"its licence is {stated}")
        elif not is_allowed(stated, ALLOWED) and (changed := changed_files(distribution)):
            yield Refused(name, f"is under {stated} and was changed: {', '.join(changed[:3])}")


def licence_of(distribution: metadata.Distribution) -> str | None:
    """The licence of a distribution as an SPDX expression, or nothing where none is recognised."""
    stated = distribution.metadata.get("License-Expression")
    if stated:
        return stated
    text = distribution.metadata.get("License") or ""
    if found := _known(text):
        return found
    classifiers = [
        one.split(" :: ")[-1] for one in distribution.metadata.get_all("Classifier") or () if "License" in one
    ]
    if named := [one for one in classifiers if one != "OSI Approved"]:
        return " OR ".join(_CLASSIFIERS[one] for one in named) if set(named) <= set(_CLASSIFIERS) else None
    texts = [str(file.locate().read_text()) for file in distribution.files or () if _LICENCE_FILE.search(str(file))]
    return next((found for one in (text, *texts) if (found := recognised(one))), None)


def _known(text: str) -> str | None:
    """The expression that a short statement is."""
    if not text or "\n" in text:
        return recognised(text)
    alternatives = [_WORDS.get(one.strip().lower(), one.strip()) for one in text.split(" OR ")]
    expression = " OR ".join(alternatives)
    try:
        parsed = _SPDX.parse(expression, validate=True)
    except ExpressionError:
        return recognised(text)
    return str(parsed) if parsed is not None else None


def recognised(text: str) -> str | None:
    """The licence whose own sentence stands in `text`."""
    flat = re.sub(r"\W*\n\W*| {2,}", " ", text)
    return next((licence for sentence, licence in _SENTENCES.items() if sentence in flat), None)


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether `allowed` is enough: one side of an OR, both sides of an AND."""

    def holds(part: Expression) -> bool:
        if isinstance(part, OR):
            return any(holds(one) for one in part.args)
        if isinstance(part, AND):
            return all(holds(one) for one in part.args)
        return isinstance(part, LicenseSymbol) and part.key in allowed

    return holds(_SPDX.parse(expression))


def changed_files(distribution: metadata.Distribution) -> list[str]:
    """The installed files that are not those of the published wheel, by the digests in its record."""
    changed = []
    for file in distribution.files or ():
        if file.hash is None:
            continue
        digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            changed.append(str(file))
    return changed


def main() -> int:
    distributions = locked()
    found = list(refused(distributions))
    for one in found:
        sys.stderr.write(f"{one.name}: {one.reason}\n")
    sys.stdout.write(f"{len(distributions)} locked distributions, {len(found)} with a licence that is not allowed\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
