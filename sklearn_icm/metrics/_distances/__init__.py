"""Distances between samples, and tests of them: one room, on blocks of pairs."""
