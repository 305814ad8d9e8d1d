"""Music as symbols: harmony, plans of beats and chords, bars, and the dynamic programs that find them."""
