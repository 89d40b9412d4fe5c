"""`data_sources/` as frozen, validated types: partners, sources, nomenclatures, indicators.

Belongs here: reading that folder, refusing what it does not understand with file and path, looking things up. Does
not belong here: anything rendered from a contract (`contracts`), anything about a delivery (`ingestion`).

A contract is a Frictionless Table Schema per table of the source; everything that Frictionless has no word for stands
under the key `insertion`. Unknown keys are refused: a typing mistake never silently switches a rule off.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from insertion_pipeline.expressions import ForbiddenExpression, columns_of
from insertion_pipeline.headings import comparable
from insertion_pipeline.month import Month

if TYPE_CHECKING:
    import pyarrow as pa

Family = Literal["ale", "siae", "department", "employment_service"]
FAMILIES: tuple[Family, ...] = ("ale", "siae", "department", "employment_service")
Space = Literal["fr", "be"]
Severity = Literal["blocking", "warning"]
FieldType = Literal["string", "integer", "number", "boolean", "date", "datetime", "yearmonth", "any"]
Extent = Literal["month", "snapshot", "delta"]
Envelope = Literal["delimited", "tabular", "fluxiae", "cnaf_xml", "json"]
Use = Literal["link", "fact", "both", "none"]
Level = Literal[
    "commune",
    "epci",
    "clpe",
    "employment_zone",
    "department",
    "council",
    "region",
    "arrondissement",
    "province",
    "country",
]


class InvalidDataSources(Exception):
    """`data_sources/` holds something that is not understood; the message names the file and the path inside it."""


class DeclarationsChanged(Exception):
    """A declaration was edited while a run was at work: its result would belong to neither version."""


def _month(value: object) -> object:
    return Month.parse(value) if isinstance(value, str) else value


MonthText = Annotated[Month, BeforeValidator(_month), PlainSerializer(str)]


class _Declared(BaseModel):
    """Declared in a file: frozen, and nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


_T = TypeVar("_T", bound=_Declared)


# -- partners ----------------------------------------------------------------------------------------------------

#: Table → field → the titles that a partner's files give to the column, the one that it is shown first.
Headers = Mapping[str, Mapping[str, tuple[str, ...]]]


class PartnerOwn(_Declared):
    """What one partner has of its own: `partners/<code>.yaml`, there for the few that need one.

    `headers`: by source. They come before every name that the contract gives, those of its other columns included.
    """

    headers: Mapping[str, Headers] = {}


class Partner(_Declared):
    """Who delivers. One line of `partners.csv`; lines are never deleted, `until` ends them."""

    code: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    name: str
    family: Family
    space: Space
    territory_code: str
    sources: tuple[str, ...]
    delivers_for: tuple[str, ...] = ()
    since: MonthText
    until: MonthText | None = None
    siret: str | None = None
    nir: Literal["allowed", "forbidden"] = "allowed"
    own: PartnerOwn = PartnerOwn()

    def expects(self, source: str, month: Month) -> bool:
        """Whether this partner delivers `source` for `month`."""
        return source in self.sources and self.since <= month and (self.until is None or month <= self.until)

    @property
    def timezone(self) -> str:
        return "Europe/Paris" if self.space == "fr" else "Europe/Brussels"


# -- contracts ---------------------------------------------------------------------------------------------------


class Constraints(_Declared):
    """Frictionless constraints, the ones that the sector needs."""

    required: bool = False
    unique: bool = False
    pattern: str | None = None
    enum: tuple[str, ...] | None = None
    minimum: str | float | None = None
    maximum: str | float | None = None
    minLength: int | None = None
    maxLength: int | None = None


class FieldExtension(_Declared):
    """What Frictionless has no word for, about one field."""

    use: Use = "fact"
    personal: bool = False
    aliases: tuple[str, ...] = ()
    path: str | None = Field(default=None, description="Where the value stands in an XML or JSON element.")
    person: str | None = Field(default=None, description="Column of the canonical person record that this field feeds.")
    names_referent: bool = Field(
        default=False, description="With the others so marked, names who follows the person: counted under a pseudonym."
    )
    identifier: Literal["nir", "niss"] | None = Field(default=None, description="Number whose key is verified.")
    values: Mapping[str, str] = Field(default={}, description="Accepted spelling to code, case and accents aside.")
    code_list: str | None = Field(default=None, description="Nomenclature whose codes are allowed.")
    formats: tuple[str, ...] = Field(default=(), description="Further accepted date formats, strptime style.")
    severity: Severity | None = Field(default=None, description="Severity of type and constraint findings.")
    repair: tuple[str, ...] = Field(default=(), description="Exact repairs allowed, by name (contracts.repairs).")
    remedy: str | None = Field(default=None, description="What to do, in French, when the value is wrong.")
    header_optional: bool = Field(default=False, description="The column may be absent from the file.")
    headers: tuple[str, ...] = Field(
        default=(), description="The titles that one partner gives to the column; a contract declares none."
    )


