"""Persons and pseudonyms: who is who across files that share no common number, and the seal that stays closed on it.

Direct identifiers live here and below only. What leaves this room is `person`, a keyed pseudonym, with the sex, the
age and the commune that indicators need.
"""
