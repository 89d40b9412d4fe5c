"""The values of a release for statistical offices: SDMX-CSV 2.0, with its structure in SDMX-JSON 2.0.

Belongs here: dimensions, attributes and code lists as SDMX names them. Does not belong here: any other format
(`writing`). SDMX-CSV has rules of its own: commas, a decimal point, no byte order mark, three columns of structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from insertion_pipeline.lake import write_json
from insertion_pipeline.publication.tables import INDICATOR_VALUES

VALUES: Final = "sdmx/indicator_values.csv"
STRUCTURE: Final = "sdmx/structure.json"
_URN: Final = "urn:sdmx:org.sdmx.infomodel"
_AGENCY, _FLOW, _VERSION = "INSERTION", "INDICATOR_VALUES", "1.0.0"
#: Our statuses in the SDMX code list of observation statuses, CL_OBS_STATUS 2.2.
_OBSERVATION_STATUSES: Final[Mapping[str, tuple[str, str]]] = {
    "published": ("A", "Normal value"),
    "suppressed": ("Q", "Missing value; suppressed"),
    "PS": ("N", "Not significant"),
    "NR": ("L", "Missing value; data exist but were not collected"),
    "NC": ("M", "Missing value; data cannot exist"),
    "ND": ("O", "Missing value"),
}
#: SDMX concept, our column, what SDMX makes of it.
_CONCEPTS: Final = (
    ("FREQ", None, "dimension"),
    ("REF_AREA", "territory_code", "dimension"),
    ("INDICATOR", "indicator_code", "dimension"),
    ("BREAKDOWN", "breakdown", "dimension"),
    ("MODALITY", "modality", "dimension"),
    ("TIME_PERIOD", "month", "time"),
    ("OBS_VALUE", "value", "measure"),
    ("NUMERATOR", "numerator", "attribute"),
    ("DENOMINATOR", "denominator", "attribute"),
    ("UNIT_MEASURE", "unit", "attribute"),
    ("OBS_STATUS", None, "attribute"),
    ("STATUS", "status", "attribute"),
    ("COVERAGE", "coverage", "attribute"),
    ("AS_OF", "as_of", "attribute"),
    ("MATURITY", "maturity", "attribute"),
)
_IDENTIFIER: Final = re.compile(r"^[A-Za-z0-9_@$\-]+$")


def write_sdmx(folder: Path, values: pa.Table, labels: Mapping[str, Mapping[str, str]]) -> None:
    """Write both files under `folder`. `labels`: of territories, indicators and breakdowns, the French name by code."""
    (folder / VALUES).parent.mkdir()
    write_json(folder / STRUCTURE, structure(values, labels))
    columns: dict[str, Any] = {
        "STRUCTURE": _constant("dataflow", len(values)),
        "STRUCTURE_ID": _constant(f"{_AGENCY}:{_FLOW}({_VERSION})", len(values)),
        "ACTION": _constant("R", len(values)),
    }
    for concept, column, _ in _CONCEPTS:
        if concept == "FREQ":
            columns[concept] = _constant("M", len(values))
        elif concept == "OBS_STATUS":
            encoded = values["status"].combine_chunks().dictionary_encode()
            names = [_OBSERVATION_STATUSES[one][0] for one in encoded.dictionary.to_pylist()]
            columns[concept] = pa.array(names, pa.string()).take(encoded.indices)
        else:
            columns[concept] = values[column]
    pv.write_csv(pa.table(columns), folder / VALUES, pv.WriteOptions(quoting_style="needed"))


def read_values(folder: Path) -> pa.Table:
    """The columns of `indicator_values` that the file holds, under our names and in our types."""
    ours = {concept: column for concept, column, _ in _CONCEPTS if column}
    types = {concept: INDICATOR_VALUES.schema.field(column).type for concept, column in ours.items()}
    options = pv.ConvertOptions(
        include_columns=list(ours), column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False,
        null_values=[""],
    )  # fmt: skip
    return pv.read_csv(folder / VALUES, convert_options=options).rename_columns(ours)


def structure(values: pa.Table, labels: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The data structure definition, its code lists and its dataflow, as an SDMX-JSON 2.0 structure message."""
    described = {column.name: column.description for column in INDICATOR_VALUES.columns}
    lists = {
        "FREQ": {"M": "Mensuelle"},
        "REF_AREA": _used(values["territory_code"], labels["territories"]),
        "INDICATOR": _used(values["indicator_code"], labels["indicators"]),
        "BREAKDOWN": _used(values["breakdown"], labels["breakdowns"]),
        "OBS_STATUS": dict(_OBSERVATION_STATUSES.values()),
    }
    coded = {name: codes for name, codes in lists.items() if all(_IDENTIFIER.match(code) for code in codes)}
    concepts = [
        {"id": concept, "name": _ENGLISH[concept], "names": {"en": _ENGLISH[concept]}}
        | ({"description": described[column], "descriptions": {"fr": described[column]}} if column else {})
        for concept, column, _ in _CONCEPTS
    ]
    return {
        "meta": {
            "schema": "https://json.sdmx.org/2.0.0/sdmx-json-structure-schema.json",
            "id": f"{_FLOW}_STRUCTURE",
            "test": False,
            "sender": {"id": _AGENCY},
            "contentLanguages": ["fr", "en"],
        },
        "data": {
            "conceptSchemes": [{**_artefact("CONCEPTS", "Concepts"), "concepts": concepts}],
            "codelists": [
                {
                    **_artefact(f"CL_{name}", _ENGLISH[name]),
                    "codes": [
                        {"id": code, "name": label, "names": {"fr": label}} for code, label in sorted(codes.items())
                    ],
                }
                for name, codes in coded.items()
            ],
            "dataStructures": [
                {
                    **_artefact(_FLOW, "Indicator values"),
                    "dataStructureComponents": {
                        "dimensionList": {
                            "id": "DimensionDescriptor",
                            "dimensions": [
                                {"id": name, "position": rank, **_component(name, coded)}
                                for rank, name in enumerate(_of("dimension"), start=1)
                            ],
                            "timeDimensions": [
                                {
                                    "id": "TIME_PERIOD",
                                    "conceptIdentity": _concept("TIME_PERIOD"),
                                    "localRepresentation": {"format": {"dataType": "GregorianYearMonth"}},
                                }
                            ],
                        },
                        "measureList": {
                            "id": "MeasureDescriptor",
                            "measures": [{"id": "OBS_VALUE", "usage": "optional", **_component("OBS_VALUE", coded)}],
                        },
                        "attributeList": {
                            "id": "AttributeDescriptor",
                            "attributes": [
                                {
                                    "id": name,
                                    "usage": "optional",
                                    "attributeRelationship": {"observation": {}},
                                    **_component(name, coded),
                                }
                                for name in _of("attribute")
                            ],
                        },
                    },
                }
            ],
            "dataflows": [
                {
                    **_artefact(_FLOW, "Indicator values"),
                    "structure": f"{_URN}.datastructure.DataStructure={_AGENCY}:{_FLOW}({_VERSION})",
                }
            ],
        },
    }


