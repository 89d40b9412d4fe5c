"""The verdict on a file: the one function behind `check`, `deliver`, the portal and the night.

Belongs here: what must hold of a delivery as a whole (partner, source, period, territory), putting reading and
conforming together, the verdict. Does not belong here: storing anything (`landing`), judging a row (`conforming`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.findings import Finding, findings_table
from insertion_pipeline.ingestion.accounts import Account, Member
from insertion_pipeline.ingestion.conforming import Conformed, Unjudged, conform, count, verdict_of
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import Batch, Opening, Pieces, UnreadableDelivery, label
from insertion_pipeline.ingestion.gathering import Store
from insertion_pipeline.ingestion.reading import pieces, recognise
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import Partner, Registry, Source

REFUSED = 3


@dataclass(frozen=True)
class OwnTitle:
    """A column that was read because the partner declared its title: both as declared, nothing of the file."""

    table: str
    field: str
    title: str
    contract_title: str


@dataclass(frozen=True)
class Judgement:
    """What a delivery is worth. `conformed` is null when it was refused before its rows could be judged.

    `findings`: all of them, rows of `FINDINGS_SCHEMA`. `account` balances; it tells of the rows what they are worth
    by themselves, and rejects all of them when they were not judged. `files`: how findings call each of `members`.
    `own_titles`: the columns that the partner's own declaration told, where it has one.
    """

    verdict: int
    partner: str
    source: str | None
    month: Month | None
    span: Span | None
    account: Account
    findings: pa.Table
    members: tuple[Member, ...] = ()
    files: tuple[str, ...] = ()
    conformed: Conformed | None = None
    own_titles: tuple[OwnTitle, ...] = ()

    @property
    def is_refused(self) -> bool:
        return self.verdict >= REFUSED

    def to_json(self) -> dict[str, Any]:
        """The answer of `insertion check --json`."""
        return {
            "verdict": self.verdict,
            "source": self.source,
            "period": str(self.month) if self.month is not None else None,
            "span": str(self.span) if self.span is not None else None,
            "lines": self.account.lines,
            "accepted": self.account.accepted,
            "rejected": self.account.rejected,
            "blank": self.account.blank,
            "header_footer": self.account.header_footer,
            "members": [_member_json(member, file) for member, file in zip(self.members, self.files, strict=True)],
            "own_titles": [asdict(one) for one in self.own_titles],
            "findings": self.findings.to_pylist(),
        }


class _Refused(Exception):
    """Ends the judgement of a delivery that is refused as a whole."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


def judge(
    delivery: Path | Sequence[Path],
    partner: str,
    source: str | None,
    month: Month | None,
    registry: Registry,
    lake: Lake,
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
    names: Sequence[str] = (),
    statements: Statements | None = None,
    store: Store | None = None,
) -> Judgement:
    """The verdict on a file, or on the files of a bundle, that `partner` delivers. Nothing is kept.

    The source is recognised from the content among the partner's own when it is not given, the month is taken from
    the content where that states one. `names`: what each member is known to be, for bytes that have lost their names.
    `statements`: those of the deliveries judged before this one, by who judges several.
    Encrypted archives are opened with `archive_password`, or else with the password that the home knows. `store`: where
    the rows are gathered, for who wants to keep them; without one, `conformed` holds those of a small file alone.
    """
    with contextlib.ExitStack() as stack:
        spill = stack.enter_context(lake.sealed_spill())
        gathering = store or stack.enter_context(Store.opened(lake))
        case = _Case(delivery, registry, lake, archive_password, limits, spill, gathering, names, statements)
        return _judge(case, partner, source, month)


