"""Numbers that several scripts report."""

import statistics
from collections.abc import Iterable

import torch
from torch import Tensor


def mean_and_spread(values: Iterable[float]) -> dict[str, float]:
    """The mean of two numbers or more, how many there are, their standard deviation, and the mean's standard error."""
    values = [*map(float, values)]
    deviation = statistics.stdev(values)
    return {"count": len(values), "mean": statistics.fmean(values), "sd": deviation, "standard error": deviation / len(values) ** 0.5}


def accuracy(predicted: Tensor, target: Tensor) -> float:
    """The share of equal entries of two label tensors (N,), 0 to 1."""
    return (predicted == target).double().mean().item()


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes), int64, each below 2**24: row = true class, column = predicted class."""
    pairs = (target * classes + predicted).float()
    return torch.histc(pairs, classes**2, -0.5, classes**2 - 0.5).long().view(classes, classes)  # bincount makes the host wait for a GPU


NO_CORRELATION = "values that are all alike have no rank correlation"


def rank_correlation(values: Tensor, others: Tensor) -> float | None:
    """Spearman's rank correlation of two vectors (N,), -1 to 1, by scipy; None where one of them has N equal values."""
    from scipy.stats import spearmanr

    if len(values.unique()) < 2 or len(others.unique()) < 2:
        return None
    return float(spearmanr(values.numpy(), others.numpy()).statistic)
