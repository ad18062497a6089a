"""Vision transformers of hw3 problem 1: torchvision's, four layouts of weights, and the attention that the figures show."""

import re
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from common import checkpoints, setup
from common.augment import Pipeline
from common.cli import UsageError
from common.data import Labelled
from hw3.p1_synthetic import CLASSES

ARCHES = {
    "b16": {"patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
    "deit_tiny": {"patch_size": 16, "num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
    "tiny": {"patch_size": 8, "num_layers": 6, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
}


PUBLISHED = {  # trained on ImageNet: torchvision's, and DeiT's own (Touvron et al., 2021) in timm's layout
    "b16": models.ViT_B_16_Weights.DEFAULT.url,
    "deit_tiny": "https://dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth",
}


def build(arch: str, image_size: int, weights: str = "none", classes: int = CLASSES) -> VisionTransformer:
    """A network of ARCHES for square images; `weights` is 'none', 'default' (that of PUBLISHED) or a file.

    Its `normalise` is the key of augment.NORMALISE, mean and standard deviation, that its weights were trained with. Raises UsageError if
    the size is no multiple of the patch, or a file is missing, damaged or of another network.
    """
    if image_size % ARCHES[arch]["patch_size"]:
        raise UsageError(f"--image-size {image_size} is no multiple of {arch}'s patches of {ARCHES[arch]['patch_size']} pixels")
    model = VisionTransformer(image_size=image_size, num_classes=classes, **ARCHES[arch])
    model.normalise = "half"
    if weights == "default":
        load_pretrained(model, checkpoints.published_weights(arch, PUBLISHED.get(arch)), Path(arch))
    elif weights != "none":
        remedy = f"--weights takes none, default or a checkpoint of {arch}"
        load_pretrained(model, checkpoints.load_checkpoint_for_all(Path(weights), remedy), Path(weights))
    return model


def load_pretrained(model: VisionTransformer, checkpoint: dict, path: Path) -> None:
    """Copy a checkpoint of any of the four layouts into the network, resampling the position embeddings if the image size differs.

    The head stays random if the file has none or one for another number of classes. Raises UsageError that says what torchvision's
    network cannot hold, or names the first keys that do not match.
    """
    own, state = model.state_dict(), checkpoint.get("model", checkpoint)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} holds no state dict of a network; give another checkpoint")
    model.normalise = trained_normalise(checkpoint, state)
    state = in_torchvision_layout({key: value.float() for key, value in state.items()}, path)
    if state.get("heads.head.weight", own["heads.head.weight"]).shape != own["heads.head.weight"].shape:
        state = {key: value for key, value in state.items() if not key.startswith("heads.")}
    state |= {key: value for key, value in own.items() if key.startswith("heads.") and key not in state}
    embedding = state.get("encoder.pos_embedding")
    if embedding is not None and embedding.dim() == 3 and embedding.shape[2] == own["encoder.pos_embedding"].shape[2]:
        try:
            state = interpolate_embeddings(model.image_size, model.patch_size, state)
        except ValueError as error:
            raise UsageError(f"{path}: {str(error).splitlines()[0]}; give weights of another network") from None
    checkpoints.load_weights(model, state, path)


def trained_normalise(checkpoint: dict, state: dict) -> str:
    """Mean and standard deviation of the pictures that weights were trained on: as our checkpoints say, else by the layout.

    torchvision's, DeiT's and DINO's were trained with ImageNet's, those of pytorch_pretrained_vit with 0.5. So were AugReg's, which timm
    publishes in the same layout as DeiT's and which are taken for ImageNet's.
    """
    settings = checkpoint.get("settings")
    if isinstance(settings, dict) and "network" in settings:
        return settings.get("normalise", "half")
    return "half" if "positional_embedding.pos_embedding" in state else "imagenet"


BLOCK = r"encoder.layers.encoder_layer_\1."
PRETRAINED_VIT = (  # regular expressions of pytorch_pretrained_vit's names, and torchvision's
    (r"positional_embedding\.pos_embedding", "encoder.pos_embedding"),
    (r"patch_embedding\.", "conv_proj."),
    (r"transformer\.blocks\.(\d+)\.norm([12])\.", BLOCK + r"ln_\2."),
    (r"transformer\.blocks\.(\d+)\.proj\.", BLOCK + "self_attention.out_proj."),
    (r"transformer\.blocks\.(\d+)\.pwff\.fc1\.", BLOCK + "mlp.0."),
    (r"transformer\.blocks\.(\d+)\.pwff\.fc2\.", BLOCK + "mlp.3."),
    (r"norm\.", "encoder.ln."),
    (r"fc\.", "heads.head."),
)
TIMM = (
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (r"patch_embed\.proj\.", "conv_proj."),
    (r"blocks\.(\d+)\.norm([12])\.", BLOCK + r"ln_\2."),
    (r"blocks\.(\d+)\.attn\.qkv\.", BLOCK + "self_attention.in_proj_"),
    (r"blocks\.(\d+)\.attn\.proj\.", BLOCK + "self_attention.out_proj."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", BLOCK + "mlp.0."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", BLOCK + "mlp.3."),
    (r"norm\.", "encoder.ln."),
    (r"head\.", "heads.head."),
)
FOREIGN = {"dist_token": "a distillation token", "reg_token": "register tokens", "register_tokens": "register tokens"}


def in_torchvision_layout(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A state dict in pytorch_pretrained_vit's or timm's names under torchvision's; others as they are. Raises UsageError."""
    if "positional_embedding.pos_embedding" in state:
        return renamed(with_stacked_projections(state), PRETRAINED_VIT)
    if "patch_embed.proj.weight" in state:
        return renamed(plain_timm(state, path), TIMM)
    return dict(state)


def renamed(state: dict[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """The state dict with the beginning of each key replaced by the first of `names` that it matches."""
    found = {}
    for key, value in state.items():
        pattern, name = next((pair for pair in names if re.match(pair[0], key)), ("", ""))
        found[re.sub(f"^{pattern}", name, key)] = value
    return found


def with_stacked_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """pytorch_pretrained_vit's state dict with each block's query, key and value in one tensor, under torchvision's name."""
    state = dict(state)
    for key in [key for key in state if ".attn.proj_q." in key]:
        block, kind = re.fullmatch(r"transformer\.blocks\.(\d+)\.attn\.proj_q\.(\w+)", key).groups()
        parts = [state.pop(key.replace("proj_q", name), None) for name in ("proj_q", "proj_k", "proj_v")]
        if all(part is not None for part in parts):
            state[f"encoder.layers.encoder_layer_{block}.self_attention.in_proj_{kind}"] = torch.cat(parts)
    return state


def plain_timm(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """timm's state dict without LayerScale, whose factors go into the layer before it, and without what only pre-training uses.

    Raises UsageError for a network that has other tokens than torchvision's.
    """
    foreign = [words for key, words in FOREIGN.items() if key in state] + ["no class token"] * ("cls_token" not in state)
    if foreign:
        raise UsageError(f"{path} is a network with {foreign[0]}, which torchvision's cannot hold; give weights without, such as DeiT's")
    state = {key: value for key, value in state.items() if key != "mask_token"}
    for key in [key for key in state if re.fullmatch(r"blocks\.\d+\.ls[12]\.gamma", key)]:
        layer = key.replace("ls1.gamma", "attn.proj").replace("ls2.gamma", "mlp.fc2")
        gamma = state.pop(key)
        for kind, factors in (("weight", gamma[:, None]), ("bias", gamma)):
            if f"{layer}.{kind}" in state:
                state[f"{layer}.{kind}"] = state[f"{layer}.{kind}"] * factors
    return state


def linear_probe(model: VisionTransformer, split: Labelled, pipeline: Pipeline, runtime: setup.Runtime) -> None:
    """Make the head a logistic regression on the frozen features of the split's pictures.

    From a random head the first steps would distort the features of the published weights (Kumar et al., 2022). Fewer than three breeds
    leave the head as it is.
    """
    seen = []
    handle = model.heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))

    def features(images: Tensor) -> Tensor:
        model.eval()(pipeline(images.to(runtime.device), torch.empty(0, 0)))
        return seen.pop()

    with torch.no_grad(), runtime.autocast():
        x = torch.cat(setup.distributed_map(features, split.images.split(50))).numpy()
    handle.remove()
    found = setup.from_rank_zero(lambda: LogisticRegression(C=0.1, max_iter=500).fit(x, split.target.numpy()))
    if len(found.classes_) > 2:
        with torch.no_grad():
            for own, values in ((model.heads.head.weight, found.coef_), (model.heads.head.bias, found.intercept_)):
                own[found.classes_] = torch.tensor(values, dtype=own.dtype, device=own.device)


def load_trained(path: Path, runtime: setup.Runtime, remedy: str) -> tuple[VisionTransformer, dict]:
    """common.checkpoints.load_trained for the networks of hw3/p1_train.py."""
    model, state = checkpoints.load_trained(
        path, lambda settings: build(settings["network"], settings["image_size"]), ARCHES, "hw3/p1_train.py", runtime, remedy
    )
    model.normalise = trained_normalise(state, state["model"])
    return model, state


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


def attention_rollout(attention: Tensor) -> Tensor:
    """Attention through all blocks with their residuals (Abnar and Zuidema, 2020): (N, tokens, tokens) from (layers, N, heads, T, T)."""
    mixed = (attention.mean(2) + torch.eye(attention.shape[-1], device=attention.device)) / 2
    total = mixed[0]
    for block in mixed[1:]:
        total = block @ total
    return total


def class_attention(attention: Tensor, grid: tuple[int, int]) -> Tensor:
    """The class token's row of attention (..., tokens, tokens) over the patches: (..., rows, columns)."""
    return attention[..., 0, 1:].unflatten(-1, grid)


@setup.evaluation()
def position_similarity(model: VisionTransformer) -> Tensor:
    """Cosine similarity of every patch's position embedding with every other's, the class token left out: (patches, patches), -1 to 1."""
    embedding = nn.functional.normalize(model.encoder.pos_embedding[0, 1:].detach(), dim=1)
    return embedding @ embedding.T


def grid_size(model: VisionTransformer) -> tuple[int, int]:
    """Rows and columns of patches."""
    return (model.image_size // model.patch_size,) * 2
