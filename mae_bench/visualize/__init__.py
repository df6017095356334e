"""Drawings: reconstructions, predictions, features."""
