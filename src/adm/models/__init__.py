"""Path, run folder or shipped name -> a trained network with its recipe."""
