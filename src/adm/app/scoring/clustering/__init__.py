"""Features -> clusters of images -> a list of labels, and a page that shows them."""
