"""The notebooks run from top to bottom, offline: the quickstart with the bundled model, the others with a small one."""

from pathlib import Path

import pytest
from needs import need

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("peft")

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
MAKES = {
    "quickstart": "quickstart/take.png",
    "evaluate": "evaluate/report/report.json",
    "five_songs": "five_songs/carousel/bundle.json",
    "train_your_own": "train_your_own/mix.wav",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, random_bundle_dir, monkeypatch):
    """In IPython's shell, as a kernel would, but in this process, which has the libraries already."""
    from IPython.core.interactiveshell import InteractiveShell

    need("espeak", "fluidsynth")
    monkeypatch.setenv("ACCOMPANY_QUICK", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    small = [('"tiny"', f'"{random_bundle_dir}"'), ("init=tiny", f"init={random_bundle_dir}"), ("crop_s=6", "crop_s=4")]
    shell = InteractiveShell()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            source = cell.source
            for large, less in [("seconds=10", "seconds=3")] if path.stem == "quickstart" else small:
                source = source.replace(large, less)
            shell.run_cell(source).raise_error()
    assert (tmp_path / MAKES[path.stem]).is_file()