class ContractField(_Declared):
    """One column: a Frictionless field descriptor with its extension."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    type: FieldType = "string"
    format: str = "default"
    title: str = ""
    description: str = ""
    example: str | None = None
    missingValues: tuple[str, ...] | None = None
    trueValues: tuple[str, ...] = ("true", "1")
    falseValues: tuple[str, ...] = ("false", "0")
    decimalChar: str = "."
    groupChar: str | None = None
    constraints: Constraints = Constraints()
    insertion: FieldExtension = FieldExtension()

    @property
    def severity(self) -> Severity:
        """Blocking only when the row is unusable without the value; everything else warns."""
        return self.insertion.severity or ("blocking" if self.constraints.required else "warning")

    @property
    def label(self) -> str:
        """How people know the column: the partner's own title, where the contract is seen as one partner's."""
        return self.insertion.headers[0] if self.insertion.headers else self.title or self.name


class Rule(_Declared):
    """A rule over several fields of one row: a SQL boolean that holds, or is null, for a good row."""

    code: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    severity: Severity = "warning"
    expression: str
    fields: tuple[str, ...]
    message: str
    expected: str
    remedy: str


class ForeignKeyReference(_Declared):
    """The table and fields that a foreign key points to."""

    resource: str
    fields: tuple[str, ...]


class ForeignKey(_Declared):
    """A Frictionless foreign key, inside one source."""

    fields: tuple[str, ...]
    reference: ForeignKeyReference


class TableSchema(_Declared):
    """A Frictionless Table Schema."""

    fields: tuple[ContractField, ...]
    primaryKey: tuple[str, ...] = ()
    foreignKeys: tuple[ForeignKey, ...] = ()
    missingValues: tuple[str, ...] = ("",)


class TableExtension(_Declared):
    """What Frictionless has no word for, about one table of a source."""

    member: str | None = Field(default=None, description="Name of the member in a bundle, as in the file names.")
    required: bool = Field(default=True, description="A bundle without this table is refused.")
    persons: bool = Field(default=False, description="Each row describes a person: `person:` keys say how.")
    local_person_key: tuple[str, ...] = Field(default=(), description="Fields that identify the person locally.")
    local_person_source: str | None = Field(
        default=None, description="Source of the same partner whose persons the local key names; null = this one."
    )
    person_context: Mapping[str, str] = Field(default={}, description="Person columns found through SQL expressions.")
    unique_severity: Severity = "warning"
    rules: tuple[Rule, ...] = ()
    sheet: str | None = None


class ContractTable(_Declared):
    """One table of a source: a Frictionless resource."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str = ""
    description: str = ""
    schema_: TableSchema = Field(alias="schema")
    insertion: TableExtension = TableExtension()

    @property
    def fields(self) -> tuple[ContractField, ...]:
        return self.schema_.fields

    @property
    def stored_fields(self) -> tuple[ContractField, ...]:
        """The fields that may be kept: a column that is `use: none`, or not listed, is discarded at reading."""
        return tuple(field for field in self.fields if field.insertion.use != "none")

    def field(self, name: str) -> ContractField:
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(f"table {self.name!r} has no field {name!r}")

    def called(self, headers: Mapping[str, tuple[str, ...]]) -> ContractTable:
        """The table with a partner's own titles, by field. A title that another field is given is no longer its own."""
        taken = {comparable(title): name for name, titles in headers.items() for title in titles}
        fields = []
        for field in self.fields:
            names = (field.title, *field.insertion.aliases)
            kept = [name for name in names if taken.get(comparable(name), field.name) == field.name]
            title = next(filter(None, kept), field.name)
            own = field.insertion.model_copy(update={"headers": headers.get(field.name, ())})
            fields.append(field.model_copy(update={"title": title, "insertion": own}))
        schema = self.schema_.model_copy(update={"fields": tuple(fields)})
        return self.model_copy(update={"schema_": schema})


