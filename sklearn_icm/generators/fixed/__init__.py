"""Mechanisms that are given."""
