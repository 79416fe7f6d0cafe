"""The MNIST loader, on small files that these tests write."""

import gzip

import numpy as np
import pytest

from course_lib import data

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    """An array of bytes as an IDX file's content."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Three training images and two test images, each of 28 × 28."""
    rng = np.random.default_rng(0)
    arrays = (
        rng.integers(0, 256, (3, 28, 28)),
        np.array([7, 0, 9]),
        rng.integers(0, 256, (2, 28, 28)),
        np.array([1, 2]),
    )
    for name, array in zip(FILES, arrays):
        (tmp_path / name).write_bytes(idx(array))
    return tmp_path


def test_images_come_in_0_to_1_with_their_labels(folder):
    raw = np.frombuffer((folder / FILES[0]).read_bytes(), np.uint8, offset=16).reshape(3, 28, 28)
    train, test = data.mnist(folder)
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int64
    assert np.array_equal(train.images, raw.astype(np.float32) / 255)
    assert train.labels.tolist() == [7, 0, 9] and test.labels.tolist() == [1, 2]
    assert test.images.shape == (2, 28, 28)


def test_packed_files_and_a_folder_given_as_text_give_the_same(folder):
    plain, _ = data.mnist(folder)
    for name in FILES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    packed, _ = data.mnist(str(folder))
    assert np.array_equal(plain.images, packed.images) and np.array_equal(plain.labels, packed.labels)


def test_no_image_at_all_is_a_part_too(folder):
    (folder / FILES[2]).write_bytes(idx(np.zeros((0, 28, 28))))
    (folder / FILES[3]).write_bytes(idx(np.zeros(0)))
    assert data.mnist(folder)[1].images.shape == (0, 28, 28)


def test_a_missing_folder_and_a_missing_file_are_named(folder):
    with pytest.raises(FileNotFoundError, match="expected a folder that holds MNIST's four IDX files"):
        data.mnist(folder / "nowhere")
    (folder / FILES[3]).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected {FILES[3]} or {FILES[3]}.gz .* holds t10k-images"):
        data.mnist(folder)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (FILES[1], idx(np.zeros((3, 28, 28))), "expected the magic number 00000801, found '00000803'"),
        (FILES[0], bytes([0, 0, 13, 3]) + bytes(12), "expected the magic number 00000803, found '00000d03'"),
        (FILES[0], b"", "expected the magic number 00000803, found ''"),
        (FILES[0], gzip.compress(b"x"), "it is a gzip file; name it .gz"),
        (FILES[0], bytes([0, 0, 8, 3]) + bytes(5), "expected a header of 16 bytes, the file has 9"),
        (FILES[0], idx(np.zeros((3, 28, 28)))[:-1], "announces 3 × 28 × 28 values of a byte each, but 2,351 bytes"),
        (FILES[0], idx(np.zeros((3, 28, 28))) + b"x", "but 2,353 bytes follow"),
        (FILES[1], idx(np.zeros(4)), "found 3 images and 4 labels in the train files"),
        (FILES[1], idx(np.array([1, 2, 10])), "expected labels from 0 to 9, found 10"),
    ],
    ids=["swapped", "floats", "empty", "packed without .gz", "header cut", "cut", "too long", "counts", "labels"],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_with_the_reason(folder, file, content, said):
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        data.mnist(folder)


@pytest.mark.parametrize("content", [gzip.compress(bytes(5000))[:-6], b"no gzip", b""])
def test_a_broken_gzip_file_is_refused(folder, content):
    (folder / FILES[0]).unlink()
    (folder / f"{FILES[0]}.gz").write_bytes(content)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz"):
        data.mnist(folder)
