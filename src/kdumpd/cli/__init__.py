"""The command line: arguments, commands, exit codes. The only room that exits the process.

Imported by nobody but ``kdumpd.__main__``.
"""