class Period(_Declared):
    """How the delivered month and the covered span are known."""

    stated_by: Literal["content", "manifest"] = "manifest"
    table: str | None = None
    month_expression: str | None = Field(default=None, description="SQL giving the row's month as YYYY-MM text.")
    check_against_manifest: bool = True


class Total(_Declared):
    """What a parent element of a flow states of its children. Checked while it is read; only `field` may be kept."""

    code: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    stated: str = Field(description="Where the parent states it, in the language of `path`.")
    over: str = Field(description="What is added up, or counted where it is there, from each child.")
    how: Literal["sum", "count"]
    field: str = Field(default="", description="The field that holds what is stated, where the contract has one.")
    message: str
    expected: str
    remedy: str


class SourceExtension(_Declared):
    """Who delivers a source, on what legal basis, in what envelope, and what a delivery replaces."""

    family: Family
    spaces: tuple[Space, ...]
    envelope: Envelope
    extent: Extent
    period: Period = Period()
    unit_of_account: Literal["line", "row", "person", "element"] = "line"
    max_rejected_share: float = Field(default=0.20, ge=0, le=1)
    territory_expression: str | None = Field(default=None, description="SQL giving the stated territory.")
    population: Literal["exhaustive", "partial"] = "partial"
    controller: str
    legal_basis: str
    purposes: tuple[str, ...]
    objection: Literal["honoured", "statistical_exception"] = "honoured"
    objection_reference: str | None = None
    retention_months: Mapping[Literal["raw", "identifiers", "facts"], int] = {"raw": 13, "identifiers": 24, "facts": 60}
    deadline_day: int = Field(default=15, ge=1, le=28)
    totals: tuple[Total, ...] = Field(default=(), description="What the households of a flow state of their persons.")
    options: Mapping[str, Any] = Field(default={}, description="Options of the envelope's reader.")


class SourceVersion(_Declared):
    """The tables of a source from a month on. Old months keep the version that held for them."""

    valid_from: MonthText
    resources: tuple[ContractTable, ...]

    def called(self, headers: Headers) -> SourceVersion:
        """The version with a partner's own titles."""
        tables = (table.called(headers[table.name]) if table.name in headers else table for table in self.resources)
        return self.model_copy(update={"resources": tuple(tables)})


