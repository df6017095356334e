"""Commands: one module each, `mae-bench COMMAND`."""
