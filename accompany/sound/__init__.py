"""Sound output: loudness, true peaks, effects, balance, formats with dither and time stamp, stems and MIDI."""
