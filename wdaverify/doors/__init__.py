"""The ways in from Python: models as people have them, and one call from a model to an answer."""
