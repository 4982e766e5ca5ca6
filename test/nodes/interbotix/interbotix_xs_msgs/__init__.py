"""Stands in for the driver's message package, which no package index has: see ``msg``."""
