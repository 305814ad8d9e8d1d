"""The networks that a model is made of, and how they decode: semantic and acoustic stage, vocal analysis."""
