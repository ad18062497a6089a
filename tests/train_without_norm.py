"""Run p1_train.py's main in fp32 with a network without batch norm or dropout: any number of processes must give the same losses."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from torch import nn

from common import cli, setup
from hw1 import p1_models, p1_recipes, p1_train


def plain_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 49, p1_models.P1_CLASSES),
    )


if __name__ == "__main__":
    setup._cpu_has_bf16 = lambda: False
    p1_models.OWN["plain"] = plain_network
    p1_recipes.RECIPES["f22a", "A"] = replace(p1_recipes.RECIPES["f22a", "A"], network="plain")
    cli.run(p1_train.main, p1_train.parse_args())
