"""models, settings, labels -> images, and the folder that keeps them."""
