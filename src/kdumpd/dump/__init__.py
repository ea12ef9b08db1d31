"""One dump: makedumpfile, its flattened stream, the kdump file, the verdict, and what is added to a cut one.

Imported by ``crashes`` and the rooms above; imports ``host`` and ``vmcore``.
"""
