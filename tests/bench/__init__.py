"""Measurements: two things compared in one run, alternating, medians and ratios."""
