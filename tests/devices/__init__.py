"""Every path that names a device: on the GPU where there is one, else on the CPU, so that none of it rots."""
