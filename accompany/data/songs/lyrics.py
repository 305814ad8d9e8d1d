"""Lyrics: words split into syllables in plain spelling, and vocables ("la la la")."""

from __future__ import annotations

from accompany.data.songs.rng import Rng

_ENGLISH = """
love heart night day light time way you me we they and the to in on with for from all my your our this that so
now then when where why how hold run fall fly stay go come see feel know want need take give make break wake dream
sky star sun moon rain wind sea road home door hand eyes face tears smile soul song sound dance beat slow fast high
low deep wide blue gold red cold warm soft sweet wild young old new lost found free true real right left near far
like just still gone done been here there back down up out through time line fire ice stone bird train town street
oh yeah hey no one two three more less than if but or was were will would could should can't don't won't I'm you're
ba-by to-night ri-ver win-dow sum-mer win-ter mor-ning eve-ning ne-ver e-ver al-ways may-be a-gain a-way a-lone
a-cross be-fore be-hind be-side be-tween un-der o-ver in-side out-side sha-dow mir-ror whis-per lis-ten won-der
flo-wer gar-den moun-tain o-cean thun-der light-ning sil-ver gol-den bro-ken o-pen wai-ting run-ning fal-ling
dan-cing sin-ging brea-thing dri-ving ho-ping some-times some-thing no-thing eve-ry-thing re-mem-ber for-e-ver
to-mor-row yes-ter-day beau-ti-ful pos-si-ble hal-le-lu-jah u-ni-verse me-mo-ry me-lo-dy sa-tel-lite mi-ra-cle
lo-ver sis-ter bro-ther mo-ther fa-ther chil-dren stran-ger hea-ven an-gel de-vil sai-lor dea-ler la-dy mo-ney
"""
_LATIN = """
a-mor cie-lo ma-no vi-da so-lo lu-na sol mar ti-em-po no-che di-a co-ra-zon siem-pre nun-ca quie-ro ven con mi tu
te me la el en de por que a-qui ca-mi-no es-tre-lla sue-no lle-ga can-ta bai-la fue-go a-gua vie-nto flor be-so
ca-lor do-lor ho-la a-mi-go mu-si-ca a-le-gri-a lu-ce ma-re cuo-re se-ra bel-la vo-la-re so-gno tem-po
"""
_VOCABLES = (
    "la", "na", "da", "doo", "ba", "oh", "ah", "ooh", "hey", "yeah", "mm", "lo", "sha", "di", "dee", "ya", "whoa",
)  # fmt: skip


def _split(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(word.split("-")) for word in text.split())


_LANGUAGES = {"en-us": _split(_ENGLISH), "en-gb": _split(_ENGLISH), "es": _split(_LATIN), "it": _split(_LATIN)}
LANGUAGES = {"en-us": 5.0, "en-gb": 2.0, "es": 1.5, "it": 0.8}


def sing_words(count: int, language: str, rng: Rng, *, vocables: bool) -> list[str]:
    """`count` syllables in a row, of real words or, with `vocables`, of a few repeated sounds ("la la la")."""
    if vocables:
        sounds = rng.shuffled(_VOCABLES)[: rng.integer(1, 3)]
        return [rng.pick(sounds) for _ in range(count)]
    words = _LANGUAGES[language]
    syllables: list[str] = []
    while len(syllables) < count:
        syllables += rng.pick(words)
    return syllables[:count]
