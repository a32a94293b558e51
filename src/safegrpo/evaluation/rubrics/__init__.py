"""Rules that a judge applies to responses."""
