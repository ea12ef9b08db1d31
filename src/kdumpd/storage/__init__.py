"""When is the target of dumps ready? The gate, what is asked of its volume, mount and device changes.

Imported by ``crashes`` and the rooms above; imports ``host``.
"""
