"""One run in the capture kernel: the nursery of three tasks, then the final phase.

Imported by ``cli``; imports ``crashes`` and below.
"""
