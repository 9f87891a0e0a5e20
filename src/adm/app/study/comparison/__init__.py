"""Several sets of images with classes -> how much the images of a class differ in each."""
