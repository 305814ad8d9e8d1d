"""Prompts in Chinese, Japanese and Korean."""

from __future__ import annotations

import numpy as np
import pytest

from accompany.generation.phrasebook import in_english
from accompany.music.instrumentation import read_instrumentation


@pytest.mark.parametrize(
    ("prompt", "english"),
    [
        ("따뜻한 어쿠스틱 기타와 피아노, 드럼 없이", "warm, acoustic guitar, piano, no drums"),
        ("드럼은 빼고 잔잔한 현악기", "no drums, calm, strings"),
        ("느린 재즈 밴드", "slow, jazz, full band"),
        ("베이스기타와 드럼", "bass, drums"),
        ("재즈 피아노 만들어줘", "jazz, piano"),
        ("funk 밴드, 드럼 없이", "funk, full band, no drums"),
        ("没有鼓，温暖的木吉他和钢琴", "no drums, warm, acoustic guitar, piano"),
        ("快速的搖滾樂隊，電吉他和架子鼓", "fast, rock, full band, electric guitar, drums"),
        ("ドラムなしの静かなピアノ", "no drums, calm, piano"),
        ("드럼과 베이스 없이 피아노", "no drums, no bass, piano"),
        ("기타랑 피아노, 드럼은 필요 없어요", "guitar, piano, no drums"),
        ("没有鼓和贝斯，钢琴", "no drums, no bass, piano"),
        ("钢琴和吉他，不要鼓", "piano, guitar, no drums"),
        ("ドラムとベースなしのピアノ", "no drums, no bass, piano"),
        ("ピアノとギター、ドラムはいらない", "piano, guitar, no drums"),
        ("アコギとベース、バラード", "acoustic guitar, bass, ballad"),
    ],
)
def test_what_is_known_of_a_prompt_comes_out_in_english(prompt, english):
    assert in_english(prompt) == english


@pytest.mark.parametrize("prompt", ["피아노만", "솔로 피아노", "钢琴独奏", "只有钢琴", "ピアノだけ", "ソロピアノ"])
def test_an_instrument_alone_excludes_all_others(prompt):
    stated = read_instrumentation(in_english(prompt))
    assert stated.present == ("piano",) and {"drums", "bass", "guitar"} <= set(stated.absent)


@pytest.mark.parametrize(
    "prompt", ["", "warm piano", "música lenta con guitarra", "你好", "안녕하세요", "🎸🎸", "ピ" * 5000]
)
def test_a_prompt_of_which_nothing_is_known_stays_as_it_is(prompt):
    assert in_english(prompt) == prompt


def test_a_band_plays_the_same_for_both_languages(band):
    vocal = 0.1 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 24_000).astype(np.float32), 24_000
    korean, english = (
        band.generate(vocal, prompt, seed=2) for prompt in ("드럼 없이 따뜻한 피아노", "no drums, warm, piano")
    )
    assert np.array_equal(korean.samples, english.samples)
    assert korean.settings.prompt == "드럼 없이 따뜻한 피아노"
