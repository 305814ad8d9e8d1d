"""Figures of packages that cannot live in our environment: they run with the Python of another one."""
