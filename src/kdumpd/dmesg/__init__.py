"""The log of a crashed kernel: from bytes to the panic's cause, text, call trace and fingerprint.

Pure: no trio, no I/O. Imported by every room above it; imports ``errors`` and ``text`` alone.
"""
