"""The log of a crashed kernel: from bytes to the panic's cause, text, call trace and fingerprint.

Pure: no trio, no I/O. Every other room may import it; it imports ``errors`` alone.
"""
