"""Tables over a causal graph."""
