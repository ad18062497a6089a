"""CATR (saahiluppal/catr, 2020): an image's features through a transformer encoder, a caption word by word from its decoder.

Module names are those of its published checkpoints, which load without renaming. The decoder keeps every token's keys and values, so that
one step's work is one token, and gives the cross-attention of each step, which the figures show.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet101
from torchvision.ops import FrozenBatchNorm2d

from common import checkpoints, setup

PAD = 0


@dataclass(frozen=True)
class Config:
    """Sizes of a network; the default is the published one. `side` is the longer side of the input in pixels.

    `start` and `end` are the word pieces [CLS] and [SEP] of its vocabulary, by default BERT's. The encoder has as many layers as the
    decoder, or `encoder`. With `tied` the word pieces' embeddings are also what the logits are products with.
    """

    body: str = "resnet101"
    width: int = 256
    heads: int = 8
    layers: int = 6
    feedforward: int = 2048
    positions: int = 128
    vocab: int = 30522
    dropout: float = 0.1
    side: int = 299
    start: int = 101
    end: int = 102
    encoder: int | None = None
    tied: bool = False


ARCHES = {
    "full": Config(),
    "small": Config("small", width=128, heads=4, layers=2, feedforward=256, positions=64, dropout=0.0, side=96),
    "lite0": Config("lite0", layers=3, encoder=1, feedforward=512, positions=64, dropout=0.2, side=224, tied=True),
}


# ---- the image ----


class ResNet101(nn.Module):
    """torchvision's ResNet-101 without its head, batch norm frozen, layer 4 dilated: (N, 3, H, W) -> (N, 2048, H / 16, W / 16)."""

    channels, frozen = 2048, False

    def __init__(self):
        super().__init__()
        self.body = resnet101(norm_layer=FrozenBatchNorm2d, replace_stride_with_dilation=[False, False, True])
        del self.body.fc

    def forward(self, x: Tensor) -> Tensor:
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        return body.layer4(body.layer3(body.layer2(body.layer1(x))))


class SmallBody(nn.Module):
    """Four convolutions with group norm, which no neighbour in a batch changes: (N, 3, H, W) -> (N, 128, H / 8, W / 8)."""

    channels, frozen = 128, False

    def __init__(self):
        super().__init__()
        sizes = ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 128, 1))
        self.body = nn.Sequential(*[layer for inputs, outputs, stride in sizes for layer in self._layer(inputs, outputs, stride)])

    @staticmethod
    def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)]

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class EfficientNetLite0(nn.Module):
    """timm's EfficientNet-Lite0 without its head, never trained: (N, 3, H, W) -> (N, 1280, H / 32, W / 32)."""

    channels, frozen = 1280, True

    def __init__(self):
        super().__init__()
        self.body = checkpoints.create("tf_efficientnet_lite0", num_classes=0, global_pool="").requires_grad_(False)

    def train(self, mode: bool = True) -> nn.Module:
        """Batch norm keeps its statistics, whatever the network around it does."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


BODIES = {"resnet101": ResNet101, "small": SmallBody, "lite0": EfficientNetLite0}


def sine_positions(rows: int, columns: int, width: int, device=None) -> Tensor:
    """DETR's sine position embedding of a grid (rows * columns, width): the first half for y, the second for x, normalised to 2 pi."""
    half = width // 2
    scale = 10000 ** (2 * torch.div(torch.arange(half, device=device), 2, rounding_mode="floor") / half)

    def along(length: int) -> Tensor:
        place = torch.arange(1, length + 1, device=device) / (length + 1e-6) * 2 * math.pi
        angle = place[:, None] / scale
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1)

    y, x = along(rows)[:, None].expand(-1, columns, -1), along(columns)[None].expand(rows, -1, -1)
    return torch.cat([y, x], 2).flatten(0, 1)


# ---- attention ----


