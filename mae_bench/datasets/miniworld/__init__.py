"""MiniWorld, the embedded data set."""