def together(
    files: Sequence[Path], partner: str, source: str | None, registry: Registry, lake: Lake
) -> tuple[tuple[Path, ...], ...]:
    """The deliveries that `files` make: the views of a bundle together, in the order given, every other file alone.

    Without a source, each file's own content says whether it is a view. What cannot be told is left alone.
    """
    who = registry.partners.get(partner)
    own = [registry.source_of(who, code) for code in who.sources] if who is not None else []
    if len(files) < 2 or not any(_is_bundle(one) for one in own):
        return tuple((path,) for path in files)
    views = [path for path in files if _is_view(path, source, own, registry, lake)]
    groups = {path: (path,) for path in files} | dict.fromkeys(views, tuple(views))
    return tuple(dict.fromkeys(groups[path] for path in files))


def _is_bundle(source: Source) -> bool:
    return source.insertion.envelope == "fluxiae"


def _is_view(path: Path, source: str | None, own: Sequence[Source], registry: Registry, lake: Lake) -> bool:
    if source is not None:
        return source in registry.sources and _is_bundle(registry.sources[source])
    with lake.sealed_spill() as spill:
        try:
            found = recognise(path, own, archive_password=lake.archive_password, spill=spill)
        except UnreadableDelivery:
            return False
    return found is not None and _is_bundle(found)


def _judge(case: _Case, partner: str, source: str | None, month: Month | None) -> Judgement:
    try:
        who = _partner(case.registry, partner)
        what = _source(case, who, source)
    except (_Refused, UnreadableDelivery) as refused:
        return _refusal(partner, source, month, refused.finding)
    try:
        _month_in_contract(who, what, month)
    except _Refused as refused:
        return _refusal(partner, what.name, month, refused.finding)
    try:
        return _judged(case, who, what, month)
    except UnreadableDelivery as refused:
        return _refusal(partner, what.name, month, refused.finding)


# -- the delivery as a whole -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """A delivery, and what is needed to open it."""

    delivery: Path | Sequence[Path]
    registry: Registry
    lake: Lake
    archive_password: str | None
    limits: Limits | None
    spill: Path
    store: Store
    names: Sequence[str] = ()
    statements: Statements | None = None

    def pieces(self, source: Source, month: Month | None) -> Pieces:
        return pieces(self.delivery, source, month=month, names=self.names, **self._options)

    def recognise(self, candidates: Sequence[Source]) -> Source | None:
        return recognise(self.delivery, candidates, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "archive_password": self.archive_password or self.lake.archive_password,
            "limits": self.limits,
            "spill": self.spill,
        }


def _partner(registry: Registry, code: str) -> Partner:
    try:
        return registry.partner(code)
    except KeyError:
        raise _Refused(
            Finding(
                "unknown-partner",
                "blocking",
                "Ce partenaire n'est pas inscrit.",
                expected="le code d'un partenaire inscrit",
                remedy="Vérifiez le code du partenaire, ou demandez son inscription à l'exploitant.",
            )
        ) from None


def _source(case: _Case, partner: Partner, name: str | None) -> Source:
    own = [case.registry.source_of(partner, code) for code in partner.sources]
    if name is None:
        found = case.recognise(own)
        if found is None:
            raise _Refused(_not_theirs(own, case.recognise(_every_source(case.registry, partner))))
        return found
    if name not in partner.sources:
        raise _Refused(_not_theirs(own, case.registry.sources.get(name)))
    return case.registry.source_of(partner, name)


def _every_source(registry: Registry, partner: Partner) -> list[Source]:
    """All that there are, those that the partner delivers as its files have them."""
    return [
        registry.source_of(partner, name) if name in partner.sources else registry.sources[name]
        for name in registry.sources
    ]


def _not_theirs(own: Sequence[Source], found: Source | None) -> Finding:
    message = "Le type du fichier n'est pas reconnu : il n'est d'aucun de ceux que ce partenaire dépose."
    if found is not None:
        message = f"Le fichier est un fichier « {found.title} », que ce partenaire ne dépose pas."
    return Finding(
        "wrong-source",
        "blocking",
        message,
        expected=" ou ".join(f"« {source.title} »" for source in own) or "aucun fichier",
        remedy="Vérifiez le fichier, les titres de ses colonnes et le code du partenaire.",
    )


