"""Training data: synthetic songs, pairs from real songs, captions, tokens and their loading."""
