"""What several scripts of hw1 ask for on the command line. Imports no torch: see common/cli.py."""

import argparse
from pathlib import Path

from common import cli

OURS = ("best", "scratch")  # models that belong to no report


def check_report(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with exit code 2 unless models A and B come with a report, and ours without."""
    if (args.report is None) != (args.model in OURS):
        parser.error("--model A and B belong to a --report, f22a, f22b or f23; --model best and scratch to none")


def add_embedding_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the PCA and t-SNE figures of problem 1: whose layer is shown."""
    parser.add_argument("--report", choices=("f22a", "f22b", "f23"), required=True)
    parser.add_argument("--run", type=Path, help="a folder of checkpoints that p1_train.py made (default: the report's model A in --out)")


def add_backbone_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that both trainings of problem 3 have."""
    parser.add_argument(
        "--backbone", help="a classifier of torchvision, or small (default: resnet50, on the stand-ins resnet18, quick small)"
    )
    parser.add_argument("--image-size", type=cli.positive_int, help="input pixels (default: 128, on the stand-ins and quick 32)")
    parser.add_argument("--data-dir", type=Path, help="the folder with mini/ and office/, whatever its name")
