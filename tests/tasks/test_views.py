import torch

from wsss.tasks.views import quarter, views_of


def test_each_scale_is_one_batch_with_the_mirrored_images_last() -> None:
    images = torch.arange(2 * 3 * 4 * 8.0).view(2, 3, 4, 8)
    (same, mirrored), (half, _) = views_of(images, (1.0, 0.5), flip=True)
    assert mirrored == [False, True]
    assert torch.equal(same, torch.cat([images, images.flip(-1)]))
    assert half.shape == (4, 3, 2, 4)


def test_without_flip_there_is_one_part_and_no_size_falls_below_a_pixel() -> None:
    ((tiny, mirrored),) = views_of(torch.rand(1, 3, 1, 5), (0.25,), flip=False)
    assert tiny.shape == (1, 3, 1, 1)
    assert mirrored == [False]


def test_a_quarter_is_rounded_up() -> None:
    assert quarter(torch.zeros(1, 3, 1, 5)) == (1, 2)
    assert quarter(torch.zeros(1, 3, 64, 66)) == (16, 17)
