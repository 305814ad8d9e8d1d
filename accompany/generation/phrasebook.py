"""Prompts in Chinese, Japanese and Korean: the instruments, styles and moods that they name, in English.

The text encoder of `tiny` and `read_instrumentation` know English only. What the phrase book does not hold is left out;
a prompt of which it knows nothing stays as it is.
"""

from __future__ import annotations

import itertools
import logging
import re
from functools import lru_cache

_log = logging.getLogger(__name__)

_INSTRUMENTS = """
drums = 架子鼓 爵士鼓 鼓点 鼓點 鼓组 鼓組 鼓 ドラム 드럼 드럼_세트
percussion = 打击乐 打擊樂 打楽器 パーカッション 퍼커션 타악기 康加鼓 邦戈鼓 コンガ ボンゴ 콩가 봉고
shaker = 沙锤 沙錘 シェイカー 쉐이커
tambourine = 铃鼓 鈴鼓 タンバリン 탬버린
bass = 贝斯 貝斯 低音吉他 ベース 베이스 베이스_기타
double bass = 低音提琴 コントラバス ウッドベース 콘트라베이스
piano = 钢琴 鋼琴 ピアノ 피아노
electric piano = 电钢琴 電鋼琴 エレピ エレクトリック_ピアノ 일렉트릭_피아노 전자_피아노
organ = 管风琴 管風琴 风琴 風琴 オルガン 오르간
accordion = 手风琴 手風琴 アコーディオン 아코디언
guitar = 吉他 ギター 기타
acoustic guitar = 木吉他 民谣吉他 民謠吉他 原声吉他 アコギ アコースティック_ギター 통기타 어쿠스틱_기타
electric guitar = 电吉他 電吉他 エレキギター エレキ 일렉_기타 일렉트릭_기타 전자_기타
banjo = 班卓琴 バンジョー 밴조
ukulele = 尤克里里 乌克丽丽 烏克麗麗 ウクレレ 우쿨렐레
harp = 竖琴 豎琴 ハープ 하프
strings = 弦乐 弦樂 弦楽 ストリングス 현악 현악기 스트링
violin = 小提琴 バイオリン ヴァイオリン 바이올린
cello = 大提琴 チェロ 첼로
orchestra = 管弦乐 管弦樂 交响乐 交響樂 オーケストラ 오케스트라
brass = 铜管 銅管 金管 ブラス 브라스 금관
trumpet = 小号 小號 トランペット 트럼펫
trombone = 长号 長號 トロンボーン 트롬본
saxophone = 萨克斯 薩克斯 サックス サクソフォン 색소폰
woodwinds = 木管 목관
flute = 长笛 長笛 フルート 플루트 플룻
clarinet = 单簧管 單簧管 黑管 クラリネット 클라리넷
harmonica = 口琴 ハーモニカ 하모니카
vibraphone = 颤音琴 顫音琴 ビブラフォン 비브라폰
marimba = 马林巴 馬林巴 木琴 マリンバ 마림바 실로폰
bells = 钟琴 鐘琴 铃铛 鈴鐺 鉄琴 ベル 글로켄슈필 벨소리
music box = 八音盒 音乐盒 音樂盒 オルゴール 오르골
steel drums = 钢鼓 鋼鼓 スチールドラム 스틸_드럼
pad = 铺底 音垫 パッド 패드
synth = 合成器 シンセ シンセサイザー 신스 신시사이저
"""
_OTHERS = """
pop = 流行 ポップ ポップス 팝
rock = 摇滚 搖滾 ロック 록 락 락_밴드
soul = 灵魂乐 靈魂樂 ソウル 소울
R&B = 节奏布鲁斯 節奏藍調 알앤비
funk = 放克 ファンク 펑크 펑키한
reggae = 雷鬼 レゲエ 레게
electronic = 电子 電子 エレクトロ 일렉트로닉
house = 浩室 ハウス 하우스
hip hop = 嘻哈 ヒップホップ 힙합
trap = 陷阱 トラップ 트랩
lo-fi hip hop = ローファイ 로파이
blues = 蓝调 藍調 布鲁斯 ブルース 블루스
Latin = 拉丁 ラテン 라틴
metal = 金属 金屬 メタル 메탈
folk = 民谣 民謠 フォーク 포크
jazz = 爵士 ジャズ 재즈
swing = 摇摆 搖擺 スウィング スイング 스윙
bossa nova = 波萨诺瓦 巴萨诺瓦 波薩諾瓦 ボサノバ ボサノヴァ 보사노바
country = 乡村 鄉村 カントリー 컨트리
waltz = 华尔兹 華爾滋 圆舞曲 圓舞曲 ワルツ 왈츠
ballad = 抒情 情歌 バラード 발라드
cinematic = 电影 電影 映画 シネマティック 영화
gospel = 福音 ゴスペル 가스펠
lullaby = 摇篮曲 搖籃曲 子守唄 자장가
disco = 迪斯科 迪斯可 ディスコ 디스코
slow = 缓慢 緩慢 慢 ゆっくり 遅い スロー 느린 느리게 천천히
fast = 快速 快 速い アップテンポ 빠른 빠르게
upbeat = 欢快 歡快 轻快 輕快 軽快 신나는 경쾌한 활기찬
calm = 安静 安靜 平静 平靜 静か 穏やか 잔잔한 차분한 조용한
soft = 柔和 轻柔 輕柔 柔らか 優しい 부드러운
warm = 温暖 溫暖 暖かい 温かい 따뜻한 따스한
sad = 悲伤 悲傷 忧伤 憂傷 悲しい 슬픈
dark = 黑暗 暗い 어두운
bright = 明亮 明るい 밝은
powerful = 激烈 强烈 強烈 激しい 力強い 강렬한 강한
full band = 乐队 樂隊 フルバンド バンド 풀_밴드 밴드
minimal = 简约 簡約 极简 極簡 ミニマル シンプル 미니멀 단순한 간소한
"""
_JOINERS = r"[\s,、，。·]*"
_NOT_BEFORE = re.compile(
    rf"(没有|沒有|不要|不需要|不想要|不加|不含|不带|不帶|不用|去掉|除了|没|沒|无|無|别|別){_JOINERS}$"
)
_NOT_AFTER = re.compile(
    r"\s*(은|는|이|가|을|를|도|は|が|の|を|も|って)?\s*(없|필요\s*없|빼|제외|말고|넣지|쓰지|なし|なく|無し|抜き|ない|いらない|要らない|不要|以外)"
)
_WITH_NEXT = re.compile(r"\s*(이랑|하고|와|과|랑|및|と|や)\s*")
"""What joins an instrument to the next one, before what excludes both."""
_WITH_LAST = re.compile(r"\s*(和|跟|与|與|或|、)\s*")
"""The same behind what excludes the first."""
_ONLY_BEFORE = re.compile(rf"(只有|只要|仅|僅|纯|純|ソロ|솔로){_JOINERS}$")
_ONLY_AFTER = re.compile(r"\s*(独奏|獨奏|だけ|のみ|ソロ|만|솔로)(?![가-힣ぁ-ん一-龥]*[가-힣]{2})")


