"""Training recipes of the small encoders (codec, MERT, CLAP) from synthetic songs."""