class Attention(nn.Module):
    """Multi-head attention with the parameters of nn.MultiheadAttention, in steps: `project` each input once, then `forward`."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def project(self, x: Tensor, which: int) -> Tensor:
        """x (N, T, width) as queries (0), keys (1) or values (2): (N, heads, T, width / heads)."""
        weight, bias = self.in_proj_weight.chunk(3)[which], self.in_proj_bias.chunk(3)[which]
        return F.linear(x, weight, bias).unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Output (N, Q, width) and weights (N, heads, Q, K), rows sum to 1. `hidden` is True where a query must not look."""
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        weights = (scores if hidden is None else scores.masked_fill(hidden, -torch.inf)).softmax(3)
        seen = F.dropout(weights, self.dropout, self.training) @ value
        return self.out_proj(seen.transpose(1, 2).flatten(2)), weights


class Block(nn.Module):
    """What encoder and decoder layers share: the feed-forward network and the first norm and attention."""

    def __init__(self, config: Config):
        super().__init__()
        self.self_attn = Attention(config.width, config.heads, config.dropout)
        self.linear1, self.linear2 = nn.Linear(config.width, config.feedforward), nn.Linear(config.feedforward, config.width)
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x)))))


class EncoderLayer(Block):
    """Pre-norm; the position is added to queries and keys. `hidden` (N, 1, 1, T) is True at padding."""

    def forward(self, x: Tensor, position: Tensor, hidden: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (self.self_attn.project(part, i) for i, part in enumerate((y + position, y + position, y)))
        x = x + self.dropout(self.self_attn(q, k, v, hidden)[0])
        return x + self.feed_forward(self.norm2(x))


class DecoderLayer(Block):
    """Pre-norm; the token's position is added to its queries and keys and to the query of the cross-attention."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.multihead_attn = Attention(config.width, config.heads, config.dropout)
        self.norm3 = nn.LayerNorm(config.width)

    def look_at(self, memory: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """The image's keys and values, the same for every token."""
        return self.multihead_attn.project(memory + position, 1), self.multihead_attn.project(memory, 2)

    def forward(self, x: Tensor, position: Tensor, image: tuple, hidden: Tensor, past: tuple | None) -> tuple[Tensor, Tensor, tuple]:
        """Tokens x (N, T, width) that follow the `past` ones: their output, their cross-attention, and keys and values of all so far."""
        y = self.norm1(x)
        q, k, v = (self.self_attn.project(part, i) for i, part in enumerate((y + position, y + position, y)))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=x.device).triu(1 + k.shape[2] - q.shape[2])
        x = x + self.dropout(self.self_attn(q, k, v, later)[0])
        seen, weights = self.multihead_attn(self.multihead_attn.project(self.norm2(x) + position, 0), *image, hidden)
        x = x + self.dropout(seen)
        return x + self.feed_forward(self.norm3(x)), weights, (k, v)


# ---- the network ----