class Source(_Declared):
    """What kind of file. One contract file `data_sources/<family>/<source>.yaml`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str = ""
    insertion: SourceExtension
    versions: tuple[SourceVersion, ...] = Field(min_length=1)

    @property
    def family(self) -> Family:
        return self.insertion.family

    @property
    def first_month(self) -> Month:
        return min(version.valid_from for version in self.versions)

    @property
    def latest_month(self) -> Month:
        """The first month of the newest version: which version to take when no month is known yet."""
        return max(version.valid_from for version in self.versions)

    def version_for(self, month: Month) -> SourceVersion:
        """The version in force. Raises `KeyError` for a month before the first one: outside the contract."""
        in_force = [version for version in self.versions if version.valid_from <= month]
        if not in_force:
            raise KeyError(f"{self.name} has no contract for {month}: it begins in {self.first_month}")
        return max(in_force, key=lambda version: version.valid_from)

    def table(self, name: str, month: Month) -> ContractTable:
        for table in self.version_for(month).resources:
            if table.name == name:
                return table
        raise KeyError(f"{self.name} has no table {name!r}")

    def called_by(self, partner: Partner) -> Source:
        """The contract as the files of this partner have it: its own titles of columns before those of the contract."""
        headers = partner.own.headers.get(self.name)
        if headers is None:
            return self
        return self.model_copy(update={"versions": tuple(version.called(headers) for version in self.versions)})


# -- indicators --------------------------------------------------------------------------------------------------


#: A number as it is written: neither a text, nor true, nor infinite.
_Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True, allow_inf_nan=False)]
_ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

#: A code, or several that stand together (`siae+ale`) or follow one another (`siae>ale`).
_Modality = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+([+>][A-Za-z0-9_]+)*$")]


class Breakdown(_Declared):
    """A way of cutting an indicator: a column of its fact."""

    column: str
    label: str
    additive: bool = True
    multivalued: bool = Field(default=False, description="The column is a list: a row may have several modalities.")
    sensitivity: Literal["ordinary", "sensitive", "forbidden"] = "ordinary"
    modalities: Mapping[_Modality, str] = Field(default={}, description="Code to French label.")
    levels: tuple[Level, ...] | None = Field(default=None, description="Levels where the cut is made; null = all.")


@dataclass(frozen=True)
class Summand:
    """One summand of the sums that an indicator declares: `code`, `code[breakdown=modality]`, `-code.denominator@1`."""

    code: str
    breakdown: str = ""
    modality: str = ""
    is_taken_off: bool = False
    is_denominator: bool = False
    before: str = ""  # how many months before the whole, or `year`: every month of the year so far

    @classmethod
    def read(cls, text: str) -> Summand | None:
        """The summand that `text` is, or None."""
        found = _SUMMAND.fullmatch(text)
        if found is None:
            return None
        minus, code, below, breakdown, modality, before = found.groups(default="")
        return cls(code, breakdown, modality, bool(minus), bool(below), before)

    @property
    def is_plain(self) -> bool:
        """Whether it is added as it stands: a numerator of the same month."""
        return not (self.is_taken_off or self.is_denominator or self.before)


_SUMMAND = re.compile(r"(-?)([a-z0-9_]+)(\.denominator)?(?:\[([a-z0-9_]+)=([^\]]+)\])?(?:@(\d+|year))?")


class Indicator(_Declared):
    """One number that the network steers by. Numerator and denominator are SQL aggregates over one fact."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    definition: str
    kind: Literal["count", "sum", "ratio", "quantile"]
    fact: str
    where: str | None = None
    numerator: str
    denominator: str | None = None
    numerator_label: str
    denominator_label: str = ""
    unit: Literal["%", "persons", "hours", "etp", "eur", "days", "count"]
    counted_unit: Literal["persons", "structures", "hours", "etp", "euros", "days"]
    contributors: str | None = Field(default=None, description="SQL aggregate: how many persons stand behind a sum.")
    axis: Literal["residence", "structure", "paying_council", "deposit"]
    reference_period: Literal["end_of_month", "during_month"]
    countries: tuple[Literal["FR", "BE"], ...]
    levels: tuple[Level, ...]
    breakdowns: tuple[str, ...] = ()
    additive_over_territories: bool = True
    parts: tuple[str, ...] = Field(
        default=(),
        description="Indicators whose numerators sum to this one's; `code[breakdown=modality]`: a part of one.",
    )
    balance: tuple[str, ...] = Field(
        default=(),
        description="What its numerator is the sum of, over time too: `code`, `-code` taken off, `code.denominator`,"
        " `code@1` one month before, `code@year` every month of the year so far.",
    )
    threshold: int = Field(default=5, ge=1)
    minimum_denominator: int = Field(default=30, ge=1)
    sensitivity: Literal["ordinary", "sensitive"] = "ordinary"
    sources: tuple[str, ...]
    requires_one_of: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Groups of sources: one of each group must be in. Null = every source by itself."
    )
    exhaustive_sources: tuple[str, ...] = Field(default=(), description="Sources that must be exhaustive.")
    minimum_families: int = Field(default=0, ge=0, description="NR where fewer families' expected files are in.")
    families: tuple[Family, ...] = ()
    error: str | None = Field(
        default=None, description="SQL aggregate: estimated number of false counts. ND when it exceeds a third."
    )
    error_between: tuple[str, ...] = Field(
        default=(), description="Two sources: their measured share of false non-matches is `:linkage_miss_share`."
    )
    complete_months: int = Field(
        default=1, ge=1, description="Count only where every expected file of so many months, this one last, is in."
    )
    cohort_lag_months: int = Field(default=0, ge=0, description="Months between cohort and value.")
    purposes: tuple[str, ...]
    exclusions: str = ""
    reference: str = ""
    status_of_definition: Literal["found", "practice", "to_be_confirmed"] = "practice"
    parameters: Mapping[_ParameterName, _Number] = Field(default={}, description="Numbers that formulas name: `:name`.")
    series_breaks: Mapping[Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")], str] = Field(
        default={}, description="Month to what changed."
    )
    valid_from: MonthText
    aliases: tuple[str, ...] = ()

    @property
    def required_groups(self) -> tuple[tuple[str, ...], ...]:
        """The groups of sources of which one each must be in."""
        return self.requires_one_of or tuple((source,) for source in self.sources)

    @property
    def told_breaks(self) -> str:
        """The breaks of its series as readers are told them: `2025-01 : what changed ; …`."""
        return " ; ".join(f"{month} : {what}" for month, what in sorted(self.series_breaks.items()))


