"""Speech of neural text-to-speech voices, and the bank of sung syllables cut from it."""
