"""Model, settings, classes -> images, and the folder that keeps them."""
