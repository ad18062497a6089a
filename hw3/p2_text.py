"""BERT's word pieces, uncased, for hw3's captions: from a vocabulary file, from a checkpoint's list, or trained on captions."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from common.cli import UsageError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class WordPieces:
    """Captions <-> token ids; `pieces` are the vocabulary's in the order of their ids. Raises UsageError if a special piece is missing."""

    def __init__(self, pieces: list[str], origin: str = "the vocabulary"):
        missing = [piece for piece in SPECIAL[:4] if piece not in pieces]
        if missing or pieces[0] != SPECIAL[0]:
            raise UsageError(f"{origin} has no {', '.join(missing) or '[PAD] in its first line'}; give BERT's uncased vocab.txt")
        self.pieces = pieces
        self.tokenizer = BertWordPieceTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, lowercase=True)
        self.start, self.end = pieces.index("[CLS]"), pieces.index("[SEP]")

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, caption: str) -> list[int]:
        """A caption's ids between the start and the end token."""
        return self.tokenizer.encode(caption).ids

    def words(self, tokens: list[int]) -> list[str]:
        """Each token as it is written over its map; word pieces keep their '##'."""
        named = {self.start: "<start>", self.end: "<end>"}
        return [named.get(token, self.pieces[token]) for token in tokens]

    def text(self, tokens: list[int]) -> str:
        """The caption that the tokens spell."""
        return self.tokenizer.decode(tokens)


def read_vocabulary(path: Path) -> WordPieces:
    """BERT's vocab.txt, one piece a line. Raises UsageError if it cannot be read or is no such file."""
    try:
        pieces = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--vocab {path} cannot be read ({error}); give BERT's uncased vocab.txt") from None
    return WordPieces(pieces, str(path))


def train_vocabulary(captions: Iterable[str], size: int = 2000) -> WordPieces:
    """At most `size` word pieces learnt from captions; the same captions give the same pieces in the same order.

    The trainer numbers characters in the order of a hash table that differs from run to run, and breaks ties by these numbers; named
    beforehand, as if they were special pieces, they are numbered by the alphabet.
    """
    tokenizer, captions = BertWordPieceTokenizer(lowercase=True), list(captions)
    alphabet = sorted(set("".join(map(tokenizer.normalize, captions))) - {" "})
    known = [*SPECIAL, *alphabet, *(f"##{character}" for character in alphabet)]
    tokenizer.train_from_iterator(captions, vocab_size=size, min_frequency=1, special_tokens=known, show_progress=False)
    return WordPieces([piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])])
