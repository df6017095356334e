"""Evaluation: the robustness protocol and its figures."""
