"""Synthetic songs: composed, arranged, sung, rendered and mixed: `accompany synth`."""
