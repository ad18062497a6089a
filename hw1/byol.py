"""BYOL: Bootstrap Your Own Latent (Grill et al., 2020), in the paper's words.

The online network (encoder, projector, predictor) learns to predict, from one view of an image, what the target network (encoder and
projector) makes of another. The target has no gradient: its parameters are a moving average of the online ones.

Batch norm: each view is a batch of its own. The target network stays in training mode, so it normalises by its batch's statistics, as in
the paper's code; the moving average covers parameters alone, and the target's running statistics, of its own passes, are never used.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DECAY = 0.99  # of the moving average


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The projector and the predictor: linear, batch norm, ReLU, linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))


def regression_loss(prediction: Tensor, projection: Tensor) -> Tensor:
    """2 - 2 cos between rows of (N, D): the squared distance of the normalised vectors, (N,) in 0 to 4."""
    return 2 - 2 * F.cosine_similarity(prediction.float(), projection.float())


class BYOL(nn.Module):
    """Two networks around an encoder: images (N, 3, H, W) to representations (N, dim)."""

    def __init__(self, encoder: nn.Module, dim: int, projection: int = 256, hidden: int = 4096):
        super().__init__()
        self.online_encoder = encoder
        self.online_projector = mlp(dim, hidden, projection)
        self.online_predictor = mlp(projection, hidden, projection)
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.online_projector).requires_grad_(False)

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """The mean symmetric loss, 0 to 8, of two views (N, 3, H, W) of the same images."""
        projection1, projection2 = self.project(view1), self.project(view2)
        return (regression_loss(self.predict(view1), projection2) + regression_loss(self.predict(view2), projection1)).mean()

    def predict(self, view: Tensor) -> Tensor:
        """The online network's prediction, (N, projection)."""
        return self.online_predictor(self.online_projector(self.online_encoder(view)))

    @torch.no_grad()
    def project(self, view: Tensor) -> Tensor:
        """The target network's projection, (N, projection)."""
        return self.target_projector(self.target_encoder(view))

    @torch.no_grad()
    def update_target(self, decay: float = DECAY) -> None:
        """target = decay * target + (1 - decay) * online, for every parameter; to be called after each optimiser step."""
        online = [*self.online_encoder.parameters(), *self.online_projector.parameters()]
        target = [*self.target_encoder.parameters(), *self.target_projector.parameters()]
        torch._foreach_lerp_(target, online, 1 - decay)


def identical(view1: Tensor, view2: Tensor) -> Tensor:
    """Which images (N,) have two views alike in every value: such a pair teaches nothing."""
    return (view1 == view2).flatten(1).all(1)


def collapse(representation: Tensor) -> dict[str, float]:
    """The signs of a collapse in representations (N, D).

    `spread` is the standard deviation of the normalised vectors over the images, mean over the dimensions, times sqrt(D): about 1 where
    they point in all directions, 0 where they are all alike (Chen and He, 2021). `dead` is the share of dimensions that do not vary.
    """
    deviation = F.normalize(representation, dim=1).std(0)
    return {"spread": float(deviation.mean()) * representation.shape[1] ** 0.5, "dead": float((deviation < 1e-6).float().mean())}
