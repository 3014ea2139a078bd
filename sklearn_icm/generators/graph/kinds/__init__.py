"""Kinds of mechanisms that a column has where they are asked for by name, or given."""
