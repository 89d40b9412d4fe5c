"""What the network counts: facts, then indicators with numerator, denominator and coverage.

Belongs here: everything between pseudonymised rows and a table of values. Does not belong here: persons and their
identifiers (`identity`), hiding small numbers (`disclosure`), files for readers (`publication`).
"""
