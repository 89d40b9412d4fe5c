"""Inputs that nobody would think of: programs that look for them, to be run for as long as one likes."""
