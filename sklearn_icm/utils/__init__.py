"""Utilities: discovery of estimators, checks for generators, environment labels."""
