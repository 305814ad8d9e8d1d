"""Pairs to the codes that the stages train on, in shards: `accompany tokenize`."""