class IndicatorFamily(_Declared):
    """One file of the catalogue."""

    family: str
    title: str
    breakdowns: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Breakdown] = {}
    indicators: tuple[Indicator, ...]


# -- nomenclatures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nomenclature:
    """A dated code list: rows of text, one per code and validity period. Column `code` is always there.

    `sha256`: of the file that it was read from.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    path: Path
    sha256: str

    def codes(self, month: Month | None = None) -> frozenset[str]:
        """The codes valid in `month` (all of them when it is null)."""
        return frozenset(row["code"] for row in self.records(month))

    def records(self, month: Month | None = None) -> Iterator[dict[str, str]]:
        """The rows as mappings, those valid in `month` when the list is dated."""
        for values in self.rows:
            row = dict(zip(self.columns, values, strict=True))
            begins, ends = row.get("valid_from", ""), row.get("valid_until", "")
            if month is None or ((not begins or begins[:7] <= str(month)) and (not ends or str(month) <= ends[:7])):
                yield row

    @functools.cached_property
    def table(self) -> pa.Table:
        """The rows as text columns, empty cells as empty text."""
        import pyarrow as pa

        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        named = zip(self.columns, columns, strict=True)
        return pa.table({name: pa.array(values, pa.string()) for name, values in named})


# -- the whole ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Registry:
    """Everything that is data, not code."""

    folder: Path
    partners: Mapping[str, Partner]
    sources: Mapping[str, Source]
    indicator_families: tuple[IndicatorFamily, ...]
    digest: str
    held_to: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)

    def held(self) -> Registry:
        """The same for a run, which lasts: a file that it reads later and that has changed meanwhile is refused.

        Raises `DeclarationsChanged` when one already has since this registry was read.
        """
        files = _files(self.folder)
        if _digest_of(files) != self.digest:
            raise DeclarationsChanged(f"{self.folder}: edited since it was read")
        return dataclasses.replace(self, held_to=files)

    def content(self, name: str) -> bytes:
        """A declaration by its path in the folder. Raises `DeclarationsChanged` where a run is held to another."""
        content = (self.folder / name).read_bytes()
        self._refuse_changed(name, hashlib.sha256(content).hexdigest())
        return content

    def _refuse_changed(self, name: str, sha256: str) -> None:
        if self.held_to is not None and self.held_to.get(name) != sha256:
            raise DeclarationsChanged(f"{self.folder / name}: edited since the run began")

    @functools.cached_property
    def indicators(self) -> Mapping[str, Indicator]:
        return {indicator.code: indicator for family in self.indicator_families for indicator in family.indicators}

    @functools.cached_property
    def breakdowns(self) -> Mapping[str, Breakdown]:
        return {name: breakdown for family in self.indicator_families for name, breakdown in family.breakdowns.items()}

    def partner(self, code: str) -> Partner:
        """Raises `KeyError` for an unknown partner."""
        return self.partners[code]

    def source(self, name: str) -> Source:
        """Raises `KeyError` for an unknown source."""
        return self.sources[name]

    def source_of(self, partner: Partner, name: str) -> Source:
        """The contract of a source as the files of this partner have it: see `Source.called_by`.

        Raises `KeyError` for an unknown source, and `InvalidDataSources` when the partner's own titles do not fit it.
        """
        source = self.sources[name]
        for where, problem in _problems_of_headers(partner.own.headers.get(name, {}), source):
            raise InvalidDataSources(f"{_own_file(self.folder, partner.code)}: headers.{name}.{where}: {problem}")
        return source.called_by(partner)

    def nomenclature(self, name: str) -> Nomenclature:
        """The code list `nomenclatures/<name>.csv`. Raises `InvalidDataSources` when there is none."""
        path = self.folder / "nomenclatures" / f"{name}.csv"
        try:
            found = path.stat()
        except FileNotFoundError:
            raise InvalidDataSources(f"{path}: there is no such nomenclature") from None
        nomenclature = _nomenclature(path, found.st_size, found.st_mtime_ns, found.st_ino)
        self._refuse_changed(f"nomenclatures/{path.name}", nomenclature.sha256)
        return nomenclature

    def samples(self) -> Iterator[Path]:
        """The sample deliveries, ordered as `samples/deliveries.csv` of each family orders them."""
        for family in FAMILIES:
            yield from sorted(path for path in (self.folder / family / "samples").rglob("*") if path.is_file())


def load_registry(folder: Path) -> Registry:
    """Read and check `data_sources/`. Raises `InvalidDataSources` with the file and the path of what is wrong."""
    glanced = glance(folder)
    sources = {name: glanced.sources[name] for name in glanced.sources}
    for partner in glanced.partners.values():
        for name in partner.own.headers:
            glanced.source_of(partner, name)
    families = tuple(_declared(IndicatorFamily, path) for path in sorted((folder / "indicators").glob("*.yaml")))
    _refuse_duplicate_codes(families, folder / "indicators")
    return dataclasses.replace(glanced, sources=sources, indicator_families=families)


def glance(folder: Path) -> Registry:
    """The registry without its indicators, each contract read and checked when it is first asked for.

    What judging one file needs, in a fifth of the time (measured). Raises `InvalidDataSources` as `load_registry` does,
    looking a source up as well.
    """
    sources = _Contracts(folder)
    listed = _unique(_partners(folder / "partners.csv"), "code", folder / "partners.csv")
    for partner in listed.values():
        for name in partner.sources:
            if name not in sources:
                raise InvalidDataSources(f"{folder / 'partners.csv'}: {partner.code}: unknown source {name!r}")
    partners = listed | {one.code: one for one in _with_their_own(folder, listed)}
    return Registry(folder, partners, sources, (), _digest_of(_files(folder)))


class _Contracts(Mapping[str, Source]):
    """The sources by name, as the files are named; a file is read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, tuple[Family, Path]] = {}
        self._read: dict[str, Source] = {}
        for family in FAMILIES:
            for path in sorted((folder / family).glob("*.yaml")):
                if path.stem in self._files:
                    raise InvalidDataSources(f"{path}: {self._files[path.stem][1]} has the same name")
                self._files[path.stem] = (family, path)

    def __getitem__(self, name: str) -> Source:
        if name not in self._read:
            self._read[name] = self._checked(*self._files[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def _checked(self, family: Family, path: Path) -> Source:
        source = _declared(Source, path)
        if source.name != path.stem:
            raise InvalidDataSources(f"{path}: name: {source.name!r} must be the file's name, {path.stem!r}")
        if source.family != family:
            raise InvalidDataSources(f"{path}: insertion.family: {source.family!r} stands in the folder {family!r}")
        for where, problem in _problems(source):
            raise InvalidDataSources(f"{path}: {where}: {problem}")
        for table in (table for version in source.versions for table in version.resources):
            named = table.insertion.local_person_source
            if named is not None and named not in self:
                raise InvalidDataSources(f"{path}: {table.name}: local_person_source: unknown source {named!r}")
        return source


class _UniqueKeyLoader(yaml.CSafeLoader):
    """YAML that refuses a key written twice, where plain YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<`: a key of one's own overrides an inherited one
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} written twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _declared(kind: type[_T], path: Path) -> _T:
    text = path.read_text(encoding="utf-8")
    try:
        declared: _T = _parsed(kind, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InvalidDataSources(f"{path}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidDataSources(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        line = f", line {_line_of(text, first['loc'])}"
        raise InvalidDataSources(f"{path}{line}: {where}: {first['msg']}") from error
    return declared


def _line_of(text: str, location: Iterable[int | str]) -> int:
    """The line (1-based) of what stands at `location` in a YAML text, or of the nearest thing around it."""
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    if node is None:  # an empty file
        return 1
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            own = {key.value: (key, value) for key, value in node.value}
            if str(part) not in own:  # missing, or inherited from another entry
                break
            key, node = own[str(part)]
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


@functools.lru_cache(maxsize=64)
def _parsed(kind: type[_T], text: str) -> _T:
    """What a text declares: frozen, so that whoever reads the same text in this process shares it."""
    return kind.model_validate(yaml.load(text, Loader=_UniqueKeyLoader))  # noqa: S506 (a SafeLoader)


def _partners(path: Path) -> Iterator[Partner]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                lists = {name: tuple((row.pop(name, "") or "").split()) for name in ("sources", "delivers_for")}
                values = {name: value for name, value in row.items() if value not in ("", None)}
                try:
                    yield Partner.model_validate(values | lists)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"])
                    raise InvalidDataSources(f"{path}, line {number}: {where}: {first['msg']}") from error
    except FileNotFoundError:
        raise InvalidDataSources(f"{path}: there is no such file") from None


def _own_file(folder: Path, code: str) -> Path:
    return folder / "partners" / f"{code}.yaml"


def _with_their_own(folder: Path, partners: Mapping[str, Partner]) -> Iterator[Partner]:
    """The partners that have something of their own, with it."""
    for path in sorted((folder / "partners").glob("*.yaml")):
        if path.stem not in partners:
            raise InvalidDataSources(f"{path}: no partner of partners.csv has the code {path.stem!r}")
        partner, own = partners[path.stem], _declared(PartnerOwn, path)
        for name in own.headers:
            if name not in partner.sources:
                raise InvalidDataSources(f"{path}: headers.{name}: {partner.code} does not deliver it")
        yield partner.model_copy(update={"own": own})


def _problems_of_headers(headers: Headers, source: Source) -> Iterator[tuple[str, str]]:
    """What a partner's own titles say that the contract does not know: (path below the source, what is wrong)."""
    if headers and source.insertion.envelope not in ("delimited", "tabular", "fluxiae"):
        yield "", f"a file of {source.name} has no titles of columns"
    for name, fields in headers.items():
        tables = [table for version in source.versions for table in version.resources if table.name == name]
        if not tables:
            yield name, f"{source.name} has no table {name!r}"
        known = {field.name for table in tables for field in table.fields}
        seen: dict[str, str] = {}
        for field, titles in fields.items():
            if field not in known:
                yield f"{name}.{field}", f"the table {name!r} has no field {field!r}"
            if not titles:
                yield f"{name}.{field}", "it gives no title"
            for rank, title in enumerate(titles):
                key = comparable(title)
                if not key:
                    yield f"{name}.{field}.{rank}", f"{title!r} has neither a letter nor a digit"
                elif key in seen:
                    yield f"{name}.{field}.{rank}", f"{title!r} is also a title of {seen[key]!r}"
                seen[key] = field


def _unique(partners: Iterable[Partner], attribute: str, path: Path) -> dict[str, Partner]:
    found: dict[str, Partner] = {}
    for partner in partners:
        key = getattr(partner, attribute)
        if key in found:
            raise InvalidDataSources(f"{path}: {attribute} {key!r} stands on two lines")
        found[key] = partner
    return found


#: Columns that a row rule may read beside the row's own: the first and the last day of the delivered month.
MONTH_BOUNDS = frozenset({"_month_start", "_month_end"})


def _problems(source: Source) -> Iterator[tuple[str, str]]:
    """What a contract's own types cannot see: (path in the file, what is wrong)."""
    for version_rank, version in enumerate(source.versions):
        tables = {table.name: table for table in version.resources}
        for rank, table in enumerate(version.resources):
            where = f"versions.{version_rank}.resources.{rank}"
            yield from ((f"{where}.{path}", problem) for path, problem in _problems_of_table(table, tables))
        for rank, total in enumerate(source.insertion.totals):
            if source.insertion.envelope != "cnaf_xml":
                yield f"insertion.totals.{rank}", "only the households of a flow state totals"
            if total.field and not any(total.field == one.name for table in tables.values() for one in table.fields):
                yield f"insertion.totals.{rank}.field", f"{total.field!r} is not a field"
        period, states = source.insertion.period, source.insertion.territory_expression
        if period.table is not None and period.table not in tables:
            yield "insertion.period.table", f"no table {period.table!r}"
            continue
        spoken_of = [tables[period.table]] if period.table is not None else list(tables.values())
        columns = frozenset(field.name for table in spoken_of for field in table.stored_fields)
        for path, text in (("period.month_expression", period.month_expression), ("territory_expression", states)):
            yield from ((f"insertion.{path}", problem) for problem in _problems_of_expression(text, columns))


def _problems_of_table(table: ContractTable, tables: Mapping[str, ContractTable]) -> Iterator[tuple[str, str]]:
    names = [field.name for field in table.fields]
    for field in table.fields:
        if field.insertion.headers:
            yield f"schema.fields.{field.name}.insertion.headers", "a partner's titles stand in partners/<code>.yaml"
    columns = frozenset(field.name for field in table.stored_fields)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "schema.fields", f"{name!r} is declared twice"
    for name in (*table.schema_.primaryKey, *table.insertion.local_person_key):
        if name not in columns:
            yield "schema.primaryKey", f"{name!r} is not a field that is kept"
    for rank, key in enumerate(table.schema_.foreignKeys):
        referenced = tables.get(key.reference.resource)
        known = frozenset(field.name for field in referenced.stored_fields) if referenced is not None else frozenset()
        if not (set(key.fields) <= columns and set(key.reference.fields) <= known):
            yield f"schema.foreignKeys.{rank}", "it names a table or a field that is not kept"
    for rank, rule in enumerate(table.insertion.rules):
        for problem in _problems_of_expression(rule.expression, columns | MONTH_BOUNDS):
            yield f"insertion.rules.{rank}.expression", problem
        if not set(rule.fields) <= columns:
            yield f"insertion.rules.{rank}.fields", "it names a field that is not kept"
    for name, text in table.insertion.person_context.items():
        yield from ((f"insertion.person_context.{name}", problem) for problem in _problems_of_expression(text, columns))


def _problems_of_expression(text: str | None, columns: frozenset[str]) -> Iterator[str]:
    try:
        unknown = sorted(columns_of(text) - columns) if text is not None else []
    except ForbiddenExpression as error:
        yield str(error)
    else:
        if unknown:
            yield f"{unknown[0]!r} is not a field that is kept"


def _refuse_duplicate_codes(families: Sequence[IndicatorFamily], folder: Path) -> None:
    seen: dict[str, str] = {}
    for family in families:
        path = folder / f"{family.family}.yaml"
        if not path.exists():
            raise InvalidDataSources(f"{folder}: family {family.family!r} must stand in {path.name}")
        for indicator in family.indicators:
            for code in (indicator.code, *indicator.aliases):
                if code in seen:
                    here = lines_of_indicator(path, code)[-1]
                    there = lines_of_indicator(folder / f"{seen[code]}.yaml", code)[0]
                    raise InvalidDataSources(
                        f"{path}, line {here}: {code!r} is already declared in {seen[code]}.yaml, line {there}"
                    )
                seen[code] = family.family


def lines_of_indicator(path: Path, code: str) -> list[int]:
    """The lines (1-based) where `code` is declared in a catalogue file, as a code or an alias; the first if none."""
    text = path.read_text(encoding="utf-8").splitlines()
    pattern = re.compile(rf"(code:\s*|[\[,\s-]){re.escape(code)}\s*([,\]#}}]|$)")
    named = [number for number, line in enumerate(text, start=1) if pattern.search(line)]
    return [number for number in named if "code:" in text[number - 1] or "aliases" in text[number - 1]] or named or [1]


#: Contracts, partners and lists; what the report draws is part of a release, too.
_DECLARING = {".yaml", ".csv", ".geojson"}


@functools.lru_cache(maxsize=64)
def _nomenclature(path: Path, size: int, modified_ns: int, inode: int) -> Nomenclature:
    """The list as the file was at that size and time: one that is edited under a portal at work is read again."""
    content = path.read_bytes()
    reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    columns = tuple(next(reader, ()))
    rows = tuple(tuple(row) for row in reader)
    if "code" not in columns:
        raise InvalidDataSources(f"{path}: a nomenclature has a column named code")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise InvalidDataSources(f"{path}, line {number}: {len(row)} values for {len(columns)} columns")
    return Nomenclature(path.stem, columns, rows, path, hashlib.sha256(content).hexdigest())


def _files(folder: Path) -> dict[str, str]:
    """The declarations (not the samples), each with its SHA-256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _DECLARING and "samples" not in path.relative_to(folder).parts and path.is_file()
    }


def _digest_of(files: Mapping[str, str]) -> str:
    """One SHA-256 over them all: part of a release's identity."""
    digest = hashlib.sha256()
    for name, sha256 in files.items():
        digest.update(f"{name}\0{sha256}\n".encode())
    return digest.hexdigest()
