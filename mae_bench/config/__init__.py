"""Configs: from a file and overrides to a checked config."""
