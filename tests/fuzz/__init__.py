"""Hostile input for every parser: targets, and two ways to drive them.

A target turns any bytes into input for one parser, runs it, and checks what must hold whatever came in.
`guided` lets atheris search for inputs that reach new code; `seeded` makes some from the seeds and a number,
needs nothing but Python, and is what the tests run.
"""
