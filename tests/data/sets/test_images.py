"""Images from folders: sizes, colours and 16 bits come in right, and every fault names its file."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from unlocked.data.media import image_files
from unlocked.data.media.image_files import Recipe, header, pixels
from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError
from unlocked.tasks import load


@pytest.fixture
def pictures(tmp_path):
    """`pictures(folder)`: ten images of 6 x 4 pixels in each of two classes; cats are darker than dogs."""

    def make(folder="pictures", classes=("cat", "dog"), count=10):
        for c, name in enumerate(classes):
            (tmp_path / folder / name).mkdir(parents=True)
            for i in range(count):
                image = np.full((4, 6, 3), 100 * c + i, np.uint8)
                Image.fromarray(image).save(tmp_path / folder / name / f"{i}.png")
        return tmp_path / folder

    return make


def test_a_folder_for_each_class_is_a_set(pictures):
    folder = pictures()
    data = load("images", file=str(folder), normalise=False)
    assert (data.in_shape, data.class_names) == ((3, 4, 6), ["cat", "dog"])
    assert (len(data.train), len(data.test)) == (16, 4)
    darker = data.train.x[data.train.y == 0].max() < data.train.x[data.train.y == 1].min()
    assert darker
    assert data.train.y.bincount().tolist() == [8, 8]
    assert load("images", file=str(folder), folds=5, fold=1).test.y.bincount().tolist() == [2, 2]


def test_a_name_in_the_data_folder_is_found(pictures, tmp_path):
    pictures()
    assert len(load("images", root=tmp_path, file="pictures", test=0.5).test) == 10


def test_folders_of_splits_say_what_is_the_test_split(pictures, tmp_path):
    for part, count in (("train", 6), ("val", 2), ("test", 3)):
        pictures(f"all/{part}", count=count)
    data = load("images", file=str(tmp_path / "all"), validation=0.5)
    assert data.validation is not None
    assert [len(each) for each in (data.train, data.validation, data.test)] == [12, 4, 6]
    with pytest.raises(DataError, match=r"data.options.folds: .*all has its own folders train and test"):
        load("images", file=str(tmp_path / "all"), folds=3)


def test_a_test_split_may_lie_in_a_folder_of_its_own(pictures):
    data = load("images", file=str(pictures()), test=str(pictures("more", count=3)), validation=0.1)
    assert (len(data.train), len(data.test)) == (18, 6)
    with pytest.raises(DataError, match=r"fox/0.png: is of the class 'fox', which no training file is of"):
        load("images", file=str(pictures("a")), test=str(pictures("b", classes=("cat", "fox"))))


def test_images_of_several_sizes_need_one(pictures, tmp_path):
    folder = pictures()
    Image.new("L", (30, 20)).save(folder / "cat" / "large.png")
    with pytest.raises(DataError, match=r"images have 2 sizes, such as 6 x 4 pixels and 30 x 20 \(.*large.png\); name"):
        load("images", file=str(folder))
    assert load("images", file=str(folder), size=8).in_shape == (3, 8, 8)
    assert load("images", file=str(folder), size=[8, 5], color="grey").in_shape == (1, 8, 5)


def test_crop_stretch_and_pad_are_so(tmp_path):
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")

    def seen(fit):
        return pixels(tmp_path / "wide.png", Recipe(4, 4, "grey", fit))[0]

    assert (seen("crop") == 255).all()
    assert seen("stretch")[:, 1:3].min() > 200  # its edges are blended
    assert seen("stretch")[:, 0].max() < 50
    assert seen("pad")[0].max() == 0
    assert seen("pad")[1:3].max() > 200


def test_sixteen_bits_of_grey_are_not_cut_off(tmp_path):
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        assert header(tmp_path / name).deep
        exact = pixels(tmp_path / name, Recipe(1, 4, "grey", deep=True))
        np.testing.assert_allclose(exact[0], deep / 65535, rtol=1e-6)
        assert pixels(tmp_path / name, Recipe(1, 4, "grey"))[0].tolist() == [[0, 1, 128, 255]]
    for c in "ab":
        (tmp_path / "set" / c).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(deep + np.uint16(i)).save(tmp_path / "set" / c / f"{i}.png")
    data = load("images", file=str(tmp_path / "set"), normalise=False)
    assert data.in_shape == (1, 1, 4)
    assert data.train.x.unique().numel() > 4 * 3  # 8 bits would make all images one


def test_transparent_pixels_lie_on_white_and_photographs_stand_upright(tmp_path):
    clear = np.zeros((1, 2, 4), np.uint8)
    clear[0, 1] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert pixels(tmp_path / "clear.png", Recipe(1, 2)).transpose(1, 2, 0).tolist() == [[[255] * 3, [10, 20, 30]]]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "turned.png", exif=exif)
    assert (header(tmp_path / "turned.png").height, header(tmp_path / "turned.png").width) == (2, 1)
    assert pixels(tmp_path / "turned.png", Recipe(2, 1, "grey"))[0].tolist() == [[0], [255]]


def test_new_images_of_any_size_are_read_as_those_of_training(pictures, tmp_path):
    folder = pictures()
    Image.new("RGB", (30, 20), (9, 9, 9)).save(folder / "cat" / "large.png")
    data = load("images", file=str(folder), size=5, test=0.3)
    reading = Reading.of(data)
    reading.write(tmp_path)
    again = Reading.read(tmp_path)
    assert again is not None
    new = read_file(folder, again)
    assert new.names is not None
    assert new.names[-1] == "dog/9.png"
    every = torch.cat([data.train.x, data.test.x])
    assert all((every == x).flatten(1).all(1).any() for x in new.x)
    with pytest.raises(DataError, match=r"inputs.json: files: of no data set of images"):
        read_file(folder, Reading.of(data).__class__(**{**vars(again), "files": {"kind": "images", "height": "5"}}))


def _broken(folder):
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])


def _empty(folder):
    (folder / "dog" / "3.png").write_bytes(b"")


def _outside(folder):
    (folder.parent / "secret.png").write_bytes((folder / "dog" / "3.png").read_bytes())
    (folder / "dog" / "link.png").symlink_to(folder.parent / "secret.png")


def _folder_outside(folder):
    (folder.parent / "elsewhere").mkdir()
    (folder / "elsewhere").symlink_to(folder.parent / "elsewhere")


def _folder_inside(folder):
    (folder / "again").symlink_to(folder / "cat")


def _train_alone(folder):
    (folder / "train").mkdir()
    for name in ("cat", "dog"):
        (folder / name).rename(folder / "train" / name)


def _beside(folder):
    (folder / "dog" / "3.png").rename(folder / "lost.png")


def _no_class(folder):
    (folder / "fox").mkdir()


def _one_class(folder):
    (folder / "cat").rename(folder.parent / "cat")


def _postscript(folder):
    (folder / "dog" / "3.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_broken, r"cat/0.png: cannot be read as an image: "),
        (_empty, r"dog/3.png: is empty$"),
        (_outside, r"dog/link.png: leads out of .*pictures, to .*secret.png"),
        (_folder_outside, r"pictures/elsewhere: leads out of "),
        (_folder_inside, r"pictures/again: is a link to a folder; put the files themselves there"),
        (_train_alone, r"pictures: has folders of splits \(train\), and no images in test"),
        (_beside, r"lost.png: lies in .*pictures itself; images lie in a folder for each class"),
        (_no_class, r"pictures/fox: is the folder of a class, and has no images"),
        (_one_class, r"all images are of one class, 'dog'; there have to be two"),
        (_postscript, r"dog/3.png: cannot be read as an image"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(harm, said, pictures):
    folder = pictures()
    harm(folder)
    with pytest.raises(DataError, match=said) as refused:
        load("images", file=str(folder))
    assert "\n" not in str(refused.value)


def test_what_is_too_large_is_refused_before_it_is_unpacked(pictures, monkeypatch):
    folder = pictures()
    monkeypatch.setattr(image_files, "MOST_PIXELS", 23)
    with pytest.raises(DataError, match=r"cat/0.png: is 6 x 4 pixels; up to 23 are read"):
        load("images", file=str(folder))
    monkeypatch.undo()
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**6))
    with pytest.raises(DataError, match=r"20 images of 3 x 4096 x 4096 values take 10.1 GB, and 0.0 GB of memory"):
        load("images", file=str(folder), size=4096)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "data.options.size: must be a number of pixels from 1 to 4096"),
        ({"size": [1, 2, 3]}, "data.options.size: must be a number of pixels"),
        ({"fit": "crob"}, "data.options.fit: .*did you mean 'crop'"),
        ({"color": "blue"}, "data.options.color: "),
        ({"file": "lost"}, "data.options.file: lost is not there, here or in"),
        ({"group": "patient"}, "data.options.group: names a column, and a folder has none"),
    ],
)
def test_options_that_cannot_be_are_one_line(options, said, pictures):
    with pytest.raises(DataError, match=said):
        load("images", **{"file": str(pictures()), **options})


@pytest.fixture
def listed(pictures, tmp_path):
    """`listed(rows)`: a table of files beside the pictures."""
    pictures()

    def write(rows, heads="file,label,patient,age", name="list.csv"):
        (tmp_path / name).write_text("\n".join([heads, *rows]))
        return str(tmp_path / name)

    return write


ROWS = [f"pictures/{c}/{i}.png,{c},{i},{10 * i}" for c in ("cat", "dog") for i in range(10)]


def test_a_table_names_the_files_their_classes_and_their_groups(listed, tmp_path):
    data = load("images", file=listed(ROWS), group="patient", test=0.3)
    assert (data.class_names, len(data.train), len(data.test)) == (["cat", "dog"], 14, 6)
    assert data.test.y.bincount().tolist() == [3, 3]  # both pictures of three patients
    values = load("images", file=listed(ROWS), target="age", task="regression")
    assert values.task == "regression"
    assert values.class_names == ["age"]
    (tmp_path / "more").mkdir()
    more = listed(ROWS[:4] + ROWS[-2:], name="more.csv")
    assert len(load("images", file=listed(ROWS), test=more).test) == 6


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("pictures/cat/99.png,cat,1,1", r"list.csv, row 21: the file pictures/cat/99.png is not in "),
        ("../outside.png,cat,1,1", r"list.csv, row 21: ../outside.png leads out of "),
        (",cat,1,1", r"list.csv, row 21: file is missing"),
        ("pictures/cat/1.png,,1,1", r"list.csv, row 21: label is missing"),
        ("pictures/cat/1.png,cow,1,1", r"list.csv, row 21: the only one with label 'cow'|label cow"),
        ("list.csv,cat,1,1", r"list.csv, row 21: list.csv is none of the images"),
    ],
)
def test_a_fault_in_a_table_of_files_names_its_row(row, said, listed, tmp_path):
    (tmp_path.parent / "outside.png").write_bytes(b"")
    with pytest.raises(DataError, match=said):
        load("images", file=listed([*ROWS, row]))
    with pytest.raises(DataError, match=r"data.options.path: .*list.csv has no column 'image'"):
        load("images", file=listed(ROWS), path="image")
    with pytest.raises(DataError, match=r"data.options.task: folders are classes"):
        load("images", file=str(tmp_path / "pictures"), task="regression")
