"""Configs of all trainings: text as it is given, and a sentence with key, value and range for what cannot be."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accompany.cli import main
from accompany.commands.train import RECIPES
from accompany.common.config import _check_finite, check_range, from_dict
from accompany.common.overrides import changed, load_config
from accompany.errors import InputError
from accompany.training.tasks import TASKS, SemanticTraining
from accompany.training.tune import TuneConfig

SCHEMAS: dict[str, Any] = {name: task.config for name, task in TASKS.items()} | {"tune": TuneConfig}
SCHEMAS |= {name: getattr(importlib.import_module(module), schema) for name, (module, _, schema) in RECIPES.items()}


def fields(schema: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a config, with the type of its value."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from fields(hint, f"{place}{field.name}.")
        else:
            yield f"{place}{field.name}", hint


def load(name: str, *overrides: str) -> Any:
    return load_config(SCHEMAS[name], name, overrides)


KEYS = [(name, key, hint) for name, schema in SCHEMAS.items() for key, hint in fields(schema)]
TEXTS = ["2024_10_05", "007", "runs/take #2", "1e3", "null", "~/a: b", "${HOME}/x", "[a, b", "no"]
PLACES = ("tokens", "run_dir", "bundle", "wandb", "out", "songs", "listener", "judge", "choices", "mert")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_texts_of_every_config_are_taken_as_they_are_given(schema: str) -> None:
    keys = [key for name, key, hint in KEYS if name == schema and hint is str and key in PLACES]
    assert keys
    for first in range(0, len(TEXTS), len(keys)):
        given = dict(zip(keys, TEXTS[first:] + TEXTS, strict=False))
        config = load(schema, *(f"{key}={text}" for key, text in given.items()))
        assert {key: getattr(config, key) for key in keys} == given


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_taken_as_it_is_given(text: str) -> None:
    assert changed(SemanticTraining(), [f"run_dir={text}"]).run_dir == text
    for quoted in (f'"{text}"', f"'{text}'", '""'):
        assert changed(SemanticTraining(), [f"run_dir={quoted}"]).run_dir == quoted[1:-1]


def test_lists_of_texts_are_too() -> None:
    for name in ("mert", "separator", "semantic_codes"):
        assert load(name, "songs=[2024_10_05,007,take #2]").songs == ("2024_10_05", "007", "take #2")
    assert load("spectral_codec", 'songs=["a, b",1_0]').songs == ["a, b", "1_0"]
    assert load("mert", "codec=0_1").codec == "0_1" and load("mert", "codec=null").codec is None


def placed(config: Any, key: str, value: Any) -> Any:
    """The config with a value in it: what `load_config` does to each, but fast."""
    section, _, rest = key.partition(".")
    return dataclasses.replace(config, **{section: placed(getattr(config, section), rest, value) if rest else value})


def test_no_number_of_any_config_may_be_none() -> None:
    """Whether by its own range or because it is not finite."""
    numbers = [(name, key) for name, key, hint in KEYS if hint is float]
    assert len(numbers) > 150
    usual = {name: load(name) for name in SCHEMAS}
    for name, key in numbers:
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises((InputError, ValueError, OverflowError)):
                _check_finite(placed(usual[name], key, value), "")


def test_no_count_or_seed_of_any_training_may_be_negative_or_huge() -> None:
    counts = [(name, key) for name, key, hint in KEYS if hint is int and not key.startswith("model.")]
    usual = {name: load(name) for name in SCHEMAS}
    accepted = []
    for name, key in counts:
        for value in (-1, 10**30):
            try:
                placed(usual[name], key, value)
                accepted.append(f"{name}: {key}={value}")
            except ValueError as error:
                assert key.split(".")[-1] in str(error)
    assert not accepted


@pytest.mark.parametrize(
    ("name", "override", "sentence"),
    [
        ("semantic", "optimizer.lr=.nan", "optimizer.lr must be above 0, not nan"),
        ("listener", "optimizer.betas=[0.9,1.0]", r"optimizer.betas must be at least 0 and below 1, not \(0.9, 1.0\)"),
        ("acoustic", "loading.crop_s=-3", "loading.crop_s must be above 0 and at most 3600, not -3"),
        ("acoustic", "loading.workers=99999", "loading.workers must be at least 0 and at most 256, not 99999"),
        ("tune", "seed=-1", "seed must be at least 0"),
        ("tune", "takes=1", "takes must be at least 2 and at most 1000, not 1"),
        ("clap", "text.lr=0", "text.lr must be above 0, not 0"),
        ("spectral_codec", "decoder.loop.lr=-1", "lr must be above 0, not -1"),
        ("spectral_codec", "shares.mix=.nan", "shares"),
        ("mert", "sources=[0,0,0]", "sources must hold a chance"),
        ("separator", "gain_db=[3,-6]", "gain_db must hold the lowest"),
        ("separator", "loop.steps=0", "loop.steps must be at least 1"),
        ("grids", "crop_s=[10,-2]", r"crop_s must be above 0 and at most 3600, not \[10.0, -2.0\]"),
        ("harmoniser", "workers=1000", "workers must be at least 1 and at most 256, not 1000"),
        ("judge", "remix=1.5", "remix must be at least 0 and at most 1, not 1.5"),
        ("semantic", "tokens=", "tokens must name a folder"),
        ("semantic", "optimizer.lr=[", r"value of optimizer.lr cannot be read: \["),
        ("semantic", "loading=3", "key 'loading' is wrong"),
        ("semantic", "a..b=3", "is not an override"),
        ("semantic", "tokens=???", "no value"),
        ("semantic", "model.decoder.depth=${x}", "key 'model.decoder.depth' is wrong"),
        ("semantic", "precision=float8", "float32, bfloat16"),
    ],
)
def test_what_cannot_be_is_named(name: str, override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as refused:
        load(name, override)
    assert "\n" not in str(refused.value) and ".yaml" not in str(refused.value)


@pytest.mark.parametrize(
    "content", ["optimizer:\n  lr: -1\n", "optimizr:\n  lr: 1\n", "max_steps: many\n", "a: [\n", "3\n"]
)
def test_a_fault_of_a_file_names_the_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    for overrides in ([], ["seed=3"]):
        with pytest.raises(InputError, match=r"mine\.yaml"):
            load_config(SemanticTraining, path, overrides)
    path.write_text("max_steps: 7\n")
    with pytest.raises(InputError) as refused:
        load_config(SemanticTraining, path, ["optimizer.lr=-1"])
    assert "mine.yaml" not in str(refused.value)


def test_numbers_of_files_that_people_send_are_finite() -> None:
    with pytest.raises(InputError, match=r"optimizer\.weight_decay"):
        from_dict(SemanticTraining, json.loads('{"optimizer": {"weight_decay": Infinity}}'))


def test_a_range_without_ends_refuses_what_is_no_number() -> None:
    class Values:
        share = float("nan")

    with pytest.raises(ValueError, match=r"share must be at most 1, not nan"):
        check_range(Values(), "share", most=1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["semantic", "tokens=nosuch://x"], "nosuch"),
        (["judge", "out=nosuch://x"], "out=nosuch://x must name a folder of this machine"),
        (["judge", "out="], "out= must name a folder"),
        (["judge", f"out={'x' * 300}"], "choose another out"),
        (["separator", "out=/dev/null/x"], "choose another out"),
        (["grids", "out=/proc/none"], "choose another out"),
    ],
)
def test_places_that_cannot_be_are_refused(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
