"""How well captions describe their pictures: BLEU-1 to 4 and CIDEr, by the scorers that the field publishes (pycocoevalcap).

They are an extra, as their package has Java programs of 100 MB with it: `pip install -r requirements-captions.txt`. Without it a result
says what it lacks. The words are not those of its Java tokeniser: lower case, runs of letters and digits.
"""

import importlib.util
import re

import numpy as np

METHOD = "pycocoevalcap's scorers; words in lower case, punctuation split off and left out, in place of its Java tokeniser"


def missing() -> dict[str, str]:
    """Which numbers are not computed and why, as a result says it; {} if the package is installed."""
    if importlib.util.find_spec("pycocoevalcap"):
        return {}
    return {"BLEU and CIDEr": "pip install -r requirements-captions.txt"}


def words(text: str) -> str:
    """A caption's words between single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


def cider(captions: list[str], references: list[list[str]]) -> np.ndarray:
    """Each caption's CIDEr against its picture's own captions, 0 to 10; a word's weight is its rarity among all `references`."""
    from pycocoevalcap.cider.cider import Cider

    return Cider().compute_score(*prepared(captions, references))[1]


def scores(captions: list[str], references: list[list[str]]) -> dict[str, float]:
    """BLEU-1 to 4 of all captions together, and the mean of their CIDEr."""
    from pycocoevalcap.bleu.bleu import Bleu

    bleu = Bleu(4).compute_score(*prepared(captions, references), verbose=0)[0]
    return {f"BLEU-{n}": value for n, value in enumerate(bleu, 1)} | {"CIDEr": float(cider(captions, references).mean())}


def prepared(captions: list[str], references: list[list[str]]) -> tuple[dict, dict]:
    """References and captions by picture, as the scorers take them."""
    pairs = list(zip(captions, references, strict=True))
    return {i: [*map(words, own)] for i, (_, own) in enumerate(pairs)}, {i: [words(caption)] for i, (caption, _) in enumerate(pairs)}
