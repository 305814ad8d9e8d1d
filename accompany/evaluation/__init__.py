"""Metrics, plots and reports of what a model plays, with floors and ceilings: `accompany evaluate`."""
