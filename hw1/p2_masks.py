"""Masks of hw1 problem 2 as numpy arrays, read by Pillow and laid over their image, without torch. As tensors: p2_classes, p2_data."""

from pathlib import Path

import numpy as np
from PIL import Image

from common.cli import UsageError
from common.files import atomic_write

CLASSES = ("urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown")
COLOURS = np.array([(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)], np.uint8)
SCORED, UNKNOWN = 6, 6  # the first six classes have an IoU; the label of the seventh
LABEL_OF_CODE = np.array([6, 4, 3, 0, 6, 2, 1, 5], np.uint8)  # by 4R + 2G + B; code 4 (red) is no class's: unknown
TINT, EDGE = 0.3, 5  # the share of a class's colour in its region; pixels of width of a region's edge


def read_packed(path: Path) -> np.ndarray:
    """Decode any PNG or JPEG, as common.data.read_image does, to uint32 (H, W): red in the lowest byte, then green and blue.

    Raises ValueError if it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith("I"):  # 16 bits, which Pillow's own conversion cuts off at 255
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            picture = picture if picture.mode == "RGB" else picture.convert("RGB")
            content = picture.tobytes("raw", "RGBX")  # as Pillow holds them: no conversion
            return np.frombuffer(content, "<u4").reshape(picture.height, picture.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"unreadable ({type(error).__name__})") from None


def read_rgb(path: Path) -> np.ndarray:
    """The same as uint8 (H, W, 3)."""
    return read_packed(path)[..., None].view(np.uint8)[..., :3]


def read_codes(path: Path) -> tuple[np.ndarray, bool]:
    """A mask's bit codes 4R + 2G + B, uint8 (H, W), each channel thresholded at 128 as the course does, and whether all pixels are pure.

    Pure: every channel is 0 or 255. Raises ValueError if it cannot be read, or holds the classes' numbers as grey values, the form in which
    other programs write masks: all of it would be unknown.
    """
    packed = read_packed(path)
    high = packed & 0x808080
    pure = bool(((high >> 7) * 255 == packed & 0xFFFFFF).all())
    if not pure:
        colours = packed[..., None].view(np.uint8)[..., :3]
        levels = np.bincount(colours[..., 0].ravel(), minlength=256).nonzero()[0]
        numbers = levels[(levels > 0) & (levels < len(CLASSES))]
        if len(numbers) and set(levels) <= {0, 255, *numbers} and (colours == colours[..., :1]).all():
            raise ValueError("grey, with the classes' numbers in place of their colours; write it in the colours")
    return ((high >> 5 | high >> 14 | high >> 23) & 7).astype(np.uint8), pure


def read_labels(path: Path) -> np.ndarray:
    """A mask's labels, uint8 (H, W) of 0 to 6; red belongs to no class and is read as unknown. Raises what `read_codes` raises."""
    return LABEL_OF_CODE[read_codes(path)[0]]


def overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, 3), with each class's region tinted and its edge opaque; unknown regions stay as they are."""
    colours, known = COLOURS[labels].astype(np.float32), (labels != UNKNOWN)[..., None]
    edge = (window(labels, np.maximum) != window(labels, np.minimum))[..., None]
    mixed = np.where(edge, colours, np.float32(1 - TINT) * image + np.float32(TINT) * colours)
    return np.where(known, mixed, image).round().astype(np.uint8)


def window(labels: np.ndarray, most: np.ufunc) -> np.ndarray:
    """np.maximum or np.minimum over the EDGE x EDGE pixels around each."""
    for axis, length in enumerate(labels.shape):
        widths = [(EDGE // 2 if i == axis else 0,) * 2 for i in range(2)]
        padded = np.pad(labels, widths, mode="edge")
        labels = most.reduce([padded.take(range(i, i + length), axis) for i in range(EDGE)])
    return labels


def draw_overlay(image: Path, mask: Path, out: Path) -> Path:
    """Draw one image with one mask to OUT/<image>_overlay.png, which is returned.

    Raises UsageError if one cannot be read or their sizes differ.
    """
    try:
        path = image
        pixels = read_rgb(path)
        path = mask
        labels = read_labels(path)
    except ValueError as error:
        raise UsageError(f"{path} is {error}; give a JPEG or PNG image, and a PNG mask in the classes' colours") from None
    if pixels.shape[:2] != labels.shape:
        raise UsageError(f"{image} has {pixels.shape[1]}x{pixels.shape[0]} pixels, {mask} {labels.shape[1]}x{labels.shape[0]}")
    path = out / f"{image.stem}_overlay.png"
    with atomic_write(path) as temporary:
        Image.fromarray(overlay(pixels, labels)).save(temporary, "PNG")
    print(f"wrote {path}")
    return path
