"""Linear chains of mechanisms."""
