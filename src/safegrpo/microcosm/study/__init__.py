"""The study: the method's tables at the microcosm's scale, with seeds and statistics."""
