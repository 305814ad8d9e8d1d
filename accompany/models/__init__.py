"""Model bundles: parts found, loaded, assembled, adapted and imported."""
