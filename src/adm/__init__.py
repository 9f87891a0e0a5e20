"""Diffusion models that make images, steered by a classifier.

train:   data -> diffusion.process -> networks -> losses
sample:  noise -> samplers (networks + guidance) -> images -> metrics
"""
