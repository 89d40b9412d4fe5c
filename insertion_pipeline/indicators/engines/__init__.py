"""Other engines than DuckDB for what is heavy: the queries of facts, the passes of indicators over them.

Belongs here: running the same SQL elsewhere. Does not belong here: what the SQL says (`facts/*.sql`, the catalogue,
`computing`), and anything that only DuckDB runs: coverage, statuses and rounding work on tables that are small by then.
"""
