"""kdumpd: the kernel-dump collector for EVE-OS."""
