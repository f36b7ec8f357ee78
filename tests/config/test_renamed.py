"""Old keys of a configuration are accepted for one version, and say their present names."""

from __future__ import annotations

import warnings

import pytest

from unlocked.cli.main import main
from unlocked.config import from_tree, load_config, to_dict
from unlocked.errors import ConfigError
from unlocked.schema.renamed import RenamedKey


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["parallel.stages=3"], ["parallel.modules=3"]),
        (["parallel.launcher=ray"], ["parallel.engine=ray"]),
        (
            ["scheme.name=backprop", "parallel.stages=2", "parallel.schedule=interleaved"],
            ["scheme.name=backprop", "parallel.modules=4", "parallel.schedule=interleaved"],
        ),
        (
            [
                "scheme.name=backprop",
                "parallel.stages=2",
                "parallel.virtual_stages=3",
                "parallel.microbatches=2",
                "parallel.schedule=interleaved",
            ],
            [
                "scheme.name=backprop",
                "parallel.modules=6",
                "parallel.modules_per_worker=3",
                "parallel.microbatches=2",
                "parallel.schedule=interleaved",
            ],
        ),
        (
            ["scheme.name=dfa", "parallel.virtual_stages=2"],  # of the preset's two workers
            ["scheme.name=dfa", "parallel.modules=4", "parallel.modules_per_worker=2"],
        ),
        (
            ["sweep.space={modules: {choice: {two: {parallel.stages: 2}, four: {parallel.stages: 4}}}}"],
            ["sweep.space={modules: {choice: {two: {parallel.modules: 2}, four: {parallel.modules: 4}}}}"],
        ),
        (
            ["sweep.space.parallel.stages=[1, 2]", "sweep.plot.x=parallel.stages"],
            ["sweep.space.parallel.modules=[1, 2]", "sweep.plot.x=parallel.modules"],
        ),
    ],
)
def test_an_old_key_is_read_as_the_present_one(old, new):
    with pytest.warns(RenamedKey, match=r"^command line: parallel\.\w+ is now parallel\.\w+; "):
        found = load_config("quickstart", old)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedKey)
        assert found == load_config("quickstart", new)


def test_an_old_file_is_read_too(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text("extends: quickstart\nparallel: {stages: 4, partition: [1, 1, 1, 2], launcher: inprocess}\n")
    with pytest.warns(RenamedKey):
        config = load_config(file)
    assert (config.parallel.modules, config.parallel.partition, config.parallel.engine) == (
        4,
        [1, 1, 1, 2],
        "inprocess",
    )


def test_the_configuration_of_an_old_run_folder_is_read():
    tree = to_dict(load_config("quickstart"))
    parallel = tree["parallel"]
    parallel |= {"stages": parallel.pop("modules"), "virtual_stages": parallel.pop("modules_per_worker")}
    parallel["launcher"] = parallel.pop("engine")
    with warnings.catch_warnings():  # nobody is to change that file
        warnings.simplefilter("error", RenamedKey)
        assert from_tree(tree) == load_config("quickstart")


def test_a_key_under_both_names_is_refused():
    with pytest.raises(ConfigError, match=r"^command line: parallel\.modules is given twice, once by its old name"):
        load_config("quickstart", ["parallel.stages=2", "parallel.modules=4"])


def test_the_command_line_says_it_in_one_line(capsys):
    assert main(["train", "quickstart", "parallel.stages=2", "--print-config"]) == 0
    out, err = capsys.readouterr()
    assert "modules: 2" in out
    assert err == (
        "unlocked: note: command line: parallel.stages is now parallel.modules; the old name is accepted in this "
        "version alone\n"
    )
