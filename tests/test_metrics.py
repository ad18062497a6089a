"""common/metrics.py against results by hand."""

import pytest
import torch

from common.metrics import accuracy, confusion_matrix
from hw1.p1_embedding import knn_accuracy, silhouette


def test_accuracy_and_confusion():
    predicted, target = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2])
    assert accuracy(predicted, target) == 0.75
    assert confusion_matrix(predicted, target, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_neighbours_leave_the_point_itself_out():
    points, target = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [0.15]]), torch.tensor([0, 0, 0, 1, 1, 1])
    assert knn_accuracy(points, target, k=1) == pytest.approx(3 / 6)  # 0.1 and 0.2 have the stray point nearest, which has one of them
    apart = torch.cat([torch.randn(30, 2), torch.randn(30, 2) + 100])
    assert knn_accuracy(apart, torch.arange(60) // 30) == 1
    assert silhouette(apart, torch.arange(60) // 30) > 0.9 and silhouette(apart, torch.arange(60) % 2) < 0.1
