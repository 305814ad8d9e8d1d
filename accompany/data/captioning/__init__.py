"""Captions of pairs: from files beside the song, from its tags, from a captioner of one's own, from CLAP and measures."""
