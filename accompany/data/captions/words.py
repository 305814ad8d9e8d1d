"""The vocabulary of pseudo-captions: terms for CLAP's zero-shot tagging, by kind."""

from __future__ import annotations

GENRES = (
    "pop", "rock", "indie rock", "punk rock", "hard rock", "heavy metal", "blues", "jazz", "swing", "bossa nova",
    "soul", "funk", "R&B", "gospel", "disco", "house", "techno", "trance", "drum and bass", "dubstep", "hip hop",
    "trap", "reggae", "ska", "dub", "country", "bluegrass", "folk", "singer-songwriter", "Celtic folk", "flamenco",
    "salsa", "samba", "reggaeton", "afrobeat", "tango", "polka", "klezmer", "Bollywood", "J-pop", "K-pop",
    "classical", "baroque", "opera", "musical theatre", "choral", "film score", "ambient", "new age", "lo-fi",
    "synthpop", "new wave", "industrial", "waltz", "ballad", "lullaby", "Christmas", "children's song", "march",
)  # fmt: skip

INSTRUMENTS = (
    "acoustic guitar", "nylon-string guitar", "clean electric guitar", "distorted electric guitar", "slide guitar",
    "banjo", "mandolin", "ukulele", "sitar", "harp", "piano", "electric piano", "organ", "harpsichord", "accordion",
    "clavinet", "electric bass", "double bass", "synth bass", "synth pad", "synth lead", "arpeggiated synth",
    "strings", "violin", "cello", "brass section", "trumpet", "trombone", "saxophone", "clarinet", "flute",
    "harmonica", "bagpipes", "choir", "drums", "brushed drums", "drum machine", "hand percussion", "congas",
    "tambourine", "hand claps", "marimba", "vibraphone", "glockenspiel", "steel drums", "timpani", "turntables",
)  # fmt: skip

MOODS = (
    "happy", "sad", "melancholic", "tender", "romantic", "nostalgic", "dreamy", "peaceful", "relaxed", "hopeful",
    "uplifting", "triumphant", "playful", "quirky", "energetic", "aggressive", "angry", "dark", "mysterious", "tense",
    "dramatic", "epic", "solemn", "sensual", "groovy", "danceable", "laid-back", "lonely", "intimate", "festive",
)  # fmt: skip

ERAS = ("1920s", "1930s", "1940s", "1950s", "1960s", "1970s", "1980s", "1990s", "2000s", "modern")

PRODUCTION = (
    "sparse", "dense", "lush", "polished", "raw", "lo-fi recording", "vintage tape sound", "live recording",
    "reverberant", "dry and close", "bright", "warm", "bass-heavy", "distorted", "acoustic", "electronic", "orchestral",
    "minimalist", "punchy", "airy",
)  # fmt: skip

VOCABULARY = {
    "genre": GENRES,
    "instruments": INSTRUMENTS,
    "mood": MOODS,
    "era": ERAS,
    "production": PRODUCTION,
}

QUESTIONS = {
    "genre": ("{} music", "a {} song", "{} backing track"),
    "instruments": ("{}", "the sound of {}", "music with {}"),
    "mood": ("{} music", "a {} song", "music that feels {}"),
    "era": ("music from the {}", "a song of the {}", "{} music"),
    "production": ("{} music", "a {} production", "a {} sound"),
}
"""Prompt templates for CLAP, whose embeddings are averaged (as Radford et al. 2021 do for images)."""