def _another_source(announced: Source, actual: Source) -> Finding:
    return Finding(
        "wrong-source",
        "blocking",
        f"Le fichier est un fichier « {actual.title} », il est annoncé comme « {announced.title} ».",
        expected=f"un fichier « {announced.title} »",
        remedy="Corrigez le type annoncé, ou déposez l'autre fichier.",
    )


def _month_in_contract(partner: Partner, source: Source, month: Month | None) -> Month | None:
    """The month, when the contract covers it and the partner is expected to deliver in it."""
    if month is None:
        return None
    if month < source.first_month or not partner.expects(source.name, month):
        first = max(source.first_month, partner.since)
        raise _Refused(
            Finding(
                "month-outside-contract",
                "blocking",
                f"Le mois {month} n'est pas couvert par le format « {source.title} » pour ce partenaire.",
                expected=f"un mois à partir de {first}" + (f", jusqu'à {partner.until}" if partner.until else ""),
                remedy="Vérifiez le mois déclaré.",
                value=str(month),
            )
        )
    return month


def _judged(case: _Case, partner: Partner, source: Source, month: Month | None) -> Judgement:
    seen: dict[OwnTitle, None] = {}
    delivery = _noting_own_titles(case.pieces(source, month), source, seen)
    judgement = _weighed(case, _without_forbidden(delivery, partner, source), partner, source, month)
    return replace(judgement, own_titles=tuple(seen))


def _weighed(case: _Case, rows: Pieces, partner: Partner, source: Source, month: Month | None) -> Judgement:
    if month is None and source.insertion.period.stated_by == "manifest":
        judged: Conformed | Unjudged = count(rows)
    else:
        judged = conform(rows, source, month, case.registry, case.lake, statements=case.statements, store=case.store)
    if isinstance(judged, Unjudged):
        return _unjudged(case, partner, source, month or judged.stated_month, judged)
    try:
        _month_in_contract(partner, source, judged.month)
    except _Refused as refused:
        members = tuple(replace(one, account=_nothing_accepted(one.account)) for one in judged.members)
        everything = pa.concat_tables([findings_table([refused.finding]), judged.findings])
        return _refused(partner, source, judged.month, members, everything)
    findings = [
        _other_territory(territory, partner)
        for territory in sorted(judged.territories | _known(judged.stated_territory))
        if not _lies_in(territory, partner.territory_code)
    ]
    return Judgement(
        REFUSED if findings else verdict_of(judged, source),
        partner.code,
        source.name,
        judged.month,
        judged.span,
        judged.account,
        pa.concat_tables([findings_table(findings), judged.findings]),
        judged.members,
        _files(judged.members, source),
        judged,
    )


def _unjudged(case: _Case, partner: Partner, source: Source, month: Month | None, counted: Unjudged) -> Judgement:
    """The refusal of a delivery whose rows could not be judged: it is another file, or nothing says its month."""
    findings = []
    if "missing-header" in counted.codes:
        actual = case.recognise(_every_source(case.registry, partner))
        if actual is not None and actual.name != source.name:
            findings.append(_another_source(source, actual))
    if not findings and month is None and source.insertion.period.stated_by == "manifest":
        findings.append(_month_missing(source))
    members = tuple(replace(one, account=_nothing_accepted(one.account)) for one in counted.members)
    return _refused(partner, source, month, members, pa.concat_tables([findings_table(findings), counted.findings]))


def _noting_own_titles(delivery: Pieces, source: Source, seen: dict[OwnTitle, None]) -> Pieces:
    """The pieces as they are; what the partner's own declaration told of their columns goes to `seen`, in order."""
    fields = {
        (table.name, one.name): one
        for version in source.versions
        for table in version.resources
        for one in table.fields
        if one.insertion.headers
    }
    for piece in delivery:
        if isinstance(piece, Opening):
            for name in piece.own:
                one = fields[piece.table, name]
                seen.setdefault(OwnTitle(piece.table, name, one.label, one.title))
        yield piece


