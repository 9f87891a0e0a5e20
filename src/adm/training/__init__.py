"""data, objective, network -> trained weights, averaged, in checkpoints that describe themselves."""
