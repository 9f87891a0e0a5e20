"""Models, data -> a page on this machine, on which a person sees what sampling does."""
