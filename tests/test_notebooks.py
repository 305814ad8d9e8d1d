"""The notebooks run from top to bottom with the bundled model, offline."""

from pathlib import Path

import pytest
from needs import need

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

NEEDED = {"sung_sample(": ("espeak",), "synthesise(": ("espeak", "fluidsynth")}
"""What the functions that notebooks call need."""

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCOMPANY_QUICK", "1")
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    need(*(each for word, needed in NEEDED.items() if word in source for each in needed))
    if name == "five_songs.ipynb":
        pytest.importorskip("peft")
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert all("outputs" in cell for cell in notebook.cells if cell.cell_type == "code")
