"""Faster ways to compute the same: without them no number changes."""
