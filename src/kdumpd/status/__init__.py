"""Is this machine armed, and if not why: facts, the judgement on them, the report.

Imported by ``cli``; imports ``crashes`` and below. Loads no trio: a status is wanted at once.
"""
