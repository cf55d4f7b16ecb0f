"""A convolution of one place at a time, as the product of matrices that it is: CPUs are slow to see that."""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Pointwise(nn.Module):
    """A 1 x 1 convolution with a bias, of pictures with channels last: (N, C, H, W) to (N, D, H, W)."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.flatten(1))  # (D, C)
        self.bias = convolution.bias

    def forward(self, pictures: Tensor) -> Tensor:
        """Return what each place says."""
        return F.linear(pictures.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)
