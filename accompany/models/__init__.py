"""Bundles: the parts of a model, found, loaded, assembled, adapted and imported."""
