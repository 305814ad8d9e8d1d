"""Tokenization: pairs to sharded training codes (`accompany tokenize`)."""
