"""Chord progressions by family and mode, one chord or pair ("ii7,V7") per slot; see `theory` for the numerals."""

from __future__ import annotations

POP_MAJOR = (
    "I V vi IV", "vi IV I V", "I vi IV V", "IV I V vi", "I IV vi V", "I iii IV V", "I V/3 vi IV", "I V/3 vi I/5",
    "IV V iii vi", "IV V I vi", "I Isus4 I V", "vi V IV V", "I IV I V", "I ii vi IV", "I V ii IV", "vi ii IV V",
    "I iii vi IV", "IV iv I I", "I I7 IV iv", "I III7 vi IV", "I V/3 bVII/3 IV", "I bVII IV I", "I II7 IV I",
    "I IV ii V", "I IV/1 I V/1", "IVmaj7 V iii7 vi", "I V IV IV", "vi I/3 IV V", "I iii7 vi7 V", "IV vi V I",
    "ii IV I V", "IV I/3 ii V", "I vi7 ii7 V7sus4", "Iadd9 V6 vi7 IVadd9", "IVmaj7 III7 vi v7,I7",
    "I V vi iii IV I IV V", "I V/3 vi vi/5 IV I/3 ii V",
)  # fmt: skip
POP_MINOR = (
    "i bVI bIII bVII", "i bVII bVI bVII", "i iv bVI V", "i bIII bVII iv", "i bVI iv V", "bVI bVII i i", "i iv i V7",
    "i v bVI iv", "i bVII/2 bIII bVI", "iv i bVI V", "i bVII bVI V", "i i/b7 bVI V", "bVI bIII bVII i",
    "i7 iv7 bVII bIII", "i bIII bVI bVII", "iv bVII bIII bVI", "bVI V i i", "i bVImaj7 bIIImaj7 bVII",
    "i bVII iv i", "bVImaj7 bVII v7 i7", "i v/b3 bVI bIII", "i iv bVII bIII bVI iidim V7 i",
)  # fmt: skip
ROCK_MAJOR = (
    "I IV V IV", "I bVII IV IV", "I IV I V", "I V IV I", "I bIII IV I", "I I bVII IV", "I5 IV5 V5 IV5",
    "I bVI bVII I", "V IV I I", "I bVII bVI V", "I IV/1 I V/1", "I vi IV V", "vi IV I V", "II7 IV I I",
    "I III7 IV iv",
)  # fmt: skip
ROCK_MINOR = (
    "i bVII bVI bVII", "i5 bVI5 bVII5 i5", "i bIII bVII IV", "i IV i IV", "i bVI bIII bVII", "i5 bIII5 IV5 bVI5",
    "i iv bVII i", "i v bVI V", "i bVII iv bVI", "i i bVI V7",
)  # fmt: skip
FOLK_MAJOR = (
    "I I IV I", "I V I I", "I IV V I", "I IV I V", "I I V I", "I vi ii V", "I V vi IV", "I V/3 vi iii",
    "I bVII I I", "I IV I/3 V7", "I I IV IV I I V V", "I I V V V V I I", "I IV I I V7 V7 I I", "I I I V I IV I,V I",
    "IV I V I",
)  # fmt: skip
FOLK_MINOR = (
    "i bVII i v", "i i iv i", "i bVII bVI bVII", "i V7 i i", "i iv V7 i", "i bIII bVII i",
    "i bVII i bVII i bIII v i", "i IV i bVII", "i iv bVII bIII", "i v i bVII",
)  # fmt: skip
COUNTRY_MAJOR = (
    "I I IV I", "I IV V I", "I I V V", "I IV I V7", "I I7 IV IV", "I II7 V7 V7", "I V IV I", "vi V IV I",
    "I IV I,V I", "I I IV IV V V I I", "I vi IV V7", "I IV/1 I V",
)  # fmt: skip
JAZZ_MAJOR = (
    "Imaj7 vi7 ii7 V7", "ii7 V7 Imaj7 Imaj7", "Imaj7 VI7b9 ii9 V13", "iii7 VI7 ii7 V7", "Imaj7 #idim7 ii7 V7",
    "ii9 V13 Imaj9 VI7b9", "Imaj7 IVmaj7 iii7,VI7 ii7,V7", "Imaj7 bVII9 Imaj7 VI7", "IVmaj7 iv7,bVII9 iii7 VI7",
    "Imaj7 II9 ii7 V7", "Imaj7 iii7,biii7 ii7 V7", "ii7 bII7 Imaj7 I6", "Imaj7 I7 IVmaj7 iv6", "I6 bIIIdim7 ii7 V7",
    "#ivhd7 VII7 iii7 VI7 ii7 V7 Imaj7 V7sus4", "vi7 II7 ii7 V7", "Imaj7 v7,I7 IVmaj7 iv7,bVII7",
)  # fmt: skip
JAZZ_MINOR = (
    "i7 iihd7 V7b9 i6", "iihd7 V7b9 i7 i7", "i6 iv7 iihd7 V7", "i7 vihd7 iihd7 V7b9", "iv7 bVII7 bIIImaj7 bVImaj7",
    "i7 bVI7 V7 i7", "i9 iv9 i9 V7#9", "i7 i7 iv7 iv7", "imaj7 i7 vihd7 V7b9",
    "iv7 bVII9 bIIImaj7 bVImaj7 iihd7 V7b9 i6 i6", "i7 IV7 i7 IV7", "i7 iv7 bII7 V7b9",
)  # fmt: skip
SOUL_MAJOR = (
    "Imaj7 iii7 IVmaj7 V9sus4", "Imaj7 vi7 ii9 V9sus4", "IVmaj7 iii7 ii7 Imaj7", "IVmaj9 III7#9 vi9 I9",
    "ii7 iii7 IVmaj7 V9sus4", "I I7 IV iv6", "Imaj9 IVmaj9", "IVmaj7 V7 iii7 vi7", "ii9 V13 Imaj9 vi7",
    "I V/3 vi7 IVmaj7,V9sus4", "vi7 ii9 V9sus4 Imaj7", "I I/7 vi7 I/5 IVmaj7 I/3 ii7 V7sus4",
    "bVIImaj7 IVmaj7 Imaj7 Imaj7", "Imaj7 bIIImaj7 ii7 bIImaj7", "IVmaj7 iv6 iii7 VI7",
)  # fmt: skip
SOUL_MINOR = (
    "i9 iv9", "i7 iv7 bVImaj7 V7#9", "i9 IV13", "bVImaj7 v7 i9 i9", "i7 bVII bVImaj7 V7", "iv9 v7 i9 i9",
    "bVImaj7 bVII6 i7 v7", "i7 iv9 bVII13 bIIImaj7", "i9 bIIImaj7 iv9 V7#9", "i7 v7 iv7 V7sus4",
)  # fmt: skip
FUNK = (
    "i9",
    "I9",
    "i9 IV9",
    "i7 i7 iv7 i7",
    "I9 IV9",
    "i7 bVII",
    "i9 i9 iv9 V7#9",
    "I7 bVII7 IV7 I7",
    "i7 IV7 bVI7 V7#9",
)
BLUES_MAJOR = (
    "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "I7 IV7 I7 I7 IV7 IV7 I7 VI7 ii7 V7 I7 V7",
    "I7 V7 IV7 IV7 I7 V7 I7 V7", "I7 I7 IV7 IV7 I7 V7 I7 I7", "I7 IV7 I7 V7",
)  # fmt: skip
BLUES_MINOR = ("i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7", "i7 iv7 i7 V7#9", "i7 i7 iv7 i7 V7 iv7 i7 i7")
GOSPEL_MAJOR = (
    "I I7/3 IV #ivdim7", "I/5 VI7 ii7 V9sus4", "I I/3 IV V", "IV I/3 ii7 I", "I III7/3 vi7 I7", "IV V/4 iii7 vi7",
    "ii7 iii7 IV V9sus4", "I V/3 vi7 II7 IV I/5 V9sus4 V7", "I IV I I V V I I", "I #idim7 ii7 V7sus4",
)  # fmt: skip
REGGAE_MAJOR = ("I IV", "I V vi IV", "I IV V IV", "I ii", "I V IV I", "I vi ii V", "I bVII IV I", "I iii IV V")
REGGAE_MINOR = ("i bVII", "i iv", "i v", "i bVII bVI bVII", "i iv bVII i", "i bVI bVII i")
LATIN_MINOR = (
    "i V7",
    "i iv V7 i",
    "i bVII bVI V7",
    "iv i V7 i",
    "i bVII bIII V7",
    "i7 iv7 iihd7 V7",
    "i i V7 V7 V7 V7 i i",
)
LATIN_MAJOR = ("I IV V IV", "I V7", "I vi ii V7", "I ii7 V7 I", "I VI7 ii V7", "IV I V I", "I I7 IV V")
CINEMATIC_MAJOR = (
    "I V vi IV", "I iii IV iv", "vi IV I V", "IVmaj7 vi I V/3", "I bVI bIII bVII", "I/5 IV V vi",
    "Iadd9 Iadd9 IVadd9 IVadd9", "I II IV I", "IV/1 I", "I V/1 IV/1 I", "I iii vi IV ii vi IV V",
)  # fmt: skip
CINEMATIC_MINOR = (
    "i bVI bIII bVII", "i bVI iv V", "i bIII bVII iv", "i v bVI iv", "i bVI", "iadd9 bVImaj7 bIII/5 bVII",
    "i iv/1 V/1 i", "i bVI bIII V/2", "i i/b7 bVI bVI iv iv V7sus4 V7", "i bIII IV bVI", "bVI bVII i v/b3",
)  # fmt: skip
ELECTRONIC_MAJOR = (
    "vi IV I V",
    "IV V vi vi",
    "IVmaj7 V vi7 iii7",
    "I I IV IV",
    "ii7 vi7 IVmaj7 V",
    "IVmaj9 iii7",
    "IV I V vi",
)
ELECTRONIC_MINOR = (
    "i bVI bIII bVII",
    "bVI bVII i i",
    "i i bVI bVII",
    "i7 iv7",
    "i bVII iv bVI",
    "bVImaj7 bVII i v7",
    "i",
    "i9 bVImaj9",
)
BOSSA_MAJOR = (
    "Imaj7 Imaj7 II9 II9 ii9 bII7 Imaj7 bII7", "Imaj9 #idim7 ii9 V13", "ii9 V13 Imaj9 VI7b9",
    "Imaj7 IVmaj7 iii7 VI7b9", "Imaj9 bVII9 Imaj9 VI7b9", "ii7 V7 iii7 VI7 ii7 V7 I6 I6", "Imaj7 vi7 ii9 V9sus4",
)  # fmt: skip
MODAL_MIXOLYDIAN = ("I bVII IV I", "I bVII", "I v7 IV I", "I IV bVII I", "I7 bVII IV bVII")
MODAL_DORIAN = ("i IV", "i7 IV7", "i ii7 i IV", "i7 bVII IV7 i7", "i bIII IV i")
MODAL_LYDIAN = ("I II", "Imaj7 II/1", "I II vi IV", "Imaj7 II7 iii7 Imaj7")
MODAL_PHRYGIAN = ("i bII", "i bII bIII bII", "i bVII bVI bII")

