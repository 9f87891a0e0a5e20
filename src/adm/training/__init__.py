"""data, objective, network -> trained weights in checkpoints that describe themselves."""
