"""Models put together from parts by the command line."""

import pytest

from accompany.cli import main


def test_a_model_from_another_with_one_part_replaced(random_bundle_dir, tmp_path, capsys):
    out = tmp_path / "mine"
    semantic = random_bundle_dir / "semantic"
    assert main(["bundle", str(out), "--from", str(random_bundle_dir), f"semantic={semantic}", "--license", "MIT"]) == 0
    from accompany.models.pretrained import read_bundle

    info = read_bundle(out)
    assert info.name == "mine"
    assert {part.name for part in info.parts} == {part.name for part in read_bundle(random_bundle_dir).parts}
    assert info.part("semantic").license == "MIT"
    assert info.part("codec").license == read_bundle(random_bundle_dir).part("codec").license


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs parts"),
        (["semantics=runs"], "did you mean 'semantic'"),
        (["semantic=nowhere"], "no config.json"),
        (["--from", "nowhere"], "no model 'nowhere'"),
    ],
)
def test_what_cannot_be_put_together_is_refused_in_one_sentence(arguments, says, tmp_path, capsys):
    out = tmp_path / "mine"
    assert main(["bundle", str(out), *arguments]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert "Traceback" not in message
    assert not out.exists()
