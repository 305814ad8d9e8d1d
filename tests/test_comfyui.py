"""The nodes for ComfyUI, and their example workflow, in a stand-in of the host."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sing

import accompany
from accompany.errors import InputError
from accompany.generation.settings import CONTROLS

NODES = Path(__file__).parents[1] / "integrations" / "comfyui"
WORKFLOW = NODES / "example_workflows" / "accompany.json"
WIDGETS = ("STRING", "INT", "FLOAT")
RATE = 44100


class Interrupted(Exception):
    """What the host raises when a person cancels the queue."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules that the host offers its nodes, with what they saw and the nodes as it loads them: by path."""
    seen = SimpleNamespace(progress=[], interrupted_at=None)

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            seen.progress.append(value / (total or self.total))

    def throw_exception_if_processing_interrupted() -> None:
        if seen.interrupted_at is not None and seen.progress and seen.progress[-1] >= seen.interrupted_at:
            seen.interrupted_at = None
            raise Interrupted

    utils, management = ModuleType("comfy.utils"), ModuleType("comfy.model_management")
    utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
    management.throw_exception_if_processing_interrupted = (  # type: ignore[attr-defined]
        throw_exception_if_processing_interrupted
    )
    for module in (ModuleType("comfy"), utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    name = "/custom_nodes/accompany".replace("/", "_x_")
    spec = importlib.util.spec_from_file_location(name, NODES / "__init__.py")
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, package)
    spec.loader.exec_module(package)
    seen.nodes, seen.names = package.NODE_CLASS_MAPPINGS, package.NODE_DISPLAY_NAME_MAPPINGS
    seen.module = sys.modules[f"{name}.nodes"]
    yield seen
    monkeypatch.delitem(sys.modules, f"{name}.nodes")


def audio_of(*voices: np.ndarray, rate: int = RATE) -> dict[str, Any]:
    """AUDIO of voices [C, T]."""
    return {"waveform": torch.from_numpy(np.stack(voices)), "sample_rate": rate}


def stereo(seconds: float, seed: int) -> np.ndarray:
    voice = sing(seconds, RATE, seed)
    return np.stack([voice, 0.5 * voice])


def generate(host: SimpleNamespace, **given: Any) -> dict[str, Any]:
    """Run the node with the defaults of its widgets; its outputs by name."""
    node = host.nodes["AccompanyGenerate"]
    inputs = node.INPUT_TYPES()
    widgets = {name: spec[1]["default"] for name, spec in inputs["required"].items() if spec[0] in WIDGETS}
    with torch.inference_mode():
        return dict(zip(node.RETURN_NAMES, node().run(**{**widgets, **given}), strict=True))


def test_the_declarations_of_the_nodes_fit_each_other(host: SimpleNamespace) -> None:
    assert set(host.nodes) == set(host.names)
    assert set(host.names.values()) == {"Accompany: load model", "Accompany: generate", "Accompany: retake"}
    for node in host.nodes.values():
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) and node.CATEGORY == "audio/accompany"
        inputs = node.INPUT_TYPES()
        assert {*inputs["required"], *inputs.get("optional", {}), "self"} >= set(
            inspect.signature(getattr(node, node.FUNCTION)).parameters
        )
    seed = host.nodes["AccompanyGenerate"].INPUT_TYPES()["required"]["seed"][1]
    assert seed["max"] == CONTROLS["seed"].high and seed["control_after_generate"]


def test_a_batch_keeps_its_items_length_and_rate(host: SimpleNamespace, band: accompany.Band) -> None:
    voices = [stereo(1.5, seed=1), stereo(1.5, seed=2)]
    made = generate(host, model=band, vocals=audio_of(*voices), prompt="jazz", seed=3)
    n_samples = voices[0].shape[-1]
    shapes = {name: list(made[name]["waveform"].shape) for name in ("mix", "band", "drums", "bass", "other")}
    assert shapes == {name: [2, 2 if name == "mix" else 1, n_samples] for name in shapes}  # the voice is stereo
    for name in shapes:
        assert made[name]["sample_rate"] == RATE and made[name]["waveform"].dtype == torch.float32
    assert not made["drums"]["waveform"].any() and made["band"]["waveform"].abs().amax() > 1e-4
    for item, voice in enumerate(voices):
        alone = band.generate((voice, RATE), "jazz", seed=3)
        assert np.abs(made["takes"].takes[item].samples - alone.samples).max() < 1e-3
    ratio = np.corrcoef(made["mix"]["waveform"][1, 0] - made["band"]["waveform"][1, 0], voices[1][0])[0, 1]
    assert ratio > 0.99  # the recording itself, at its own rate


def test_every_input_changes_the_band(host: SimpleNamespace, band: accompany.Band) -> None:
    vocals = audio_of(sing(1.5)[None])
    plain = generate(host, model=band, vocals=vocals)["band"]["waveform"]
    changes: list[dict[str, Any]] = [
        {"prompt": "piano"}, {"seed": 1}, {"bpm": 171.0}, {"key": "F#:min"}, {"chords": "F# B"}, {"level_db": -20.0},
        {"like": audio_of(sing(2.0, seed=9)[None])},
    ]  # fmt: skip
    for change in changes:
        assert not torch.equal(generate(host, model=band, vocals=vocals, **change)["band"]["waveform"], plain), change


