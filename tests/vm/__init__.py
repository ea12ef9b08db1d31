"""Real kernels that panic in QEMU: image, machine, disk, scenario."""
