"""What several scripts of hw3 ask for on the command line. Imports no torch: see common/cli.py."""

import argparse

from common import cli

VIT_ARCHES = ("b16", "deit_tiny", "tiny")  # those of p1_models.py
CAPTION_ARCHES = ("full", "lite0", "small")  # those of catr.py


def add_shown_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which network a figure of problem 1 shows."""
    parser.add_argument("--arch", choices=VIT_ARCHES, default="b16")
    parser.add_argument("--weights", help="a file in any of the four layouts, or default: torchvision's (default: the trained network)")
    parser.add_argument("--image-size", type=cli.positive_int, help="input pixels for --weights (default: 384, deit_tiny 224, tiny 96)")


def add_map_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which maps of problem 2 are shown, and of how many words."""
    parser.add_argument("--layer", type=int, default=-1, help="decoder layer, from 0; -1 is the last")
    parser.add_argument("--head", type=int, help="one head, from 0 (default: mean over all)")
    parser.add_argument("--beams", type=cli.positive_int, default=1, help="captions followed at once (default 1: greedy)")
    parser.add_argument("--max-tokens", type=cli.positive_int, help="at most so many tokens after the start")
