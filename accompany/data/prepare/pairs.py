"""The pairs folder: what `accompany prepare` writes and `accompany tokenize` reads.

    PAIRS/<song>/<start>/vocals.flac          mono, the singing
    PAIRS/<song>/<start>/accompaniment.flac   everything else, as many samples, the same gain
    PAIRS/<song>/<start>/song.json            what is known of this stretch (below)
    PAIRS/<song>/prepared.json                the song's record: every window, kept or dropped, with its reason
    PAIRS/prepare.json                        the settings; another setting needs another folder
    PAIRS/duplicates.json                     pairs that were taken out because they repeat another
    PAIRS/report.json, report.html            counts, hours, reasons, plots

PAIRS may be a URL that fsspec knows (`accompany.data.prepare.pairs_store`). A pair is any folder below PAIRS that holds
vocals.flac, as `accompany synth` writes them too (there a whole song is one pair). <song> is the path of the song below
the folder of songs with `/` as `__`, cut and given a hash where it would be too long or not its own; <start> is where
the pair begins in its song, in milliseconds, eight digits. A song appears with all of its pairs at once (one rename),
so a folder without a leading dot is complete; in an object store, which has no rename, a song with prepared.json is
complete, and a pair with song.json.

song.json of a pair has, beside what the song's own sidecar knew (times relative to the pair's start):

| key | content |
|---|---|
| `song` | id of the song: pairs with the same one are of the same song and belong in the same split |
| `artist` | from the sidecar, the tags or the folder layout; absent where unknown |
| `start_s`, `n_samples`, `sample_rate` | place in the song in seconds, length in samples, rate in Hz |
| `captions`, `caption_sources` | sentences, the most trusted first, and for each where it is from (`CAPTION_SOURCES`) |
| `key`, `tempo_bpm`, `beats`, `chords`, ... | only where a sidecar or a tag says so: labels to learn from |
| `measured` | what was measured: `tempo_bpm`, `key` (each null where unsure), and those of `data.prepare.measures` |
| `gain` | the factor that both stems were multiplied by |
| `source` | the file, or the folder of stems, that the pair was made of |
"""

from __future__ import annotations

import hashlib

FORMAT = 1
RECORD, SETTINGS, DUPLICATES = "prepared.json", "prepare.json", "duplicates.json"
CAPTION_SOURCES = ("sidecar", "tags", "captioner", "clap", "measured", "default")
"""Sources of captions: a file beside the song, tags in it, the user's own captioner, CLAP's nearest words, what was
measured (tempo and key alone), or nothing at all."""

_LONGEST_NAME = 160  # bytes; file systems end at 255, and temporary names are longer


def folder_name(song_id: str, *, taken: bool = False) -> str:
    """The name of a song's folder; with a hash where it is `taken` by another song, too long or hidden."""
    name = song_id.replace("/", "__")
    if taken or name.startswith(".") or len(name.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(song_id.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        name = name.lstrip(".").encode()[:_LONGEST_NAME].decode("utf-8", "ignore") + f"_{digest}"
    return name
