"""Synthetic free-form music prompts, for distilling the small CLAP's text tower.

The captions of the synthetic songs say what is there in the words of their own generator; people write
otherwise. The lists below cover instruments, adjectives, moods, genres, eras and uses, most of which no
synthetic caption contains; the templates join them as people do in a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

INSTRUMENTS = (
    "piano|grand piano|upright piano|electric piano|rhodes|wurlitzer|clavinet|harpsichord|celesta|organ|"
    "hammond organ|church organ|accordion|harmonica|melodica|guitar|acoustic guitar|nylon guitar|"
    "classical guitar|steel guitar|twelve string guitar|electric guitar|clean guitar|distorted guitar|"
    "overdriven guitar|slide guitar|pedal steel|muted guitar|power chords|bass|bass guitar|electric bass|"
    "fretless bass|slap bass|upright bass|double bass|acoustic bass|walking bass|synth bass|sub bass|"
    "808 bass|fingered bass|picked bass|drums|drum kit|drum machine|brushed drums|brushes|rock drums|"
    "jazz drums|electronic drums|kick drum|snare|hi-hat|ride cymbal|cymbals|toms|rimshot|hand claps|"
    "finger snaps|tambourine|shaker|maracas|congas|bongos|cajon|djembe|timpani|cowbell|claves|woodblock|"
    "triangle|percussion|hand percussion|tabla|taiko|strings|string section|string quartet|violin|viola|"
    "cello|contrabass|pizzicato strings|tremolo strings|harp|fiddle|banjo|mandolin|ukulele|sitar|koto|oud|"
    "bouzouki|dulcimer|zither|flute|piccolo|recorder|pan flute|whistle|ocarina|clarinet|oboe|bassoon|"
    "english horn|saxophone|alto sax|tenor sax|soprano sax|baritone sax|trumpet|muted trumpet|trombone|"
    "french horn|tuba|brass section|horns|vibraphone|marimba|xylophone|glockenspiel|music box|tubular bells|"
    "kalimba|steel drums|choir|voices|synth|synthesizer|synth pad|warm pad|lead synth|saw lead|square lead|"
    "arpeggiator|synth strings|bells|bagpipes|didgeridoo|theremin|mellotron|orchestra|big band|"
    "chamber ensemble|rhythm section"
).split("|")
ADJECTIVES = (
    "warm|soft|gentle|bright|dark|mellow|quiet|loud|clean|dirty|gritty|lush|sparse|dense|minimal|rich|thin|"
    "fat|punchy|crisp|dusty|vintage|modern|old|lo-fi|raw|polished|smooth|rough|dreamy|hazy|airy|deep|heavy|"
    "light|tight|loose|slow|fast|driving|laid-back|swinging|syncopated|steady|bouncy|shuffling|rolling|"
    "pulsing|flowing|staccato|legato|muted|distorted|echoing|spacious|intimate|big|small|simple|complex|"
    "jazzy|funky|bluesy|folky|rocking|classical|electronic|acoustic|electric|organic|metallic|wooden|glassy|"
    "shimmering|sparkling|strummed|plucked|bowed|picked|fingerpicked|arpeggiated|sustained|busy|cold|cheap|"
    "expensive|tender|fierce|delicate|lively|lazy|choppy|woozy|breathy|brassy"
).split("|")
MOODS = (
    "happy|sad|melancholic|melancholy|joyful|cheerful|wistful|nostalgic|romantic|passionate|sensual|angry|"
    "aggressive|tense|anxious|suspenseful|mysterious|eerie|haunting|spooky|peaceful|calm|relaxing|serene|"
    "meditative|dreamy|hopeful|uplifting|triumphant|epic|heroic|majestic|solemn|sombre|gloomy|lonely|"
    "bittersweet|playful|funny|quirky|carefree|sunny|rainy|stormy|energetic|exciting|danceable|groovy|sexy|"
    "cool|sleepy|tender|loving|heartbroken|mournful|tragic|festive|celebratory|spiritual|sacred|dark|"
    "menacing|sinister|rebellious|confident|elegant|whimsical|magical|innocent"
).split("|")
GENRES = (
    "pop|rock|folk|jazz|blues|soul|funk|disco|reggae|ska|dub|country|bluegrass|waltz|bossa nova|samba|salsa|"
    "tango|flamenco|rumba|cumbia|latin|afrobeat|highlife|gospel|motown|r&b|neo soul|hip hop|trap|boom bap|"
    "lo-fi hip hop|house|deep house|techno|trance|drum and bass|dubstep|garage|edm|electro|synthwave|"
    "synthpop|new wave|post-punk|punk|pop punk|grunge|indie rock|indie folk|alternative rock|hard rock|"
    "heavy metal|metal|progressive rock|psychedelic rock|garage rock|surf rock|rockabilly|rock and roll|"
    "doo-wop|swing|big band jazz|bebop|cool jazz|smooth jazz|jazz trio|gypsy jazz|ragtime|dixieland|ballad|"
    "piano ballad|power ballad|singer-songwriter|chanson|schlager|polka|klezmer|celtic|sea shanty|lullaby|"
    "nursery rhyme|christmas carol|hymn|chamber music|baroque|classical|romantic era|opera|minimalism|"
    "ambient|drone|new age|cinematic|film score|trailer music|video game music|chiptune|musical theatre|"
    "march|anthem|club banger|dance track|k-pop|j-pop|bollywood|dancehall|reggaeton|vaporwave|trip hop|"
    "chillout|lounge|easy listening|shoegaze|dream pop|emo|americana|western|mariachi|calypso|zydeco|fado|"
    "raga"
).split("|")
ERAS = (
    "1920s|1930s|1940s|1950s|fifties|1960s|sixties|1970s|seventies|1980s|eighties|1990s|nineties|2000s|2010s|"
    "today's|retro|old school|futuristic|medieval|victorian"
).split("|")
SETTINGS = (
    "a smoky bar|a campfire|a rainy night|a summer beach|a church|a wedding|a late night drive|a coffee shop|"
    "a stadium|a small club|a living room|a film scene|a car chase|a love scene|a funeral|a birthday party|"
    "a parade|a forest|outer space|a desert road|a dance floor|a kitchen|a lullaby at bedtime|a train ride|"
    "a winter morning|a sunny day|a haunted house|a fairy tale|a western movie|a spy movie|a video game|"
    "a christmas evening|a yoga class|a workout"
).split("|")
TEMPI = (
    "slow|very slow|slow tempo|medium tempo|mid-tempo|moderate|upbeat|uptempo|fast|very fast|half time|"
    "double time|60 bpm|72 bpm|80 bpm|90 bpm|100 bpm|110 bpm|120 bpm|128 bpm|140 bpm|170 bpm|in 3/4|in 4/4|"
    "in 6/8|swung|straight eighths"
).split("|")
EXCLUDABLE = (
    "drums|bass|guitar|piano|strings|synths|percussion|brass|vocals|organ|cymbals|electric instruments|samples"
).split("|")

_LISTS = {
    "i": INSTRUMENTS,
    "a": ADJECTIVES,
    "m": MOODS,
    "g": GENRES,
    "e": ERAS,
    "p": SETTINGS,
    "t": TEMPI,
    "x": EXCLUDABLE,
}
_TEMPLATES = (
    "{i}|{a} {i}|{a} {i}, {a} {i}|{a} {i}, {a} {i}, {i}|{i} and {i}|{i}, {i} and {i}|{i}, {i}, {i}, {i}|"
    "{m} {g}|{a} {g}|{g} with {i}|{g} with {a} {i} and {i}|{m} {i}|{e} {g}|{e} {g} with {i}|{m} {e} {g}|"
    "{a} {m} {g}|{g} band|{m} {g} band|{g}, {t}|{t} {g} with {i} and {i}|{m}, {a}, {t}|music for {p}|"
    "{m} music for {p}|{i} for {p}|{g}, no {x}|{a} {i} without {x}|only {i}|just a {a} {i}|solo {i}|"
    "{i} solo, {m}|a {m} {g} song|a {a} {g} track with {i}|play some {g}|give me {a} {g} with {i}|"
    "I want a {m} {g} arrangement|make it {m} and {a}|{g} meets {g}|{g} and {g}|"
    "{i} plays chords, {i} plays the melody|{a} {i} over {a} {i}|the sound of {p}|like {e} {g}|"
    "{m} and {m} {i}|{a} and {a}|{m}|{g}|{a}|{t}|{t} {m} {g} with {a} {i}, {i} and {i}, no {x}|"
    "full band: {i}, {i}, {i} and {i}|{g} groove, {a} {i}|a band with {i}, {i} and {i}|instrumental {g}|"
    "backing track in the style of {g}|{a} accompaniment with {i}|no {x}|no {x}, no {x}|{m} ballad with {i}|"
    "{a} beat with {i}|{t}, {m}, {i}"
).split("|")


def music_words() -> tuple[str, ...]:
    """Every single word of the lists, sorted: the words that a trimmed vocabulary must keep."""
    joined = " ".join(word for words in _LISTS.values() for word in words)
    return tuple(sorted(set(joined.replace("-", " ").replace("'", " ").split())))


def prompts(seed: int) -> Iterator[str]:
    """An endless stream of prompts; the same seed gives the same stream.

    Some are written in title or upper case or end in a full stop, as typed prompts do.
    """
    rng = np.random.default_rng(seed)
    while True:
        yield _dress(_fill(str(rng.choice(_TEMPLATES)), rng), rng)


def _fill(template: str, rng: np.random.Generator) -> str:
    parts = template.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        filled.append(str(rng.choice(_LISTS[part[0]])) + part[2:])
    return "".join(filled)


def _dress(text: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.08:
        return text.capitalize() + "."
    if draw < 0.10:
        return text + "!"
    return text
