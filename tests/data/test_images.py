import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from torchvision.io import ImageReadMode, decode_image

from tests.data.toys import SHARED, needs_shared
from tests.drawing import picture
from wsss.data.images import fit_size, image_size, read_image, read_label_png, resize_labels
from wsss.errors import DataError


def photo(height: int = 20, width: int = 30) -> PillowImage.Image:
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return PillowImage.fromarray(ramp.astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_a_photograph_is_turned_upright_as_pillow_turns_it(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    photo().save(path, exif=exif)
    upright = ImageOps.exif_transpose(PillowImage.open(path))
    assert np.array_equal(read_image(path).permute(1, 2, 0), np.asarray(upright))
    assert image_size(path) == (upright.height, upright.width)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_the_size_is_known_before_decoding_whatever_shrinks_and_turns_the_image(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path = tmp_path / f"photo.{suffix}"
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    photo(90, 217).save(path, exif=exif)
    for side in (1, 7, 50, 216, 217, 500):
        image = read_image(path, side)
        assert image.shape[1:] == image_size(path, side)
        assert max(image.shape[1:]) == min(side, 217)


@needs_shared
def test_photographs_are_decoded_as_torchvision_decodes_them() -> None:
    for path in sorted((SHARED / "voc21" / "JPEGImages").iterdir())[:20]:
        theirs = decode_image(str(path), mode=ImageReadMode.RGB, apply_exif_orientation=True)
        assert torch.equal(read_image(path), theirs)


def test_sixteen_bits_of_grey_are_scaled_from_their_full_range(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for suffix in ("png", "tif"):
        PillowImage.fromarray(values).save(tmp_path / f"deep.{suffix}")
        grey = read_image(tmp_path / f"deep.{suffix}")
        assert grey.tolist() == [[[0, 1, 128, 255]]] * 3


def test_grey_palette_and_black_and_white_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "1"):
        path = tmp_path / f"{mode}.png"
        photo().convert(mode).save(path)
        expected = np.asarray(PillowImage.open(path).convert("RGB"))
        assert np.array_equal(read_image(path).permute(1, 2, 0), expected)


def test_cmyk_photographs_keep_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    PillowImage.new("RGB", (8, 8), (200, 40, 90)).convert("CMYK").save(path, quality=100)
    # the channels of CMYK are often stored inverted; read wrongly, red would come out as its complement
    assert (read_image(path)[:, 4, 4].int() - torch.tensor([200, 40, 90])).abs().max() <= 6


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "cut_out.png"
    PillowImage.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8)).save(path)
    assert read_image(path)[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_images_of_one_pixel_and_of_24_megapixels_are_read(tmp_path: Path) -> None:
    photo(1, 1).save(tmp_path / "dot.png")
    assert read_image(tmp_path / "dot.png", 2048).shape == (3, 1, 1)
    PillowImage.new("RGB", (6000, 4000), (9, 99, 199)).save(tmp_path / "huge.jpg")
    huge = read_image(tmp_path / "huge.jpg", 2048)
    assert huge.shape == (3, 1365, 2048) == (3, *image_size(tmp_path / "huge.jpg", 2048))
    assert (huge[:, 700, 700].int() - torch.tensor([9, 99, 199])).abs().max() <= 3


def test_images_above_the_limit_of_pillow_are_read_and_the_limit_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(20, 30).save(tmp_path / "photo.png")
    expected = read_image(tmp_path / "photo.png")
    # 600 pixels: above the first Pillow warns, above twice the second it refuses
    for limit in (500, 200):
        monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", limit)
        with ThreadPoolExecutor(4) as threads:
            assert all(torch.equal(image, expected) for image in threads.map(read_image, [tmp_path / "photo.png"] * 32))
        assert limit == PillowImage.MAX_IMAGE_PIXELS
        with pytest.raises(DataError, match="is missing"):
            read_image(tmp_path / "gone.png")
        assert limit == PillowImage.MAX_IMAGE_PIXELS


def test_what_claims_more_pixels_than_memory_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(grey_png(8, width=2**16, height=2**15, row=b""))
    assert image_size(tmp_path / "large.png") == (2**15, 2**16)
    (tmp_path / "bomb.png").write_bytes(grey_png(8, width=2**16, height=2**15 + 1, row=b""))
    with pytest.raises(DataError, match=r"bomb\.png' has 32769 × 65536 pixels .* may have 2147483648; shrink it"):
        image_size(tmp_path / "bomb.png")


def test_a_thin_image_keeps_a_pixel_of_width() -> None:
    assert fit_size((4000, 1), 100) == (100, 1)


def test_an_image_larger_than_asked_for_is_averaged_not_sampled(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    PillowImage.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    assert (read_image(tmp_path / "board.png", 16).float() - 127.5).abs().max() < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(buffer, kind)
    for share in (0.0, 0.1, 0.5, 0.9):
        path = tmp_path / "broken.jpg"
        path.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
        with pytest.raises(DataError, match=r"broken\.jpg' can't be decoded .*replace the file"):
            read_image(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    for reader in (read_image, image_size, read_label_png):
        with pytest.raises(DataError, match=r"gone\.png' is missing"):
            reader(tmp_path / "gone.png")


def test_floating_point_images_are_refused_with_the_cure(tmp_path: Path) -> None:
    PillowImage.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="save it with 8 or 16 bits"):
        read_image(tmp_path / "float.tif")


def test_label_pictures_are_read_by_number_whatever_their_colours(tmp_path: Path) -> None:
    labels = picture("0120", ".b3.")
    grey = PillowImage.fromarray(labels.numpy())
    grey.save(tmp_path / "grey.png")
    grey.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    grey.save(tmp_path / "palette.png")
    for name in ("grey", "palette"):
        assert torch.equal(read_label_png(tmp_path / f"{name}.png"), labels)


@pytest.mark.parametrize(("bits", "row"), [(4, b"\x01\x23"), (2, b"\x1b")])
def test_grey_labels_of_few_bits_keep_their_numbers(tmp_path: Path, bits: int, row: bytes) -> None:
    (tmp_path / "few.png").write_bytes(grey_png(bits, width=4, row=row))
    assert read_label_png(tmp_path / "few.png").tolist() == [[0, 1, 2, 3]]


def grey_png(bits: int, *, width: int, row: bytes, height: int = 1) -> bytes:
    """Write a PNG of one row whose grey has as many bits, which Pillow cannot; its header may claim more rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def test_labels_drawn_in_colours_are_refused(tmp_path: Path) -> None:
    photo().save(tmp_path / "colours.png")
    with pytest.raises(DataError, match=r"colours\.png' stores its labels as RGB.*class numbers, not their colours"):
        read_label_png(tmp_path / "colours.png")


@pytest.mark.parametrize(
    ("mode", "cure"),
    [
        ("1", "convert it to 8-bit grey, with the number of the class where it is 1"),
        ("I;16", "convert it to 8 bits, with class numbers as values"),
        ("LA", "remove its transparency"),
        ("RGBA", "save the class numbers, not their colours"),
    ],
)
def test_labels_of_another_depth_are_refused_with_their_own_cure(tmp_path: Path, mode: str, cure: str) -> None:
    PillowImage.new(mode, (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png' stores its labels as {mode}, .* grey\); {cure}$"):
        read_label_png(tmp_path / "mask.png")


def test_labels_are_resized_to_the_nearest_pixel() -> None:
    labels = picture("0011", "0011", "2233", "2233")
    assert torch.equal(resize_labels(labels, (2, 2)), picture("01", "23"))
    assert torch.equal(resize_labels(picture("01", "23"), (4, 4)), labels)
    assert torch.equal(resize_labels(picture("012"), (1, 1)), picture("1"))
