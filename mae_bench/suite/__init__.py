"""Suites: the cells of tables, planned as jobs, run where they are not done yet."""
