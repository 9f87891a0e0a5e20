"""Source, Objective, networks -> trained weights in self-describing checkpoints."""
