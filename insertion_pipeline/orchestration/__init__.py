"""Dagster over the core: thin assets, checks and automation. Only this folder and `definitions.py` know Dagster.

Everything that an asset does is one call into the core; what the core returns becomes metadata, counts and schemas
only: nothing here shows a row, a value of a finding, or a number that is not in a release.
"""