def test_stems_that_a_model_makes_come_out(host: SimpleNamespace, band: accompany.Band) -> None:
    take = band.generate((sing(1.0), RATE), seed=1)
    shares = {"drums": 0.25, "bass": 0.0, "other": 0.75}
    take = dataclasses.replace(take, stems={name: share * take.samples for name, share in shares.items()})
    mix, whole, drums, bass, other, _ = host.module._outputs(host.module.Takes(band, [take], RATE))
    total = sum(each["waveform"] for each in (drums, bass, other))
    assert drums["waveform"].any() and not bass["waveform"].any()
    assert torch.allclose(total, whole["waveform"], atol=1e-4) and mix["waveform"].shape == total.shape
    with pytest.raises(InputError, match="no stem of it can be muted"):
        generate(host, model=band, vocals=audio_of(sing(1.0)[None]), mute="drums")


def test_a_region_is_made_again_in_every_item(host: SimpleNamespace, band: accompany.Band) -> None:
    takes = generate(host, model=band, vocals=audio_of(*(sing(2.0, seed=seed)[None] for seed in (1, 2))))["takes"]
    node = host.nodes["AccompanyRetake"]
    with torch.inference_mode():
        *sounds, again = node().run(takes, 0.5, 1.25, "solo piano", 5)
    first, last = (round(edge * band.sample_rate) for edge in (0.5, 1.25))
    for old, new in zip(takes.takes, again.takes, strict=True):
        assert (old.samples[:, :first] == new.samples[:, :first]).all()
        assert (old.samples[:, last:] == new.samples[:, last:]).all() and not np.array_equal(old.samples, new.samples)
        assert new.edits[-1].settings.prompt == "solo piano" and new.edits[-1].settings.seed == 5
    assert [list(each["waveform"].shape) for each in sounds] == [[2, 1, 2 * RATE]] * 5
    with torch.inference_mode():
        kept = node().run(again, 0.5, 1.25, "", 6)[-1].takes[0]
    assert kept.edits[-1].settings.prompt == takes.takes[0].settings.prompt and len(kept.edits) == 2
    with pytest.raises(InputError, match="must cover at least"):
        node().run(takes, 0.5, 0.6, "", 5)


def test_progress_is_shown_and_cancelling_stops_the_work(host: SimpleNamespace, band: accompany.Band) -> None:
    vocals = audio_of(sing(1.0)[None])
    takes = generate(host, model=band, vocals=vocals)["takes"]
    assert host.progress[-1] == 1.0 and host.progress == sorted(host.progress) and len(set(host.progress)) > 5
    host.progress.clear()
    host.interrupted_at = 0.3
    with pytest.raises(Interrupted):
        generate(host, model=band, vocals=vocals)
    assert 0.3 <= max(host.progress) < 0.6
    host.progress.clear()
    host.interrupted_at = 0.2
    with pytest.raises(Interrupted):
        host.nodes["AccompanyRetake"]().run(takes, 0.0, 0.5, "", 1)
    host.progress.clear()
    generate(host, model=band, vocals=vocals)
    assert host.progress[-1] == 1.0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"key": "H"}, "must be a key"),
        ({"bpm": 12.0}, "bpm"),
        ({"chords": "C Q"}, "Q"),
        ({"level_db": 99.0}, "level_db"),
        ({"mute": "flute"}, "flute"),
    ],
)
def test_widgets_that_cannot_be_are_refused_once_before_anything_runs(host, given, says) -> None:
    node = host.nodes["AccompanyGenerate"]
    inputs = {**node.INPUT_TYPES()["required"], **node.INPUT_TYPES()["optional"]}
    widgets = {name: spec[1]["default"] for name, spec in inputs.items() if spec[0] in WIDGETS}
    (said,) = refusals(node, {**widgets, **given})
    assert says in said and "\n" not in said
    assert not refusals(node, widgets) and not refusals(node, {**widgets, **dict.fromkeys(given)})  # None is a link


def refusals(node: Any, given: dict[str, Any]) -> list[str]:
    """What the host says before anything runs: the limits of what the node does not check itself, and of a sentence
    that its check returns one copy for each input that the check takes."""
    inputs = {**node.INPUT_TYPES()["required"], **node.INPUT_TYPES().get("optional", {})}
    checked = inspect.getfullargspec(node.VALIDATE_INPUTS).args
    said = []
    for name, value in given.items():
        limits = inputs[name][1]
        if name in checked or value is None or "min" not in limits:
            continue
        if not limits["min"] <= value <= limits["max"]:
            said.append(f"{name} {value} is not from {limits['min']} to {limits['max']}")
    try:
        answer = node.VALIDATE_INPUTS(**{name: value for name, value in given.items() if name in checked})
    except Exception as error:  # which the host catches and shows once
        return [str(error)]
    return said + [f"{name} - {answer}" for name in given if name in checked and answer is not True]


