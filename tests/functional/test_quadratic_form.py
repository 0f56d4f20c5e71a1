import torch

from tests.functional.loss_checks import generator_of
from wsss.functional.quadratic_form import quadratic_form


def test_the_form_and_its_slope_are_those_of_the_matrix() -> None:
    half = torch.randn(12, 12, generator=generator_of(0), dtype=torch.double)
    matrix = half + half.T
    values = torch.randn(2, 3, 3, 4, generator=generator_of(1), dtype=torch.double, requires_grad=True)
    filtered = (values.flatten(2) @ matrix).view_as(values)
    form = quadratic_form(values, filtered)
    plain = torch.stack([sum(row @ matrix @ row for row in image.flatten(1)) for image in values])
    torch.testing.assert_close(form, plain)
    weights = torch.tensor([1.0, -2.0], dtype=torch.double)
    torch.testing.assert_close(
        torch.autograd.grad((form * weights).sum(), values), torch.autograd.grad((plain * weights).sum(), values)
    )
