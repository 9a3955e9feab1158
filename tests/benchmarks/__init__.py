"""Measurements: what things cost, and how that grows. None is a test: a loaded machine may miss any bar."""