def test_other_input_that_cannot_be_is_one_sentence(host: SimpleNamespace, band: accompany.Band) -> None:
    silence = audio_of(np.zeros((1, RATE), np.float32))
    for vocals, says in (
        (silence, "silent"),
        (None, "vocals got nothing"),
        ({"waveform": torch.zeros(1, RATE), "sample_rate": RATE}, "[batch, channels, samples]"),
        (audio_of(sing(0.2)[None]), "at least 0.5 s"),
    ):
        with pytest.raises(InputError) as refused:
            generate(host, model=band, vocals=vocals)
        assert says in str(refused.value) and "\n" not in str(refused.value)
    for name in ("tinny", " "):
        with pytest.raises(InputError, match=f"There is no model '{name.strip()}'"):
            host.nodes["AccompanyLoadModel"]().run(name, "auto", "auto")


def test_the_example_workflow_runs(host: SimpleNamespace, random_bundle_dir: Path) -> None:
    heard = []

    class LoadAudio:
        FUNCTION, RETURN_TYPES = "run", ("AUDIO",)
        INPUT_TYPES = staticmethod(lambda: {"required": {"audio": (["vocals.wav"], {})}})
        run = staticmethod(lambda audio: (audio_of(sing(8.5)[None]),))

    class PreviewAudio:
        FUNCTION, RETURN_TYPES = "run", ()
        INPUT_TYPES = staticmethod(lambda: {"required": {"audio": ("AUDIO",)}})
        run = staticmethod(lambda audio: heard.append(audio) or ())

    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    model = next(node for node in graph["nodes"] if node["type"] == "AccompanyLoadModel")
    assert model["widgets_values"][0] == "tiny"
    model["widgets_values"][0] = str(random_bundle_dir)
    run_workflow(graph, {**host.nodes, "LoadAudio": LoadAudio, "PreviewAudio": PreviewAudio})
    mix, again = (each["waveform"] for each in heard)
    assert mix.shape == again.shape == (1, 1, round(8.5 * RATE))
    inside, outside = slice(5 * RATE, 7 * RATE), slice(0, 3 * RATE)
    assert not torch.equal(mix[..., inside], again[..., inside])
    assert torch.allclose(mix[..., outside], again[..., outside], atol=1e-3)


def run_workflow(graph: dict[str, Any], classes: dict[str, Any]) -> None:
    """Run a graph as the host does: widgets by their order, links by type, limits checked, one node after the other."""
    links = {link[0]: link for link in graph["links"]}
    made: dict[int, tuple[Any, ...]] = {}
    with torch.inference_mode():
        for node in sorted(graph["nodes"], key=lambda node: node["order"]):
            cls = classes[node["type"]]
            inputs = {**cls.INPUT_TYPES()["required"], **cls.INPUT_TYPES().get("optional", {})}
            given = widget_values(inputs, node["widgets_values"])
            for slot, socket in enumerate(node["inputs"]):
                assert inputs[socket["name"]][0] == socket["type"]
                if socket["link"] is not None:
                    _, source, out, target, into, kind = links[socket["link"]]
                    assert (target, into, kind) == (node["id"], slot, socket["type"])
                    given[socket["name"]] = made[source][out]
            assert [each["type"] for each in node["outputs"]] in ([*cls.RETURN_TYPES], [])
            if hasattr(cls, "VALIDATE_INPUTS"):
                wanted = inspect.signature(cls.VALIDATE_INPUTS).parameters
                assert cls.VALIDATE_INPUTS(**{name: given[name] for name in wanted if name in given}) is True
            made[node["id"]] = getattr(cls(), cls.FUNCTION)(**given)


def widget_values(inputs: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """The values of a node's widgets by name; a seed is followed by what becomes of it after a run."""
    given, left = {}, iter(values)
    for name, (kind, *more) in inputs.items():
        if kind not in WIDGETS and not isinstance(kind, list):
            continue
        value, limits = next(left, None), more[0] if more else {}
        if isinstance(kind, list):
            assert value in kind
        elif value is not None and "min" in limits:
            assert limits["min"] <= value <= limits["max"]
        if limits.get("control_after_generate"):
            assert next(left) in ("fixed", "randomize", "increment", "decrement")
        if value is not None:
            given[name] = value
    return given


def test_the_project_file_has_the_form_of_the_registry() -> None:
    content = pytest.importorskip("tomllib").loads((NODES / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    assert re.fullmatch(r"[a-zA-Z][\w.-]{0,98}", project["name"]) and "comfyui" not in project["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"]) and project["license"] == {"text": "Apache-2.0"}
    assert project["dependencies"] == (NODES / "requirements.txt").read_text().split()
    assert set(content["tool"]["comfy"]) >= {"PublisherId", "DisplayName"} and "Repository" in project["urls"]