def _entries(text: str) -> dict[str, str]:
    lines = (line.partition(" = ") for line in text.strip().splitlines())
    return {word: english for english, _, words in lines for word in words.split()}


def _pattern(words: list[str]) -> re.Pattern[str]:
    """The longest word first; names of two parts ("_") are written with and without a space."""
    known = (re.escape(word).replace("_", r"\s?") for word in sorted(words, key=len, reverse=True))
    return re.compile("|".join(known) + r"|[A-Za-z0-9][A-Za-z0-9&' -]*")


_ENGLISH = _entries(_INSTRUMENTS) | _entries(_OTHERS)
_WORD = _pattern(list(_ENGLISH))
_PLAIN = {word.replace("_", ""): english for word, english in _ENGLISH.items()}
_PLAYED = frozenset(word.replace("_", "") for word in _entries(_INSTRUMENTS))


def _excluded(prompt: str, matches: list[re.Match[str]]) -> list[re.Match[str]]:
    """The names that a prompt excludes: those beside a negation, and what is joined to them on its other side."""
    found = [m for m in matches if _NOT_BEFORE.search(prompt[: m.start()]) or _NOT_AFTER.match(prompt, m.end())]
    pairs = list(itertools.pairwise(matches))
    for one, other in reversed(pairs):
        if other in found and _WITH_NEXT.fullmatch(prompt, one.end(), other.start()):
            found.append(one)
    for one, other in pairs:
        if one in found and _WITH_LAST.fullmatch(prompt, one.end(), other.start()):
            found.append(other)
    return found


@lru_cache(maxsize=64)
def in_english(prompt: str) -> str:
    """What a prompt says, as far as it is known; the prompt itself where nothing of it is.

    Instruments that it excludes ("没有鼓", "ドラムなし", "드럼 없이") come out as "no drums", one that it wants
    alone ("피아노만") as "solo piano". English words in it stay.
    """
    found: list[str] = []
    known = False
    matches = list(_WORD.finditer(prompt))
    excluded = _excluded(prompt, matches)
    for match in matches:
        word = re.sub(r"\s", "", match[0])
        known |= word in _PLAIN
        english = _PLAIN.get(word, match[0].strip())
        if word in _PLAYED:
            before, after = prompt[: match.start()], prompt[match.end() :]
            if match in excluded:
                english = f"no {english}"
            elif _ONLY_BEFORE.search(before) or _ONLY_AFTER.match(after):
                english = f"solo {english}"
        found.append(english)
    if not known:
        return prompt
    read = ", ".join(dict.fromkeys(found))
    _log.info("The prompt is read as: %s.", read)
    return read
