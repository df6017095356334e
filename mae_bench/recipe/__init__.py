"""A recipe as it is: every value of its config, its model and its optimizer, with their sources."""
