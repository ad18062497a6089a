"""Large and thin pictures: memory is bounded by bytes, results of ordinary pictures stay as they were."""

import platform
import struct
import subprocess
import sys
import zlib

import pytest
import torch
from torchvision.transforms.functional import center_crop, resize

from benchmarks import memory
from common import data
from common.cli import ROOT
from hw1 import p2_inference, p3_data
from hw3 import pictures


def test_a_large_picture_and_a_strip_stay_below_the_bound(tmp_path):
    script = "hw1/p3_inference.py"
    memory.draw(tmp_path / "one", 1, 0)
    memory.draw(tmp_path / "large", 2, 1)
    network, large = (memory.peak([str(ROOT / script), *memory.arguments(script, tmp_path / name, tmp_path)]) for name in ("one", "large"))
    assert large - network < 1e9


def test_a_strip_is_cropped_before_it_grows(monkeypatch):
    image = torch.randint(0, 256, (3, 30, 50), dtype=torch.uint8)
    assert torch.equal(p3_data.resize_and_crop(image, 64), center_crop(resize(image, 64, antialias=True), [64]))
    made = []
    monkeypatch.setattr(p3_data, "resize", lambda part, size, **options: made.append(part.shape) or resize(part, size, **options))
    assert p3_data.resize_and_crop(torch.zeros(3, 20_000, 1, dtype=torch.uint8), 128).shape == (3, 128, 128) and made == [(3, 4, 1)]


def test_colour_by_colour_is_the_same(monkeypatch):
    image = torch.randint(0, 256, (3, 90, 130), dtype=torch.uint8)
    whole = data.resize_square(image, 32), p3_data.resize_and_crop(image, 32)
    monkeypatch.setattr(data, "LARGE_PIXELS", 8000)
    monkeypatch.setattr(p3_data, "LARGE_PIXELS", 8000)
    assert torch.equal(data.resize_square(image, 32), whole[0]) and torch.equal(p3_data.resize_and_crop(image, 32), whole[1])


def test_a_picture_that_would_burst_is_unreadable(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(5000)) + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match="too large"):
        data.read_image(path)


def test_few_pixels_wait_decoded(tmp_path, monkeypatch):
    memory.draw(tmp_path / "in", 12, 0)
    files = sorted((tmp_path / "in").iterdir())
    monkeypatch.setattr(p2_inference, "AHEAD", 0)
    with p2_inference.ThreadPoolExecutor(2) as pool:
        submitted = []
        monkeypatch.setattr(pool, "submit", lambda function, path, submit=pool.submit: submitted.append(path) or submit(function, path))
        found = p2_inference.decoded(pool, files, 16)
        for count, (path, _) in enumerate(found, start=1):
            assert path == files[count - 1] and len(submitted) <= count + 1


def test_kept_pictures_have_a_longest_side():
    for size, kept in (((449, 449), (448, 448)), ((300, 500), (300, 500)), ((10, 20_000), (1, 3584)), ((20_000, 900), (3584, 161))):
        assert tuple(pictures.shrunk(torch.zeros(3, *size, dtype=torch.uint8)).shape[1:]) == kept


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep memory")
def test_freed_memory_is_not_asked_of_the_system_again():
    program = """
import ctypes, resource, sys
from common import speed
if sys.argv[1:]:
    speed.keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [library.malloc(30_000_000) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 30_000_000)
    for block in blocks:
        library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    plain, kept = (
        int(subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for words in ([], ["kept"])
    )
    assert kept < 50 < plain
