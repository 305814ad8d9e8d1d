"""Symbolic scores of synthetic songs: notes, parts, voice and annotations.

All times are seconds from the start of the song; all pitches are MIDI numbers (60 = middle C).
"""

from __future__ import annotations

from dataclasses import dataclass, field

KICK_PITCHES = frozenset({35, 36})
SNARE_PITCHES = frozenset({37, 38, 40})
HAT_PITCHES = frozenset({42, 44, 46})


@dataclass(frozen=True)
class Note:
    """One note of the band or of the singer.

    Attributes:
        start_s: start in seconds, at least 0.
        end_s: end in seconds, after `start_s`.
        pitch: MIDI number; the singer's may carry a fraction. For drums a General MIDI drum key.
        velocity: loudness, 1 to 127.
        syllable: what the singer sings, spelled in plain lower-case letters ("love", "la"); None on a sung note
            means that the vowel of the note before goes on (melisma). Always None for the band.
    """

    start_s: float
    end_s: float
    pitch: float
    velocity: int
    syllable: str | None = None


@dataclass(frozen=True)
class Part:
    """The part of one instrument.

    Attributes:
        name: plain English, from `instruments.INSTRUMENTS` ("brushed drums", "walking bass" is a role, not a name).
        role: "drums", "bass", "comp", "pad", "lead" or "arp".
        program: General MIDI program 0 to 127; for drums the kit's program on channel 10 (0 standard, 8 room,
            16 power, 24 electronic, 25 TR-808, 32 jazz, 40 brush).
        notes: sorted by start; notes of one pitch never overlap.
        pan: -1 (left) to 1 (right).
        gain_db: level in the mix, about -18 to 0.
        reverb: send to the room, 0 to 1.
    """

    name: str
    role: str
    program: int
    is_drums: bool
    notes: tuple[Note, ...]
    pan: float
    gain_db: float
    reverb: float


@dataclass(frozen=True)
class VoiceSpec:
    """The singer.

    Attributes:
        kind: "soprano", "alto", "tenor", "baritone", "bass" or "child".
        range: lowest and highest MIDI pitch that the melody uses at most.
        vibrato_rate_hz: 4 to 7; vibrato_depth_cents: half the swing, 0 to 60, growing on long notes.
        breath: share of breath noise, 0 to 1.
        detune_cents: standard deviation of the error of each note; pitch_offset_cents: the singer's constant offset
            from A = 440 Hz.
        timing_jitter_s: standard deviation of the error of each onset (to be added by the voice synthesiser).
        glide_s: time of a glide between tied notes, and of a scoop into a note.
        brightness: 0 (dark) to 1 (bright).
        language: espeak-ng voice name, for example "en-us".
        seed: for everything random about the voice.
    """

    kind: str
    range: tuple[int, int]
    vibrato_rate_hz: float
    vibrato_depth_cents: float
    breath: float
    detune_cents: float
    pitch_offset_cents: float
    timing_jitter_s: float
    glide_s: float
    brightness: float
    language: str
    seed: int


@dataclass(frozen=True)
class Score:
    """The symbolic score of a whole song.

    Attributes:
        key: "C:maj" or "A:min", the key at the start (see `keys` for changes of key).
        metre: "4/4", "3/4", "6/8" or "12/8", from published scores "2/4" and "9/8" too; in compound metres the beat is
            the dotted quarter.
        swing: 0.5 (straight) to 0.67 (triplets): where the off-beat half stands inside its beat.
        beats_s, downbeats_s: cover the whole duration; every downbeat is also a beat.
        chords: (start_s, end_s, Harte label), without gaps from 0 to `duration_s`.
        sections: (start_s, end_s, "intro" | "verse" | "prechorus" | "chorus" | "bridge" | "break" | "outro").
        melody: sung notes, one at a time, sorted.
        keys: (start_s, end_s, key), without gaps.
        backing: a second voice in thirds and sixths with the first, in some songs; softer, same syllables;
            `second.py` says who sings it.
        instruments: names of `parts`, in order; `absent`: families that a caption says are missing.
        captions: at least six wordings; `attributes`: the facts behind them.
        origin: where a song comes from that is not the composer's alone: "song" (its name), "variant", "artist",
            "title", "score" (collection, licence, transposition, stretch).
    """

    seed: int
    style: str
    key: str
    tempo_bpm: float
    metre: str
    swing: float
    duration_s: float
    beats_s: tuple[float, ...]
    downbeats_s: tuple[float, ...]
    chords: tuple[tuple[float, float, str], ...]
    sections: tuple[tuple[float, float, str], ...]
    melody: tuple[Note, ...]
    voice: VoiceSpec
    parts: tuple[Part, ...]
    instruments: tuple[str, ...]
    absent: tuple[str, ...]
    captions: tuple[str, ...]
    keys: tuple[tuple[float, float, str], ...] = ()
    backing: tuple[Note, ...] = ()
    attributes: dict[str, object] = field(default_factory=dict)
    origin: dict[str, object] = field(default_factory=dict)

    @property
    def drums(self) -> dict[str, tuple[float, ...]]:
        """Onsets in seconds of "kick", "snare" and "hat"; empty tuples for a band without drums."""
        groups = {"kick": KICK_PITCHES, "snare": SNARE_PITCHES, "hat": HAT_PITCHES}
        hits = [note for part in self.parts if part.is_drums for note in part.notes]
        return {
            name: tuple(sorted({note.start_s for note in hits if note.pitch in pitches}))
            for name, pitches in groups.items()
        }
