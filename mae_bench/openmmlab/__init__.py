"""Everything that subclasses or amends a package of OpenMMLab."""
