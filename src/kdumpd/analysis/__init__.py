"""From a dump to an answer: debug symbols found, the dump opened, and what it holds as text or a page.

Needs the packages of ``kdumpd[analysis]``. Imported by ``cli`` alone, never by the daemon;
imports ``crashes`` and below.

- elf, symbols: the debug symbols that belong to a dump
- core, gather, stacks, memory, machine: what drgn reads out of it, as the records of findings
- text, page: findings as text and as one HTML file, whose looks are in templates/
- crash8: the same questions put to crash(8)
"""