def _without_forbidden(delivery: Pieces, partner: Partner, source: Source) -> Pieces:
    """The pieces without the NIR of a partner that may not send it: dropped before anything looks at it."""
    if partner.nir == "allowed":
        yield from delivery
        return
    forbidden = {
        (table.name, one.name)
        for version in source.versions
        for table in version.resources
        for one in table.fields
        if "nir" in (one.insertion.person, one.insertion.identifier)  # sent twice by France Travail
    }
    for piece in delivery:
        if isinstance(piece, Opening):
            kept = tuple(name for name in piece.columns if (piece.table, name) not in forbidden)
            yield replace(piece, columns=kept)
        elif isinstance(piece, Batch):
            dropped = [name for name in piece.rows.column_names if (piece.table, name) in forbidden]
            is_about_them = pc.is_in(piece.oddities["field"], pa.array(dropped, pa.string()))
            oddities = piece.oddities.filter(pc.invert(is_about_them))
            yield replace(piece, rows=piece.rows.drop_columns(dropped), oddities=oddities)
        else:
            yield piece


# -- period and territory ----------------------------------------------------------------------------------------------


def _known(territory: str | None) -> frozenset[str]:
    return frozenset() if territory is None else frozenset((territory,))


def _lies_in(territory: str, partner_territory: str) -> bool:
    """Whether rows about `territory` may come from a partner of `partner_territory`; another level cannot tell."""
    if territory.split("-")[0] != partner_territory.split("-")[0]:
        return False
    same_level = territory.rsplit("-", 1)[0] == partner_territory.rsplit("-", 1)[0]
    return territory == partner_territory if same_level else True


def _other_territory(stated: str, partner: Partner) -> Finding:
    return Finding(
        "wrong-partner",
        "blocking",
        f"Le fichier concerne le territoire {stated}, celui du partenaire est {partner.territory_code}.",
        expected=f"des données de {partner.territory_code}",
        remedy="Vérifiez le fichier et le code du partenaire.",
        value=stated,
    )


def _month_missing(source: Source) -> Finding:
    return Finding(
        "period-missing",
        "blocking",
        f"Un fichier « {source.title} » ne dit pas quel mois il concerne.",
        expected="un mois au format AAAA-MM, par exemple 2026-09",
        remedy="Précisez le mois du dépôt.",
    )


# -- refusals ----------------------------------------------------------------------------------------------------------


def _refusal(partner: str, source: str | None, month: Month | None, finding: Finding) -> Judgement:
    return Judgement(REFUSED, partner, source, month, None, Account(), findings_table([finding]))


def _refused(
    partner: Partner, source: Source, month: Month | None, members: tuple[Member, ...], findings: pa.Table
) -> Judgement:
    account = sum((member.account for member in members), Account()).checked()
    files = _files(members, source)
    return Judgement(REFUSED, partner.code, source.name, month, None, account, findings, members, files)


def _nothing_accepted(account: Account) -> Account:
    """The account of a file of which no row is taken."""
    return Account(account.lines, account.blank, account.header_footer, 0, account.accepted + account.rejected)


def _files(members: Sequence[Member], source: Source) -> tuple[str, ...]:
    """How findings call the members."""
    tables = {table.name: table for version in source.versions for table in version.resources}
    return tuple(label(member.rank, tables.get(member.table or "")) for member in members)


def _member_json(member: Member, file: str) -> dict[str, Any]:
    account = member.account
    return {
        "rank": member.rank,
        "file": file,
        "table": member.table,
        "lines": account.lines,
        "accepted": account.accepted,
        "rejected": account.rejected,
        "blank": account.blank,
        "header_footer": account.header_footer,
    }
