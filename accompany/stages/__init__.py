"""Trained networks of a model and their decoding: semantic and acoustic stage, vocal analysis."""
