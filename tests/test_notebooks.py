"""The notebooks run from top to bottom with the bundled model, offline."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCOMPANY_QUICK", "1")
    if name == "five_songs.ipynb":
        for package in ("peft", "fluidsynth", "espeakng_loader"):
            pytest.importorskip(package)
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert all("outputs" in cell for cell in notebook.cells if cell.cell_type == "code")