_ENGLISH: Final[Mapping[str, str]] = {
    "FREQ": "Frequency",
    "REF_AREA": "Reference area",
    "INDICATOR": "Indicator",
    "BREAKDOWN": "Breakdown",
    "MODALITY": "Modality of the breakdown",
    "TIME_PERIOD": "Time period",
    "OBS_VALUE": "Observation value",
    "NUMERATOR": "Numerator",
    "DENOMINATOR": "Denominator",
    "UNIT_MEASURE": "Unit of measure",
    "OBS_STATUS": "Observation status",
    "STATUS": "Status as published",
    "COVERAGE": "Coverage",
    "AS_OF": "Last month known",
    "MATURITY": "Maturity",
}
_NUMBERS: Final = ("OBS_VALUE", "NUMERATOR", "DENOMINATOR", "COVERAGE")


def _artefact(identifier: str, name: str) -> dict[str, Any]:
    return {"id": identifier, "agencyID": _AGENCY, "version": _VERSION, "name": name, "names": {"en": name}}


def _component(name: str, coded: Mapping[str, Any]) -> dict[str, Any]:
    if name in coded:
        representation: dict[str, Any] = {"enumeration": f"{_URN}.codelist.Codelist={_AGENCY}:CL_{name}({_VERSION})"}
    else:
        representation = {"format": {"dataType": "Double" if name in _NUMBERS else "String"}}
    return {"conceptIdentity": _concept(name), "localRepresentation": representation}


def _concept(name: str) -> str:
    return f"{_URN}.conceptscheme.Concept={_AGENCY}:CONCEPTS({_VERSION}).{name}"


def _of(kind: str) -> Iterable[str]:
    return (concept for concept, _, one in _CONCEPTS if one == kind)


def _used(codes: pa.ChunkedArray, labels: Mapping[str, str]) -> dict[str, str]:
    return {code: labels.get(code, code) for code in pc.unique(codes).to_pylist()}


def _constant(text: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), rows)
