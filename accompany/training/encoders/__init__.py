"""Recipes that train the small listeners (codec, MERT, CLAP) from synthetic songs."""
