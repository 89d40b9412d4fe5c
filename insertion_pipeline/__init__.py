"""One pipeline for the network of professional insertion: partner files in, shared indicator tables out.

The layers, from the top. A module imports only from layers below its own; `make check` enforces it.

    definitions · cli                     the doors: Dagster's, and the command line's
    screen · doctoring · preserving       what the command line shows; what an installation lacks; copies of a home
    migrating                             homes of earlier versions
    orchestration | portal                Dagster over the core (the portal stands beside it); they never meet
    simulation                            a seeded population with the truth, for demos, tests and benchmarks
    publication                           releases: DuckDB, Parquet, CSV, dictionary, manifest
    disclosure                            nobody can be recognised in what is published
    indicators                            facts, then numerator, denominator, coverage
    identity                              persons and pseudonyms
    ingestion                             landing, reading, conforming
    contracts                             a source rendered: SQL rules, pandera schema, templates, French messages
    making · program                      what was made of what, by which program: made again only where that changed
    lake · registry · sealing · remote · expressions · headings · month · settings · logs
"""

__version__ = "0.1.0"
