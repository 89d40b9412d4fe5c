"""Releases: what the network may read, in the formats that it reads.

Belongs here: the published tables and their dictionary, the files of a release, its manifest and signature, verifying
one. Does not belong here: deciding what may be shown (`disclosure`); nothing here accepts a table that it did not make.
"""
