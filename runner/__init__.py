"""The runner: the service that consumes commands and drives an engine."""
