"""The memory of a crashed kernel: vmcore headers, pages by physical address, page tables.

Pure but for reads through descriptors; no trio. Every other room may import it; it imports ``errors`` alone.
"""
