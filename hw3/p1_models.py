"""Vision transformers of hw3 problem 1: torchvision's, three layouts of weights, and the attention that the figures show."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from common import setup, training
from common.setup import UsageError, load_checkpoint, load_weights
from hw3.p1_synthetic import CLASSES

ARCHES = {
    "b16": {"patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
    "tiny": {"patch_size": 8, "num_layers": 6, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
}


def build(arch: str, image_size: int, weights: str = "none", classes: int = CLASSES) -> VisionTransformer:
    """A network of ARCHES for square images; `weights` is 'none', 'default' (torchvision's ImageNet file, b16 alone) or a file.

    Raises UsageError if the size is no multiple of the patch, or a file is missing, damaged or of another network.
    """
    if image_size % ARCHES[arch]["patch_size"]:
        raise UsageError(f"--image-size {image_size} is no multiple of {arch}'s patches of {ARCHES[arch]['patch_size']} pixels")
    model = VisionTransformer(image_size=image_size, num_classes=classes, **ARCHES[arch])
    if weights == "default":
        published = models.ViT_B_16_Weights.DEFAULT if arch == "b16" else None
        load_start(model, training.published_weights(arch, published), Path(arch))
    elif weights != "none":
        remedy = f"--weights takes none, default or a checkpoint of {arch}"
        load_start(model, setup.from_rank_zero(lambda: load_checkpoint(Path(weights), remedy)), Path(weights))
    return model


def load_start(model: VisionTransformer, state: dict, path: Path) -> None:
    """Copy a state dict of any of the three layouts into the network, resampling the position embeddings if the image size differs.

    The head stays random if the file's has another number of classes. Raises UsageError that names the first keys that do not match.
    """
    own, state = model.state_dict(), state.get("model", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} holds no state dict of a network; give another checkpoint")
    state = in_torchvision_layout(state)
    if state.get("heads.head.weight", own["heads.head.weight"]).shape != own["heads.head.weight"].shape:
        state = {key: value for key, value in state.items() if not key.startswith("heads.")}
    state |= {key: value for key, value in own.items() if key.startswith("heads.") and key not in state}
    embedding = state.get("encoder.pos_embedding")
    if embedding is not None and embedding.dim() == 3 and embedding.shape[2] == own["encoder.pos_embedding"].shape[2]:
        try:
            state = interpolate_embeddings(model.image_size, model.patch_size, state)
        except ValueError as error:
            raise UsageError(f"{path}: {str(error).splitlines()[0]}; give weights of another network") from None
    load_weights(model, state, path)


RENAMED = (  # pytorch_pretrained_vit -> torchvision
    (r"^positional_embedding\.pos_embedding$", "encoder.pos_embedding"),
    (r"^patch_embedding\.", "conv_proj."),
    (r"^transformer\.blocks\.(\d+)\.norm([12])\.", r"encoder.layers.encoder_layer_\1.ln_\2."),
    (r"^transformer\.blocks\.(\d+)\.proj\.", r"encoder.layers.encoder_layer_\1.self_attention.out_proj."),
    (r"^transformer\.blocks\.(\d+)\.pwff\.fc1\.", r"encoder.layers.encoder_layer_\1.mlp.0."),
    (r"^transformer\.blocks\.(\d+)\.pwff\.fc2\.", r"encoder.layers.encoder_layer_\1.mlp.3."),
    (r"^norm\.", "encoder.ln."),
    (r"^fc\.", "heads.head."),
)


def in_torchvision_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in pytorch_pretrained_vit's names under torchvision's, query, key and value stacked; others as they are."""
    if "positional_embedding.pos_embedding" not in state:
        return dict(state)
    found, state = {}, dict(state)
    for key in [key for key in state if ".attn.proj_q." in key]:
        block, kind = re.fullmatch(r"transformer\.blocks\.(\d+)\.attn\.proj_q\.(\w+)", key).groups()
        parts = [state.pop(key.replace("proj_q", name), None) for name in ("proj_q", "proj_k", "proj_v")]
        if all(part is not None for part in parts):
            found[f"encoder.layers.encoder_layer_{block}.self_attention.in_proj_{kind}"] = torch.cat(parts)
    for key, value in state.items():
        for pattern, name in RENAMED:
            key = re.sub(pattern, name, key)
        found[key] = value
    return found


def load_trained(path: Path, runtime: setup.Runtime, remedy: str) -> tuple[VisionTransformer, dict]:
    """common.training.load_trained for the networks of hw3/p1_train.py."""
    return training.load_trained(
        path, lambda settings: build(settings["network"], settings["image_size"]), ARCHES, "hw3/p1_train.py", runtime, remedy
    )


# ---- what the figures show ----


@setup.evaluation()
def forward_with_attention(model: VisionTransformer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, classes), and the attention of all blocks and heads (layers, N, heads, tokens, tokens), rows sum to 1.

    Token 0 is the class. One pass over the model's own modules in the order of its own forward.
    """
    x = model._process_input(x)
    x = torch.cat([model.class_token.expand(len(x), -1, -1), x], 1) + model.encoder.pos_embedding
    attention = []
    for block in model.encoder.layers:
        y = block.ln_1(x)
        y, attn = block.self_attention(y, y, y, average_attn_weights=False)
        x = x + y
        x = x + block.mlp(block.ln_2(x))
        attention.append(attn)
    return model.heads(model.encoder.ln(x)[:, 0]), torch.stack(attention)


def rollout(attention: Tensor) -> Tensor:
    """Attention through all blocks with their residuals (Abnar and Zuidema, 2020): (N, tokens, tokens) from (layers, N, heads, T, T)."""
    mixed = (attention.mean(2) + torch.eye(attention.shape[-1], device=attention.device)) / 2
    total = mixed[0]
    for block in mixed[1:]:
        total = block @ total
    return total


def class_map(attention: Tensor, grid: tuple[int, int]) -> Tensor:
    """The class token's row of attention (..., tokens, tokens) over the patches: (..., rows, columns)."""
    return attention[..., 0, 1:].unflatten(-1, grid)


def position_similarity(model: VisionTransformer) -> Tensor:
    """Cosine similarity of every patch's position embedding with every other's, the class token left out: (patches, patches), -1 to 1."""
    embedding = nn.functional.normalize(model.encoder.pos_embedding[0, 1:].detach(), dim=1)
    return embedding @ embedding.T


def grid_of(model: VisionTransformer) -> tuple[int, int]:
    """Rows and columns of patches."""
    return (model.image_size // model.patch_size,) * 2
