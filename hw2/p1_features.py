"""The two features of hw2 problem 1, tiny images and bags of SIFT, and the nearest-neighbour classifier that compares them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from tqdm import tqdm

from common.cli import UsageError
from common.data import cache_folder, cached, decoder_version
from common.files import digest
from hw2 import sift
from hw2.p1_data import Scenes

TINY = 16


def tiny_images(scenes: Scenes) -> Tensor:
    """Each image resized to 16 x 16, as a vector of mean 0 and length 1: (N, 256)."""
    small = [
        F.interpolate(image[None, None], (TINY, TINY), mode="bilinear", antialias=True, align_corners=False) for image in scenes.images()
    ]
    vectors = torch.cat(small).flatten(1)
    return F.normalize(vectors - vectors.mean(1, keepdim=True), dim=1)


# ---- bags of SIFT ----


def descriptors(scenes: Scenes, step: int, bin_size: int) -> tuple[Tensor, Tensor]:
    """Dense SIFT of all images: uint8 (M, 128), 512 times the values, and int64 (N,), how many each image has. Kept in the cache folder."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in scenes.files]
    code = Path(sift.__file__).read_text(encoding="utf-8")  # descriptors of an older form are not today's
    key = digest(step, bin_size, stats, code, decoder_version())

    def describe() -> dict:
        found = [
            (sift.dense_sift(image, step, bin_size)[0] * 512).clamp(max=255).to(torch.uint8)
            for image in tqdm(scenes.images(), "dense SIFT", len(scenes), disable=None, leave=False)
        ]
        if any(len(one) == 0 for one in found):
            small = scenes.files[[len(one) for one in found].index(0)]
            raise UsageError(f"{small} is too small for a descriptor, {3 * bin_size + 1} pixels each way; give a smaller --bin-size")
        return {"descriptors": torch.cat(found), "counts": torch.tensor([len(one) for one in found])}

    state = cached(cache_folder() / "sift" / f"{key[:16]}.pt", key, "computing SIFT", describe)
    return state["descriptors"], state["counts"]


def vocabulary(found: Tensor, size: int, seed: int, sample: int = 200_000) -> Tensor:
    """`size` visual words (size, 128): k-means (Sculley, 2010; scikit-learn) of a random sample of descriptors, roots of their values.

    Raises UsageError if there are fewer descriptors, or fewer in the sample, than words.
    """
    chosen = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:sample]
    if len(chosen) < size:
        raise UsageError(f"--vocab-size {size} is more than the {len(chosen)} descriptors it is made of; give a smaller one")
    means = MiniBatchKMeans(size, batch_size=4096, n_init=1, init="random", random_state=seed % 2**32)
    return torch.from_numpy(means.fit(root(found[chosen]).numpy()).cluster_centers_)


def root(found: Tensor) -> Tensor:
    """Descriptors of any scale as roots of their shares, float (M, 128) of length 1: RootSIFT (Arandjelovic and Zisserman, 2012)."""
    return F.normalize(found.float(), p=1, dim=1).sqrt()


def bags(found: Tensor, counts: Tensor, words: Tensor, neighbours: int = 1) -> Tensor:
    """For each image how often each word is among the `neighbours` nearest of its descriptors: (N, words), rows sum to 1."""
    image = torch.arange(len(counts)).repeat_interleave(counts)
    histogram = torch.zeros(len(counts), len(words))
    offset = words.square().sum(1)
    for rows in torch.arange(len(found)).split(4096):  # their distances stay in the processor's cache
        nearest = torch.addmm(offset, root(found[rows[0] : rows[-1] + 1]), words.T, alpha=-2).topk(neighbours, largest=False).indices
        place = (image[rows, None] * len(words) + nearest).flatten()
        histogram.view(-1).index_add_(0, place, torch.ones(len(place)))
    return histogram / histogram.sum(1, keepdim=True)


# ---- nearest neighbours ----


def distances(queries: Tensor, points: Tensor, metric: str) -> Tensor:
    """(Q, N) distances: 'euclidean', 'l1', 'cosine', or 'hellinger' (between the roots of histograms)."""
    if metric == "hellinger":
        return distances(queries.clamp(min=0).sqrt(), points.clamp(min=0).sqrt(), "euclidean")
    if metric == "cosine":
        return 1 - F.normalize(queries, dim=1) @ F.normalize(points, dim=1).T
    return torch.cdist(queries, points, p=1 if metric == "l1" else 2)


def nearest_neighbours(queries: Tensor, points: Tensor, target: Tensor, k: int, metric: str, classes: int) -> Tensor:
    """Labels (Q,) by a majority of the `k` nearest points; a tie goes to the tied class whose nearest member is nearest.

    Raises UsageError if there are fewer points than `k`.
    """
    if k > len(points):
        raise UsageError(f"--k {k} is more than the {len(points)} training images; give a smaller one")
    labels = target[distances(queries, points, metric).topk(k, largest=False).indices]
    one_hot = F.one_hot(labels, classes)
    first = torch.where(one_hot.bool(), torch.arange(k)[None, :, None], k).amin(1)
    return (one_hot.sum(1) * (k + 1) - first).max(1).indices
