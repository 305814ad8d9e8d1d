"""The notebooks run from top to bottom, offline: the quickstart with the bundled model, the others with a small one."""

from pathlib import Path

import pytest
from needs import need

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("peft")

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def test_notebooks_run(tmp_path, random_bundle_dir, monkeypatch):
    """One after the other in one kernel, whose start and libraries take longest; each begins without names."""
    need("espeak", "fluidsynth")
    monkeypatch.setenv("ACCOMPANY_QUICK", "1")
    together = nbformat.v4.new_notebook()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        together.cells.append(nbformat.v4.new_code_cell("%reset -f"))
        for cell in notebook.cells:
            if cell.cell_type == "code" and path.stem == "quickstart":
                cell.source = cell.source.replace("seconds=10", "seconds=3")
            elif cell.cell_type == "code":
                for large, small in (('"tiny"', f'"{random_bundle_dir}"'), ("init=tiny", f"init={random_bundle_dir}"),
                                     ("crop_s=6", "crop_s=4")):  # fmt: skip
                    cell.source = cell.source.replace(large, small)
            together.cells.append(cell)
    client = nbclient.NotebookClient(together, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    wanted = "quickstart/take.png evaluate/report/report.json five_songs/carousel/bundle.json train_your_own/mix.wav"
    assert made >= set(wanted.split())
