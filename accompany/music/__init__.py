"""Symbolic music: harmony, plans of beats and chords, bars, and dynamic programs that decode them."""
