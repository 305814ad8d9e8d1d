"""Sing in, band out: an accompaniment in the singer's key and on the singer's beat, in a sentence's style."""

__version__ = "0.1.0"