class Embeddings(nn.Module):
    """A token's word piece and its place, normalised."""

    def __init__(self, config: Config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab, config.width, padding_idx=PAD)
        self.position_embeddings = nn.Embedding(config.positions, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        if config.tied:  # as products with a normalised vector, logits begin small
            nn.init.normal_(self.word_embeddings.weight, std=0.02)
            nn.init.normal_(self.position_embeddings.weight, std=0.02)

    def forward(self, tokens: Tensor, first: int) -> Tensor:
        place = self.position_embeddings.weight[first : first + tokens.shape[1]]
        return self.dropout(self.LayerNorm(self.word_embeddings(tokens) + place))


class Stack(nn.Module):
    """Layers and the norm after them."""

    def __init__(self, layer: type[Block], config: Config, count: int):
        super().__init__()
        self.layers = nn.ModuleList(layer(config) for _ in range(count))
        self.norm = nn.LayerNorm(config.width)


class Transformer(nn.Module):
    """Encoder, decoder and the tokens' embeddings."""

    def __init__(self, config: Config):
        super().__init__()
        self.encoder = Stack(EncoderLayer, config, config.layers if config.encoder is None else config.encoder)
        self.decoder = Stack(DecoderLayer, config, config.layers)
        self.embeddings = Embeddings(config)


class MLP(nn.Module):
    """Three linear layers, ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](F.relu(self.layers[1](F.relu(self.layers[0](x)))))


@dataclass(frozen=True)
class Memory:
    """Encoded images: by decoder layer their keys and values, `hidden` (N, 1, 1, T) True at padding, and each image's (rows, columns)."""

    layers: list[tuple[Tensor, Tensor]]
    hidden: Tensor
    grids: list[tuple[int, int]]

    def of(self, images: Tensor) -> "Memory":
        """What `decode` needs of these images, places on the memory's device, in their order and as often as they come."""
        return Memory([(keys[images], values[images]) for keys, values in self.layers], self.hidden[images], [])


class CATR(nn.Module):
    """Images and the tokens so far -> logits of the next token."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.backbone = nn.ModuleList([BODIES[config.body]()])
        self.input_proj = nn.Conv2d(self.backbone[0].channels, config.width, 1)
        self.transformer = Transformer(config)
        if config.tied:
            self.bias = nn.Parameter(torch.zeros(config.vocab))
        else:
            self.mlp = MLP(config.width, 512, config.vocab)

    @property
    def frozen(self) -> bool:
        """Whether the body is never trained, so that its features of an image are always the same."""
        return self.backbone[0].frozen

    def features(self, images: list[Tensor]) -> list[Tensor]:
        """What the body sees in images (3, H, W) of any sizes, normalised: (channels, rows, columns) each.

        Each goes through the body alone: its neighbours in the batch change nothing. Images of one size go through together.
        """
        same = len({image.shape for image in images}) == 1
        return [*self.backbone[0](torch.stack(images))] if same else [self.backbone[0](image[None])[0] for image in images]

    def remember(self, seen: list[Tensor]) -> Memory:
        """Images as a training has them: of a frozen body their features, else themselves."""
        return self.read(seen) if self.frozen else self.encode(seen)

    def encode(self, images: list[Tensor]) -> Memory:
        """Images (3, H, W) of any sizes, normalised."""
        return self.read(self.features(images))

    def read(self, features: list[Tensor]) -> Memory:
        """Features of images, of any sizes."""
        grids = [tuple(feature.shape[1:]) for feature in features]
        same = len(set(grids)) == 1
        projected = [*self.input_proj(torch.stack(features))] if same else [self.input_proj(feature[None])[0] for feature in features]
        tokens = [feature.flatten(1).T for feature in projected]
        positions = [sine_positions(*grid, self.config.width, tokens[0].device) for grid in grids]
        x, position = (nn.utils.rnn.pad_sequence(parts, batch_first=True) for parts in (tokens, positions))
        length = torch.tensor([len(part) for part in tokens])
        hidden = (torch.arange(x.shape[1]) >= length[:, None])[:, None, None].to(x.device, non_blocking=True)
        for layer in self.transformer.encoder.layers:
            x = layer(x, position, hidden)
        memory = self.transformer.encoder.norm(x)
        return Memory([layer.look_at(memory, position) for layer in self.transformer.decoder.layers], hidden, grids)

    def decode(self, tokens: Tensor, memory: Memory, past: list | None = None) -> tuple[Tensor, Tensor, list]:
        """Logits (N, T, vocab) for the tokens (N, T) that follow the `past` ones, and their cross-attention (N, layers, heads, T, image).

        Also all keys and values so far, the `past` of the next call.
        """
        first = past[0][0].shape[2] if past else 0
        x = self.transformer.embeddings(tokens, first)
        position = self.transformer.embeddings.position_embeddings.weight[first : first + tokens.shape[1]]
        weights, kept = [], []
        for number, layer in enumerate(self.transformer.decoder.layers):
            x, attention, known = layer(x, position, memory.layers[number], memory.hidden, past[number] if past else None)
            weights.append(attention)
            kept.append(known)
        x = self.transformer.decoder.norm(x)
        logits = F.linear(x, self.transformer.embeddings.word_embeddings.weight, self.bias) if self.config.tied else self.mlp(x)
        return logits, torch.stack(weights, 1), kept

    def forward(self, images: list[Tensor], parts: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Images as `remember` takes them, and captions of them in parts: (N,) each caption's image, and its tokens (N, T).

        Gives each part's logits (N, T, vocab): at each place those of the next token. Each image is encoded once.
        """
        memory = self.remember(images)
        return [self.decode(tokens, memory.of(which))[0] for which, tokens in parts]


@dataclass(frozen=True)
class Caption:
    """One image's caption: `tokens` with the start token, and the end token if it was reached.

    `attention` is (layers, heads, steps, rows, columns); its step i belongs to the token predicted at step i, tokens[i + 1].
    """

    tokens: list[int]
    attention: Tensor


def generate(model: CATR, images: list[Tensor] | Memory, most: int | None = None, beams: int = 1) -> list[Caption]:
    """By `greedy` for one beam, else by `beam_search`."""
    return greedy(model, images, most) if beams == 1 else beam_search(model, images, beams, most)


@setup.evaluation()
def greedy(model: CATR, images: list[Tensor] | Memory, most: int | None = None) -> list[Caption]:
    """The likeliest next token, step by step, until each image's caption ends or has `most` tokens (by default as many as fit)."""
    model.eval()
    memory, past, maps = images if isinstance(images, Memory) else model.encode(images), None, []
    tokens = torch.full((len(memory.grids), 1), model.config.start, device=memory.hidden.device)
    for _ in range(min(most or model.config.positions, model.config.positions - 1)):
        logits, attention, past = model.decode(tokens[:, -1:], memory, past)
        maps.append(attention)
        tokens = torch.cat([tokens, logits[:, -1].max(1).indices[:, None]], 1)
        if (tokens == model.config.end).any(1).all():
            break
    whole = torch.cat(maps, 3)
    return [cut(tokens[i].tolist(), whole[i], grid, model.config.end) for i, grid in enumerate(memory.grids)]


@setup.evaluation()
def beam_search(model: CATR, images: list[Tensor] | Memory, beams: int, most: int | None = None) -> list[Caption]:
    """Of the `beams` best captions of each image, kept step by step, the best: that with the largest mean log-probability of a token.

    One that has ended stays as it is, as long as it is among the best.
    """
    model.eval()
    memory, end = images if isinstance(images, Memory) else model.encode(images), model.config.end
    count, device = len(memory.grids), memory.hidden.device
    each, first = memory.of(torch.arange(count, device=device).repeat_interleave(beams)), beams * torch.arange(count, device=device)
    tokens = torch.full((count * beams, 1), model.config.start, device=device)
    total = torch.full((count, beams), -torch.inf, device=device)
    total[:, 0] = 0.0  # all begin alike, so that only one may go on
    length, over, past = torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool), None
    for _ in range(min(most or model.config.positions, model.config.positions - 1)):
        logits, _, past = model.decode(tokens[:, -1:], each, past)
        gain = logits[:, -1].log_softmax(1).unflatten(0, (count, beams))
        stay = torch.full_like(gain, -torch.inf)
        stay[:, :, end] = 0.0
        sums = total[:, :, None] + torch.where(over[:, :, None], stay, gain)
        longer = torch.where(over, length, length + 1)
        best = (sums / longer[:, :, None]).flatten(1).topk(beams).indices
        parent, token = best // gain.shape[2], best % gain.shape[2]
        total, length = sums.flatten(1).gather(1, best), longer.gather(1, parent)
        over = over.gather(1, parent) | (token == end)
        rows = (parent + first[:, None]).flatten()
        tokens = torch.cat([tokens[rows], token.flatten()[:, None]], 1)
        past = [(keys[rows], values[rows]) for keys, values in past]
        if over.all():
            break
    chosen = tokens[(total / length).max(1).indices + first]
    attention = model.decode(chosen[:, :-1], memory)[1]
    return [cut(chosen[i].tolist(), attention[i], grid, end) for i, grid in enumerate(memory.grids)]


def cut(tokens: list[int], attention: Tensor, grid: tuple[int, int], end: int) -> Caption:
    """One image's caption up to its end token, its maps on its own grid."""
    steps = tokens.index(end) if end in tokens else len(tokens) - 1
    rows, columns = grid
    return Caption(tokens[: steps + 1], attention[:, :, :steps, : rows * columns].unflatten(3, grid).cpu())
