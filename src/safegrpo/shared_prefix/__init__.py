"""Each prompt once, however many completions it has: training forward pass and sampling."""
