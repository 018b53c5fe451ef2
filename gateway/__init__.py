"""Evalgate's gateway: /predict on port 8000, answered by concurrent calls to the engine."""
