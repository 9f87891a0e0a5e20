"""model, scales, references -> scores at every scale, and a page that shows them."""
