"""Separate stems in generation: batch, sum, mute, prompts that exclude, edits, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sing

import accompany
from accompany import InputError, audio
from accompany.cli import main
from accompany.generation.project import Project
from accompany.generation.settings import Settings
from accompany.music.instrumentation import STEMS, read_instrumentation, rests
from accompany.stages.acoustic import AcousticStage
from accompany.stages.conditions import make_conditions

RATE = 8000
VOCAL = (sing(4.5, 16000), 16000)
"""More than one window of the small model."""


@pytest.fixture(scope="module")
def band(stem_bundle_dir: Any) -> accompany.Band:
    return accompany.load(stem_bundle_dir, device="cpu")


@pytest.fixture(scope="module")
def take(band: accompany.Band) -> accompany.Take:
    return band.generate(VOCAL, "warm", seed=3)


def total(stems: Any) -> np.ndarray:
    made: np.ndarray = sum(stems.values())
    return made


def heard(take: accompany.Take) -> set[str]:
    assert tuple(take.stems) == STEMS
    return {name for name, sound in take.stems.items() if sound.any()}


def test_the_stems_sum_to_the_band(band: accompany.Band, take: accompany.Take) -> None:
    assert tuple(take.stems) == STEMS and take.samples.shape == (2, round(4.5 * RATE))
    np.testing.assert_array_equal(total(take.stems), take.samples)
    pairs = [(a, b) for a in STEMS for b in STEMS if a < b]
    assert all(np.abs(take.stems[a] - take.stems[b]).max() > 1e-3 for a, b in pairs)
    again = band.generate(VOCAL, "warm", seed=3)
    assert all(np.array_equal(again.stems[name], take.stems[name]) for name in STEMS)
    other = band.generate(VOCAL, "warm", seed=4)
    assert all(not np.array_equal(other.stems[name], take.stems[name]) for name in STEMS)


def test_a_stem_of_the_batch_is_as_alone(band: accompany.Band) -> None:
    stage: AcousticStage = band.bundle.acoustic
    widths, generator = stage.config.conditions, torch.Generator().manual_seed(0)
    vocal = torch.randn(2, 90, widths.vocal_dim, generator=generator)
    codes = torch.randint(0, 32, (2, 2, 90), generator=generator)
    conditions = make_conditions(widths, 90, 2, vocal=vocal)
    together = stage.generate_long(conditions, codes, seeds=[11, 12, 13, 21, 22, 23], stems=(1, 2, 3))
    assert together.shape == (6, stage.config.codebooks, 90)
    for item in range(2):
        for stem in (1, 2, 3):
            alone = conditions.item(item)
            alone = replace(alone, stem=torch.full_like(alone.stem, stem))
            made = stage.generate_long(alone, codes[item : item + 1], seeds=[10 * (item + 1) + stem])
            assert (made[0] == together[3 * item + stem - 1]).float().mean() > 0.98  # ties may fall either way
    with pytest.raises(ValueError, match="seeds"):
        stage.generate(conditions, codes, seeds=[1, 2], stems=(1, 2))


@pytest.mark.parametrize("muted", [("drums",), ("bass", "other")])
def test_mute_leaves_stems_out_and_the_others_alone(
    band: accompany.Band, take: accompany.Take, muted: tuple[str, ...]
) -> None:
    less = band.generate(VOCAL, "warm", seed=3, mute=",".join(muted))
    assert less.settings.mute == muted == less.muted and heard(less) == set(STEMS) - set(muted)
    np.testing.assert_array_equal(total(less.stems), less.samples)
    for name in heard(less):
        alike = np.corrcoef(less.stems[name].ravel(), take.stems[name].ravel())[0, 1]
        assert alike > 0.99, "the same but for the level"


@pytest.mark.parametrize(
    ("prompt", "mute", "playing"),
    [
        ("warm piano, no drums", None, {"bass", "other"}),
        ("solo piano", None, {"other"}),
        ("drums only", None, {"drums"}),
        ("warm piano and bass, no drums, soft congas", None, {"drums", "bass", "other"}),
        ("solo piano", "none", {"drums", "bass", "other"}),
        ("no drums", ("bass",), {"other"}),
    ],
)
def test_a_prompt_that_excludes_a_stem_mutes_it(
    band: accompany.Band, prompt: str, mute: Any, playing: set[str]
) -> None:
    made = band.generate((VOCAL[0][:16000], 16000), prompt, mute=mute)
    assert heard(made) == playing


def test_a_prompt_mutes_where_it_holds(band: accompany.Band) -> None:
    made = band.generate(VOCAL, "0: warm piano, no drums; 2: warm piano and drums; 3: no drums, no bass")
    drums = made.stems["drums"]
    assert not drums[:, : 2 * RATE].any() and not drums[:, 3 * RATE :].any()
    assert np.abs(drums[:, 2 * RATE + 300 : 3 * RATE - 300]).max() > 0
    assert made.stems["bass"][:, : 3 * RATE - 300].any() and not made.stems["bass"][:, 3 * RATE :].any()


def test_nothing_left_to_play_is_refused(band: accompany.Band) -> None:
    with pytest.raises(InputError, match="nothing to play"):
        band.generate(VOCAL, "solo piano", mute="other")
    for wrong in ("piano", "", "drums,bass,other", "none,drums", ["drum"], 3, {"drums": 1}):
        with pytest.raises(InputError, match="stems to mute"):
            Settings(mute=wrong)  # type: ignore[arg-type]


def test_settings_keep_mute() -> None:
    for mute in (("bass",), ()):
        assert Settings.from_dict(Settings(mute=mute).as_dict()).mute == mute
    assert Settings(mute="Bass, drums").mute == ("drums", "bass") and Settings(mute="none").mute == ()


def test_edits_keep_stems_that_sum(band: accompany.Band, take: accompany.Take) -> None:
    first, last = 2 * RATE, 3 * RATE
    made = band.retake(take, 2.0, 3.0)
    np.testing.assert_array_equal(made.samples[:, :first], take.samples[:, :first])
    np.testing.assert_array_equal(made.samples[:, last:], take.samples[:, last:])
    assert (made.samples[:, first:last] != take.samples[:, first:last]).mean() > 0.9
    np.testing.assert_allclose(total(made.stems), made.samples, atol=1e-6)
    quiet = band.retake(take, 2.0, 3.0, mute="drums")
    inside = slice(first + 600, last - 600)
    assert not quiet.stems["drums"][:, inside].any() and quiet.stems["bass"][:, inside].any()
    np.testing.assert_array_equal(quiet.stems["drums"][:, :first], take.stems["drums"][:, :first])
    for edited in (band.vary(take, 0.3), band.extend(take, 0.5, 0.5)):
        np.testing.assert_allclose(total(edited.stems), edited.samples, atol=1e-6)
        assert tuple(edited.stems) == STEMS


def test_progress_rises_through_the_decoding_which_can_be_stopped(band: accompany.Band, take: accompany.Take) -> None:
    works = {
        "generate": lambda report: band.generate(VOCAL, "warm", seed=3, progress=report),
        "two": lambda report: band.generate([VOCAL, VOCAL], "warm", progress=report),
        "retake": lambda report: band.retake(take, 1.0, 2.0, progress=report),
        "vary": lambda report: band.vary(take, 0.3, progress=report),
        "extend": lambda report: band.extend(take, 0.5, progress=report),
        "extend both": lambda report: band.extend(take, 0.5, 0.5, progress=report),
    }
    for name, work in works.items():
        shares: list[float] = []
        work(shares.append)
        assert shares == sorted(shares) and shares[-1] == 1, name
        assert len({share for share in shares if share > 0.76}) >= 3, f"{name}: each stem counts"

    def stop(share: float) -> None:
        if share > 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        band.retake(take, 1.0, 2.0, progress=stop)


def test_a_stem_comes_in_with_a_retake(band: accompany.Band) -> None:
    bare = band.generate(VOCAL, "solo piano", seed=1)
    made = band.retake(bare, 1.0, 2.5, "warm piano and drums")
    drums = made.stems["drums"]
    assert drums[:, RATE + 300 : 2 * RATE].any() and not drums[:, :RATE].any() and not drums[:, 5 * RATE // 2 :].any()
    np.testing.assert_array_equal(made.samples[:, :RATE], bare.samples[:, :RATE])


def test_a_stream_plays_the_stems(band: accompany.Band, take: accompany.Take) -> None:
    pieces = list(band.stream(VOCAL, "warm", seed=3))
    played = np.concatenate(pieces, axis=1)
    assert len(pieces) > 1 and played.shape == take.samples.shape
    assert np.corrcoef(played[0, :RATE], take.samples[0, :RATE])[0, 1] > 0.999
    less = np.concatenate(list(band.stream(VOCAL, "solo piano", seed=3)), axis=1)
    assert less.shape == played.shape


def test_vocals_together_have_their_own_stems(band: accompany.Band) -> None:
    prompts = ["warm", "solo piano"]
    both = band.generate([VOCAL, (VOCAL[0][:30000], 16000)], prompts, seed=2)
    assert heard(both[0]) == set(STEMS) and heard(both[1]) == {"other"}
    alone = band.generate((VOCAL[0][:30000], 16000), prompts[1], seed=2)
    assert np.corrcoef(alone.samples[0], both[1].samples[0])[0, 1] > 0.99


def test_a_take_of_another_model_is_not_edited(band: accompany.Band, take: accompany.Take) -> None:
    assert take.draft is not None
    strange = replace(take, draft=replace(take.draft, tokens=take.draft.tokens[:4]))
    with pytest.raises(InputError, match="not made by"):
        band.retake(strange, 1.0, 2.0)


def test_what_rests() -> None:
    def silent(prompt: str) -> set[str]:
        vector = read_instrumentation(prompt).vector()[None]
        return {stem for stem in STEMS if rests(vector, stem)[0]}

    assert silent("no drums") == {"drums"} and silent("no percussion") == set()
    assert silent("solo guitar") == {"drums", "bass"} and silent("without bass or drums") == {"drums", "bass"}
    assert silent("no piano") == set() and silent("just congas") == {"bass", "other"}


@pytest.fixture
def generate(stem_bundle_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path) -> Any:
    """Run a command in a folder with `song.wav`; returns exit code, the JSON where there is any, and stderr."""
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", VOCAL[0][:24000], VOCAL[1])

    def run(*args: str, command: str = "generate") -> tuple[int, Any, str]:
        model = ["song.wav", "--model", str(stem_bundle_dir)] if command == "generate" else []
        code = main([command, *model, *args])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.strip() else None, err

    return run


def test_files_of_stems_sum_to_the_band(generate: Any) -> None:
    code, made, stderr = generate("--stems", "--mute", "bass", "--mix", "--daw", "--settings", "--json", "-o", "b.flac")
    assert code == 0, stderr
    (entry,) = made["files"]
    assert entry["stems"] == ["b.drums.flac", "b.bass.flac", "b.other.flac"] and entry["mute"] == ["bass"]
    assert "without bass" in stderr
    whole, *stems = (audio.read(name).samples for name in ("b.flac", *entry["stems"]))
    np.testing.assert_allclose(sum(stems), whole, atol=3e-6)
    assert stems[0].any() and np.abs(stems[1]).max() < 3e-7 and stems[2].any(), "silence is dithered"
    session = {path.name for path in Path("b.daw").iterdir()}
    assert {"vocals.wav", "band.drums.wav", "band.other.wav"} <= session
    assert not session & {"band.wav", "band.bass.wav"} and "band.drums.wav" in Path("b.daw/b.rpp").read_text()
    code, _, stderr = generate("b.settings.json", "-o", "again.flac", command="remake")
    assert code == 0, stderr
    np.testing.assert_array_equal(audio.read("again.flac").samples, whole)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--mute", "piano"], "stems to mute 'piano' must be some of drums, bass, other"),
        (["--mute", "drums,bass,other"], "leave one to be played"),
        (["-p", "solo piano", "--mute", "other"], "nothing to play"),
        (["--stems", "--separator", "tiny"], "nothing to split"),
        (["--separator", "tiny"], "--separate or --stems"),
        (["--stems", "-o", "song.vocals/"], "would overwrite"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(generate: Any, args: list[str], words: str) -> None:
    if args[0] == "--stems" and "-o" in args:
        Path("song.vocals").mkdir()
        audio.write("song.vocals/song.drums.wav", VOCAL[0], VOCAL[1])
        args = ["song.vocals/song.drums.wav", *args]
    before = sorted(Path().rglob("*"))
    code, _, stderr = generate(*args)
    assert (
        code == 2 and words in stderr and len(stderr.strip().splitlines()) <= 2 and sorted(Path().rglob("*")) == before
    )


def test_a_project_keeps_stems_and_mute(generate: Any, band: accompany.Band) -> None:
    code, _, stderr = generate("--project", "p", "--mute", "bass", "-p", "warm", "--seed", "5")
    assert code == 0, stderr
    first = Project.open("p").take()
    assert first.settings.mute == ("bass",) and first.muted == ("bass",) and not Path("p/takes/0001/bass.wav").exists()
    np.testing.assert_array_equal(total(first.stems), first.samples)
    code, _, stderr = generate("p", "--from", "0.5", "--to", "1", "--mute", "none", command="retake")
    assert code == 0, stderr
    second = Project.open("p").take()
    assert not second.muted and not second.stems["bass"][:, : RATE // 2].any()
    np.testing.assert_array_equal(second.samples[:, RATE:], first.samples[:, RATE:])
    np.testing.assert_array_equal(second.samples, band.retake(first, 0.5, 1.0, mute="none").samples)


@pytest.fixture
def client(band: accompany.Band, tmp_path: Path) -> Any:
    pytest.importorskip("fastapi")
    from test_serve import client_of

    from accompany.serve.app import build_app
    from accompany.serve.limits import Address, Limits

    with client_of(build_app(band, Limits(), Address(), tmp_path)) as client:
        yield client


def test_the_http_api_has_stems(client: Any) -> None:
    from test_serve import ended, make, refused, sound, upload, wav

    assert client.get("/api/about").json()["stems"] is True
    vocal = upload(client, wav(2.0))
    (take,) = make(client, vocal, prompt="warm, no drums", seed=1, mute=["other"])
    assert take["stems"] == ["bass"] and take["mute"] == ["other"]
    refused(client.get(f"/api/takes/{take['id']}/stems/drums"), 404, "does not play")
    (take,) = make(client, vocal, prompt="warm", seed=1)
    at = f"/api/takes/{take['id']}"
    stems = {name: sound(client.get(f"{at}/stems/{name}")) for name in take["stems"]}
    whole, sung = sound(client.get(f"{at}/accompaniment")), sound(client.get(f"/api/vocals/{vocal['id']}/sound"))
    assert tuple(stems) == STEMS
    np.testing.assert_allclose(total(stems), whole, atol=1e-6)
    mix = sound(client.get(f"{at}/mix", params={"drums_db": -60, "bass_db": -6, "band_db": -6}))
    expected = 10 ** (-6 / 20) * (10 ** (-6 / 20) * stems["bass"] + stems["other"])
    np.testing.assert_allclose(mix, expected + np.atleast_2d(sung).T, atol=1e-5)
    refused(client.get(f"{at}/mix", params={"drums_db": 13}), 400, "drums_db 13")
    refused(client.post(f"/api/vocals/{vocal['id']}/takes", json={"mute": ["piano"]}), 400, "stems to mute")
    job = ended(client, client.post(f"{at}/retake", json={"start_s": 0.5, "end_s": 1.5, "prompt": "no drums"}).json())
    again = client.get(f"/api/takes/{job['takes'][0]}").json()
    drums = sound(client.get(f"/api/takes/{again['id']}/stems/drums"))
    assert drums[: RATE // 2].any() and not drums[RATE // 2 + 300 : RATE].any()
    folder = Path(client.app.state.server.store.root)
    assert len(list(folder.rglob("*.wav"))) == 1 + 2 + 4 + 4
    assert client.get(f"/api/vocals/{vocal['id']}/project").status_code == 200
    assert client.delete(at).status_code == 204 and len(list(folder.rglob("*.wav"))) == 1 + 2 + 4
    assert client.delete(f"/api/vocals/{vocal['id']}").status_code == 204 and not list(folder.rglob("*.wav"))
