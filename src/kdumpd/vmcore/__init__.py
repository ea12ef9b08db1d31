"""The memory of a crashed kernel: vmcore headers, pages by physical address, page tables.

Pure but for reads through descriptors; no trio. Imported by every room above it; imports ``errors`` alone.
"""
