"""Progress in Python: lines on a stream, one cell that is drawn again in a notebook."""

import sys
import types

from unlocked import Progress, train


def test_a_line_for_each_epoch_outside_a_notebook(small, capsys):
    train(small("train.epochs=2"), reporter=Progress())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mlp on digits under cdni, seed 0"
    assert [line.split("  ")[0] for line in lines[1:]] == ["epoch 1", "epoch 2"]
    assert "val/accuracy" in lines[1]


def test_one_cell_is_drawn_again_in_a_notebook(small, capsys, monkeypatch):
    shown = []

    class Cell:
        def update(self, content):
            shown.append(content)

    def display(content, display_id):
        shown.append(content)
        return Cell()

    shell = types.ModuleType("IPython")
    shell.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    shell.display = types.ModuleType("IPython.display")
    shell.display.HTML, shell.display.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", shell.display)
    progress = Progress()
    progress.note("<b>careful</b>")
    train(small("train.epochs=2"), reporter=progress)
    assert capsys.readouterr().out == ""
    assert "loading data" in " ".join(shown)
    assert "&lt;b&gt;careful" in shown[-1]
    assert 'value="40" max="40"' in shown[-1] or "val/accuracy" in shown[-1]
