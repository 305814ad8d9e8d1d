"""Frozen feature extractors and codecs: MERT, CLAP, EnCodec, melody features, semantic codes."""
