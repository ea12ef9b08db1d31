"""What kdumpd asks of the machine that it runs on: files, mounts, events, programs, consoles, the restart.

``machine`` is the seam for simulated machines. Imported by the rooms above; imports ``vmcore`` and below.
"""
