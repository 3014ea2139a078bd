"""Mechanisms of columns: what they are, and how they are fitted."""
