"""The commands of the program, one module per subject, each with the `typer` group that `cli` registers.

Belongs here: arguments, which core function a command calls, exit codes. Does not belong here: what a command prints
(`screen`), anything that decides. Heavy imports stand inside the commands.
"""
