"""Figures of the guide, one function for each page, named as it."""
