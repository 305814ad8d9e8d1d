"""Lyric lines that the voices of a bank speak, and how each voice draws its own from them."""

from __future__ import annotations

import zlib

import numpy as np

LINES = (
    "I was running through the golden fields, when the night began to fall",
    "Hold me closer, hold me now, don't let the morning take you away",
    "There's a river in the valley, and it's calling out my name",
    "We were young and we were fearless, burning brighter than the sun",
    "Tell me what you need to hear, tell me where it hurts tonight",
    "Every window in the city has a light that's meant for you",
    "I've been waiting by the water for a ship that never comes",
    "Oh my baby, won't you stay, stay a little while with me",
    "All the leaves are turning silver, and the summer says goodbye",
    "You and I are made of thunder, you and I are made of rain",
    "Take my hand and we'll go dancing, down the empty boulevard",
    "Nobody knows the way I feel, nobody sees me when I'm gone",
    "Slowly, slowly, like a shadow, moving over stone and sand",
    "I can see it in your eyes, there is nothing left to say",
    "Give me fire, give me freedom, give me something to believe",
    "Somewhere over there the mountains keep the secrets of the snow",
    "When the lights go out at midnight, I will still be holding on",
    "My mother told me long ago, love is never what it seems",
    "Break the silence, break the chain, let the music pull you in",
    "Never thought that I would find you in a crowded little room",
    "Baby, I'm a fool for you, I would walk a thousand miles",
    "Sing it louder, sing it loud, let them hear you down the street",
    "I left my heart beside the ocean, where the waves roll in at dawn",
    "Sweet and simple, warm and kind, that is how I think of you",
    "Time is flying like an arrow, and we're standing at the edge",
    "Do you wonder, do you dream, of the places we have been",
    "She was dancing on the table, with a flower in her hair",
    "He was driving through the desert, looking for a better day",
    "Whisper softly, whisper low, there are angels in the air",
    "Lonely people, lonely town, lonely bells that ring for me",
    "I don't want to be the reason, I don't want to be the end",
    "Carry me home, carry me over, far beyond the rolling sea",
    "Jump a little higher now, shake it till the break of dawn",
    "Put your head upon my shoulder, close your weary, weary eyes",
    "Every step and every mile, every tear and every smile",
    "We will rise above the ashes, we will build it up again",
    "What a morning, what a view, what a perfect shade of blue",
    "If you go I'll understand it, if you stay I'll make it right",
    "Fallen apples, broken branches, autumn smoke and evening bells",
    "I remember how you told me everything would be okay",
    "Wake up early, work all day, chase the money, pay the rent",
    "Under neon, under stars, underneath the shining moon",
    "Let it go and let it be, let the river find the sea",
    "Children playing in the garden, laughing at the falling rain",
    "Ten more minutes, one more song, then I really have to leave",
    "You were right and I was wrong, I was blind for far too long",
    "Pretty little liar, tell me, who's the one you're thinking of",
    "Yesterday I lost my way, but tomorrow I'll be strong",
)
"""Written for this package; each has twelve to seventeen syllables in two halves."""


def lines_of(voice: str) -> tuple[int, ...]:
    """The order in which a voice speaks the lines, a permutation of their indices."""
    return tuple(np.random.default_rng(zlib.crc32(voice.encode())).permutation(len(LINES)).tolist())
