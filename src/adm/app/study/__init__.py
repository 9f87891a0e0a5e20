"""Model, guidance scales, references -> scores at every scale, and an HTML page of them."""
