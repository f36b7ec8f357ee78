import gzip

import numpy as np
import pytest

from unlocked.data.files.idx import read_idx
from unlocked.errors import DataError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def refused(path, ndim=3) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, ndim)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_an_idx_file_is_read_gzipped_or_not_whatever_its_name(tmp_path, idx_bytes):
    (tmp_path / "plain.gz").write_bytes(idx_bytes(IMAGES))
    (tmp_path / "zipped").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    assert (read_idx(tmp_path / "plain.gz", 3) == IMAGES).all()
    assert (read_idx(tmp_path / "zipped", 3) == IMAGES).all()


@pytest.mark.parametrize("cut", [0, 3, 9, 20])
def test_a_truncated_idx_file_is_refused(tmp_path, idx_bytes, cut):
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(IMAGES)[:cut])
    assert any(word in refused(path) for word in ("truncated", "not an IDX file"))


def test_a_truncated_gzip_stream_is_refused(tmp_path, idx_bytes):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:-12])
    assert "truncated" in refused(path)


def test_a_damaged_gzip_stream_is_refused(tmp_path, idx_bytes):
    path = tmp_path / "x.gz"
    data = bytearray(gzip.compress(idx_bytes(IMAGES)))
    data[12] ^= 0xFF
    path.write_bytes(bytes(data))
    assert "damaged" in refused(path) or "truncated" in refused(path)


def test_bytes_after_the_array_are_refused(tmp_path, idx_bytes):
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(IMAGES) + b"!")
    assert "too long" in refused(path)


def test_a_header_that_claims_a_huge_array_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    assert "damaged header" in refused(path)


def test_labels_given_for_images_are_refused(tmp_path, idx_bytes):
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(IMAGES[0, 0]))
    assert "with 1 axes" in refused(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"<html>not found</html>")
    assert "not an IDX file" in refused(path)
    assert "cannot be read" in refused(tmp_path / "absent")
