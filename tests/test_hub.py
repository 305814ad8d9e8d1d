"""Models on the hub: upload with a card, loading by id, and what is refused, against a local stand-in of its API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_server
import numpy as np
import pytest
from conftest import sing
from hub_server import TOKEN, USER, Hub

import accompany
from accompany import audio
from accompany.cli import main
from accompany.errors import InputError
from accompany.models.card import CardFacts, model_card
from accompany.models.pretrained import find_bundle, list_bundles, read_bundle

REPO = f"{USER}/my_model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A local hub, with a token, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub").constants
    with hub_server.serving() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.chdir(tmp_path)
        yield running


@pytest.fixture
def model(random_bundle_dir: Path, tmp_path: Path) -> Path:
    """A model with what does not belong on the hub beside it."""
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "my_model"))
    for path in (".secret", "notes.txt", "codec/.DS_Store", "codec/model.safetensors.part"):
        (folder / path).write_text("private")
    return folder


def push(hub: Hub, *words: str) -> int:
    return main(["push", "my_model", REPO, *words])


def test_a_model_goes_up_with_its_card_and_comes_down_by_its_id(hub: Hub, model: Path, band, capsys) -> None:
    audio.write("mix.wav", sing(0.5), 44100)
    assert push(hub, "--data", "Forty songs of mine.", "--examples", "mix.wav") == 0
    assert f"{hub.address}/{REPO}" in capsys.readouterr().err
    there = hub.models[REPO]
    own = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    left_out = {".secret", "notes.txt", "codec/.DS_Store", "codec/model.safetensors.part"}
    assert set(there.files) == own - left_out | {"README.md", "examples/mix.wav"} and not there.private
    assert all(there.files[place] == (model / place).read_bytes() for place in own - left_out)
    card = there.files["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: accompany\n")
    assert "Forty songs of mine." in card and "| semantic |" in card and f"--model {REPO}" in card
    assert f'src="{hub.address}/{REPO}/resolve/main/examples/mix.wav"' in card

    take = accompany.load(REPO, device="cpu").generate((sing(1.0), 44100), "piano", seed=3)
    expected = band.generate((sing(1.0), 44100), "piano", seed=3)
    np.testing.assert_array_equal(take.samples, expected.samples)
    assert not any("examples" in request for request in hub.requests if request.startswith("GET"))
    hub.refused["/"] = 500  # from the cache
    assert find_bundle(REPO).is_dir()


def test_a_private_model_is_seen_by_its_owner_alone(hub: Hub, model: Path, monkeypatch) -> None:
    assert push(hub, "--private") == 0 and hub.models[REPO].private
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(InputError, match="no model 'singer/my_model' that you may read"):
        find_bundle(REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert find_bundle(REPO).is_dir()
    assert push(hub) == 0 and len(hub.models[REPO].commits) == 3  # a second version


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["my_model", "a/b/c"], "'a/b/c' is no name on the hub"),
        (["my_model", "name"], "give owner/name"),
        (["nowhere", REPO], "There is no model 'nowhere'"),
        (["my_model", REPO, "--examples", "my_model/bundle.json"], "is no sound file"),
        (["my_model", REPO, "--examples", "none.wav"], "none.wav"),
        (["my_model", REPO, "--card", "none.md"], "none.md cannot be read"),
        (["my_model", REPO, "--report", "my_model"], "report.md cannot be read"),
        (["my_model", "another/my_model"], "The hub refused 'another/my_model' (403 Forbidden"),
    ],
)
def test_what_cannot_be_uploaded_is_one_sentence(words: list[str], says: str, hub: Hub, model: Path, capsys) -> None:
    assert main(["push", *words]) == 2
    stderr = capsys.readouterr().err
    assert says in stderr and stderr.count("\n") == 1 and not hub.models


def test_without_a_token_nothing_is_asked(hub: Hub, model: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "no_such_file")
    assert push(hub) == 2
    stderr = capsys.readouterr().err
    assert "set HF_TOKEN" in stderr and stderr.count("\n") == 1 and not hub.requests


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/repos", 401, "The hub refused"),
        ("/lfs/", 403, "failed (Error while uploading"),
        (f"/api/models/{REPO}/commit", 507, "The hub refused"),
    ],
)
def test_an_upload_that_breaks_off_leaves_no_file(path, status, says, hub: Hub, model: Path, capsys) -> None:
    hub.refused[path] = status
    assert push(hub) == 2
    stderr = capsys.readouterr().err
    assert says in stderr and len([line for line in stderr.splitlines() if "%|" not in line and line]) == 1
    assert not hub.models or not hub.models[REPO].files


def test_the_command_takes_the_hub_and_the_token_from_the_environment(hub: Hub, model: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "accompany", "push", "my_model", REPO]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bundle.json" in hub.models[REPO].files


def test_the_card_of_the_author_stays_and_gaps_are_filled(random_bundle_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "model"))
    mine = "---\nlicense: mit\n---\n# Mine\n\n## Parts\n\nOf wood.\n\n## Data\n\nOld.\n\n## Limits\n\nMany.\n"
    (folder / "README.md").write_text(mine)
    (tmp_path / "report.md").write_text("# random: 8 clips of 10 s\n\n## Prompt\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    facts = CardFacts(data="New.", report=tmp_path)
    card = model_card(read_bundle(folder), REPO, "https://hub/x", facts)
    assert card.startswith("---\nlicense: mit\nlibrary_name: accompany\n") and card.count("license") == 1
    assert "Of wood." in card and "| semantic |" not in card and "Many." in card
    assert "New." in card and "Old." not in card and card.count("## Data") == 1
    assert "## Metrics\n\nBy `accompany evaluate`, 8 clips of 10 s.\n" in card and "\n### Prompt\n" in card
    (tmp_path / "report.md").write_text("# other: 8 clips of 10 s\n")
    with pytest.raises(InputError, match="is of other, not of random"):
        model_card(read_bundle(folder), REPO, "", facts)
    with pytest.raises(InputError, match=r"Two examples are named A\.wav"):
        for name in ("a/A.wav", "b/a.wav"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
        CardFacts(examples=(tmp_path / "a/A.wav", tmp_path / "b/a.wav"))


def test_parts_with_licences_of_their_own_are_told(random_bundle_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "model"))
    content = json.loads((folder / "bundle.json").read_text())
    content["parts"]["mert"]["license"] = "CC-BY-NC-4.0"
    (folder / "bundle.json").write_text(json.dumps(content))
    card = model_card(read_bundle(folder), REPO, "", CardFacts())
    assert "\nlicense: other\nlicense_name: apache-2.0-and-cc-by-nc-4.0\n" in card and "| CC-BY-NC-4.0 |" in card
    assert "has not said what it was trained on" in card


def test_the_bundled_card_needs_only_its_use(tmp_path: Path) -> None:
    for name in list_bundles():
        info = read_bundle(find_bundle(name))
        card = model_card(info, REPO, "", CardFacts())
        assert card.count("## Data") == card.count("## Parts") == 1 and "## Use" in card


def test_the_space_serves_behind_the_port_of_the_hub() -> None:
    pytest.importorskip("fastapi")
    from accompany.commands.parser import build_parser
    from accompany.serve.limits import Address

    folder = Path(__file__).parents[1] / "integrations" / "space"
    command = next(line for line in (folder / "Dockerfile").read_text().splitlines() if line.startswith("CMD "))
    words = json.loads(command.removeprefix("CMD "))
    assert words[:2] == ["accompany", "serve"]
    args = build_parser(words[1:]).parse_args(words[1:])
    address = Address(args.host, args.port, args.token, args.open, args.embed or "")
    assert not address.local and not address.token and address.embed == "https://huggingface.co"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "\nsdk: docker\n" in card and f"\napp_port: {address.port}\n" in card
