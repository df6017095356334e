"""Checkpoints: the one format, and the transfer of its tensors into a backbone.

A foreign format gets one file under ``adapters/``; nothing else in the package knows its names.
"""
