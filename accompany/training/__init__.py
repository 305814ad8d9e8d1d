"""Training of the models: `accompany train`, `tune`, `export`."""
