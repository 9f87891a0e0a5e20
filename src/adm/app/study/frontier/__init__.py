"""Model, samplers, grids, steps, scales -> seconds an image against quality on this machine."""