MODAL = {
    "mixolydian": MODAL_MIXOLYDIAN, "dorian": MODAL_DORIAN, "lydian": MODAL_LYDIAN, "phrygian": MODAL_PHRYGIAN,
}  # fmt: skip

# Weights of usual chord transitions, for random progressions.
NEXT_MAJOR: dict[str, dict[str, float]] = {
    "I": {"IV": 4, "V": 3, "vi": 3, "ii": 1.5, "iii": 1, "V/3": 1, "I/3": 0.7, "bVII": 0.4, "III7": 0.4, "I7": 0.3},
    "ii": {"V": 5, "IV": 1.5, "I/3": 0.8, "vi": 0.8, "iii": 0.5},
    "iii": {"vi": 3, "IV": 3, "ii": 1},
    "IV": {"V": 4, "I": 3, "ii": 1, "iv": 0.5, "I/3": 0.7, "vi": 1, "#ivdim7": 0.2},
    "V": {"I": 4, "vi": 2.5, "IV": 1.5, "iii": 0.4, "V7": 0.5},
    "V7": {"I": 5, "vi": 1},
    "vi": {"IV": 4, "ii": 2, "V": 2, "I/5": 0.6, "iii": 0.8, "II7": 0.3},
    "V/3": {"vi": 4, "I": 1.5},
    "I/3": {"IV": 4, "ii": 1.5},
    "I/5": {"V": 3, "IV": 2},
    "bVII": {"IV": 3, "I": 2},
    "III7": {"vi": 4, "IV": 1},
    "II7": {"V": 3, "IV": 1},
    "I7": {"IV": 5},
    "iv": {"I": 4},
    "#ivdim7": {"I/5": 3, "V": 2},
}
NEXT_MINOR: dict[str, dict[str, float]] = {
    "i": {"iv": 3, "bVI": 3, "bVII": 3, "bIII": 2, "v": 1, "V7": 1.5, "i/b7": 0.4, "IV": 0.4},
    "iv": {"V7": 2, "i": 2, "bVII": 2, "bVI": 1},
    "v": {"bVI": 2, "i": 2, "iv": 1},
    "V7": {"i": 5, "bVI": 1},
    "bVI": {"bVII": 3, "bIII": 2, "iv": 1.5, "V7": 1.5, "i": 1},
    "bVII": {"i": 3, "bIII": 2.5, "bVI": 1.5, "iv": 0.6},
    "bIII": {"bVII": 3, "iv": 1.5, "bVI": 2},
    "i/b7": {"bVI": 4},
    "IV": {"i": 3, "bVI": 1},
}
