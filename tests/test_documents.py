"""The README and the other documents: their commands run, or at least parse, their links lead somewhere, and what they list is all there.

A command is a line of a code block without a language or in `sh`, or code in a line of text that begins with bash, python or torchrun.
Those of a document run in order, in a folder that has this repository's scripts and small drawn data in the courses' layouts. A command for
which there is no rule below fails its test.
"""

import importlib
import json
import re
import shlex
import tomllib

import pytest
import yaml
from PIL import Image

import run_all
from common import cli, items
from common.checkpoints import load_checkpoint
from common.cli import ROOT
from hw1 import p1_synthetic, p2_synthetic
from hw2 import p1_synthetic as scenes
from hw2 import p2_synthetic as cifar

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GRADERS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("hw*/*_inference.py"))]
LAUNCHERS = ("bash", "python", "torchrun", ".venv/bin/python", ".venv/bin/ruff")
RUN = {  # scripts whose commands run here
    *GRADERS,
    "hw1/p1_counts.py",
    "hw1/p2_evaluate.py",
    "hw1/p2_mask_viz.py",
    "hw2/p1_scenes.py",
    "hw2/p2_evaluate.py",
    "common/page.py",
}
PARSED = {  # others, whose arguments are parsed alone, and why
    "hw1/p1_train.py": "trains; test_p1.py runs it",
    "hw1/p1_tsne.py": "needs a training; test_p1.py runs it",
    "hw1/p2_seg_train.py": "trains; test_p2.py runs it",
    "hw1/p3_ssl_pretrain.py": "trains; test_p3.py runs it",
    "hw1/p3_ssl_finetune.py": "trains; test_p3.py runs it",
    "hw2/p2_final.py": "trains; test_hw2_tables.py runs it",
    "hw3/p1_train.py": "trains; test_hw3_vit.py runs it",
    "hw3/p2_caption_train.py": "trains; test_hw3_captions.py runs it",
    "hw3/p2_caption_attention.py": "needs CATR's published weights",
    "hw3/p2_inference.py": "needs a training or CATR's published weights; test_hw3_captions.py runs it",
}
REWRITES = ("--site", "--readme")  # options of page.py that write into this repository


# ---- what the documents show ----


def code_blocks(text: str) -> list[tuple[str, list[str]]]:
    """(language, lines) of each fenced block, and ('', lines) of all indented ones together."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [(language, body.splitlines()) for language, body in fenced] + [("", re.findall(r"^    .*", rest, re.MULTILINE))]


def commands(text: str) -> list[str]:
    """The commands of a document, in order."""
    known = {line for language, lines in code_blocks(text) if language in ("", "sh") for line in lines if line.strip()}
    inline = re.compile(rf"`((?:{'|'.join(map(re.escape, LAUNCHERS[:3]))}) [^`]+)`")
    return [words.strip() for line in text.splitlines() for words in ([line] if line in known else inline.findall(line))]


def shown(path) -> list[str]:
    """The commands of a document, or of the workflow, whose steps are some."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        return [step["run"] for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"] if "run" in step]
    return commands(text)


def test_commands_are_found():
    text = "Say `python a.py` or `a.py`.\n\n    bash b.sh  # c\n\n```sh\ntorchrun c.py\n\nd\n```\n\n```text\npython e.py\n```\n"
    assert commands(text) == ["python a.py", "bash b.sh  # c", "torchrun c.py", "d"]


# ---- each of them runs, or is parsed ----


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with this repository's scripts and checkpoints, small data, and files of the names that the documents use."""
    folder = tmp_path_factory.mktemp("documents")
    for name in ("hw1", "hw2", "hw3"):
        (folder / name).symlink_to(ROOT / name)
    data = folder / "data"
    p1_synthetic.draw_p1(data / "hw1_data/p1_data", 1, 1)
    p2_synthetic.draw_p2(data / "hw1_data/p2_data", 1, 1)
    for kind in ("sat.jpg", "mask.png"):
        (data / f"hw1_data/p2_data/validation/0000_{kind}").rename(data / f"hw1_data/p2_data/validation/0013_{kind}")
    scenes.draw_scenes(data / "hw2_data/p1_data", 1, 1)
    cifar.draw_cifar(data / "hw2_data/p2_data", 20, 10, 1)
    for name in ("IN_DIR", "results"):
        (folder / name).mkdir()
    for name in ("a.jpg", "b.jpg", "c.png"):
        Image.new("RGB", (40, 30), (90, 120, 60)).save(folder / "IN_DIR" / name)
    (folder / "IMAGES_CSV").write_text("id,filename,label\n0,a.jpg,None\n1,c.png,None\n")
    return folder


def words_of(command: str) -> list[str]:
    """The script and the arguments of a command, of the Python file that a shell script of ours calls."""
    launcher, *words = shlex.split(command, comments=True)
    assert launcher in LAUNCHERS, f"no rule for {launcher}: {command}"
    if launcher == "torchrun":
        words = words[next(i for i, word in enumerate(words) if word.endswith(".py")) :]
    if words[0].endswith("_inference.sh"):
        assert f'"$here/{words[0].split("/")[1][:-3]}.py" "$@"' in (ROOT / words[0]).read_text()
        words[0] = words[0][:-3] + ".py"
    return [launcher, *words]


def check(command: str, folder) -> None:
    """Run a command in this process, or see that it would be understood."""
    launcher, script, *words = words_of(command)
    if script == "run_all.sh":  # hours as a whole, see test_run_all.py; the items that it names must be there
        assert run_all.choose(run_all.all_runs(full=True), run_all.parse_args(words).only)
        if "--list" in words:
            run_all.main(run_all.parse_args(words))
    elif script in ("tests/run.sh", ".ci/run"):  # would run this test
        assert (ROOT / script).exists() and all((ROOT / word).exists() for word in words if word[0] != "-")
    elif launcher.endswith("ruff"):
        assert script in ("check", "format") and words == ["."]
    elif [script, *words[:2]] == ["-m", "pip", "install"]:  # needs a network
        assert words[2] == "-r" and (ROOT / words[3]).exists()
    elif script.startswith("benchmarks/"):  # takes minutes, and some import what only benchmarks need
        assert (ROOT / script).exists() and all(f'"{word}"' in (ROOT / script).read_text() for word in words if word[0] == "-"), command
    elif script == "-c":
        compile(words[0], command, "exec")
    else:
        assert (ROOT / script).exists(), f"no {script}: {command}"
        assert script in RUN or script in PARSED, f"no rule for {script}: {command}"
        module = importlib.import_module(script[:-3].replace("/", "."))
        args = module.parse_args(words)
        if script in PARSED or any(option in words for option in REWRITES):
            return
        args.out = folder / "results"
        args.device, args.quick = "cpu", True
        if getattr(args, "image", None):
            module.p2_masks.draw_overlay(args.image, args.mask, args.out)
        else:
            module.main(args)


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / ".github/workflows/ci.yml"], ids=lambda path: path.name)
def test_every_command_of_a_document_works(path, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    found = shown(path)
    assert found
    for command in found:
        try:
            check(command, workspace)
        except (cli.UsageError, SystemExit) as error:
            pytest.fail(f"{command}: {error}")


def test_a_command_without_a_rule_fails(workspace):
    for command in ("curl x", "python hw1/p1_pca.py --report f22a", "python hw1/none.py"):
        with pytest.raises(AssertionError, match="no "):
            check(command, workspace)
    with pytest.raises(SystemExit):
        check("python hw1/p1_train.py --model A --nonsense", workspace)
    with pytest.raises(cli.UsageError, match="matches no item"):
        check("bash run_all.sh --only f99-1", workspace)


# ---- what else they say ----


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{path.name} links to {target}"
        if heading and found.suffix == ".md":
            titles = re.findall(r"^#+ (.*)", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], f"{path.name}: {target}"


def options(script: str, monkeypatch) -> set[str]:
    """The long options of a script, the newest spelling of each."""
    found = []

    def parse(parser, argv):
        found.extend(option for action in parser._actions for option in action.option_strings if option[:2] == "--" and "_" not in option)
        raise SystemExit

    monkeypatch.setattr(cli.Parser, "parse_args", parse)
    with pytest.raises(SystemExit):
        importlib.import_module(script[:-3].replace("/", ".")).parse_args([])
    return set(found) - {"--help", "--test-anno"}


@pytest.mark.parametrize("script", [*GRADERS, "hw1/p2_evaluate.py", "hw2/p2_evaluate.py"])
def test_grading_names_every_option(script, monkeypatch):
    found = options(script, monkeypatch)
    assert found and found <= set(re.findall(r"--[a-z][a-z-]*", (ROOT / "docs/grading.md").read_text()))


def test_data_says_what_each_committed_network_has_seen():
    text = (ROOT / "docs/data.md").read_text()
    rows = {cells[1].strip(): cells for line in text.splitlines() if len(cells := line.split("|")) == 7}
    for path in ROOT.glob("hw*/checkpoints/*.pth"):
        settings = load_checkpoint(path, "restore it")["settings"]
        _, _, network, start, seen, *_ = rows[str(path.relative_to(ROOT))]
        assert network.strip() == settings["network"] and f"{settings['data']['train']:,}" in seen
        assert ("random" in start) == (settings["weights"] == "none") and ("ImageNet" in start) == (settings["weights"] != "none")


@pytest.mark.parametrize(
    "checkpoint, result",
    [
        ("hw1/checkpoints/p1", "hw1-p1-best"),
        ("hw1/checkpoints/p2", "hw1-p2-best"),
        ("hw2/checkpoints/p2", "hw2-p2-best"),
        ("hw3/checkpoints/p1", "f21-1.1"),
        ("hw3/checkpoints/p2", "f21-2.1-training"),
    ],
)
def test_data_says_what_each_committed_network_reaches(checkpoint, result):
    (row,) = [line for line in (ROOT / "docs/data.md").read_text().splitlines() if line.startswith(f"| {checkpoint}.pth |")]
    told = re.findall(r"0\.\d+", row.split("|")[-2])
    measured = items.flatten(json.loads((ROOT / f"docs/results/{result}.json").read_text())["reproduced"])
    values = [value for _, value in measured if items.is_number(value)]
    assert told and all(any(f"{value:.{len(number) - 2}f}" == number for value in values) for number in told)


def test_data_has_every_folder_that_the_scripts_read():
    text = (ROOT / "docs/data.md").read_text()
    layouts = {layout for path in ROOT.glob("hw*/*_data.py") for layout in re.findall(r'"(hw\d_data/p\d_data)"', path.read_text())}
    assert len(layouts) == 7 and all(f"data/{layout}/" in text for layout in layouts)


def test_the_script_of_contributing_runs(tmp_path, data, monkeypatch):
    blocks = {language: "\n".join(lines) for language, lines in code_blocks((ROOT / "CONTRIBUTING.md").read_text()) if language}
    ((name, entry),) = tomllib.loads(blocks["toml"])["items"].items()
    monkeypatch.setattr(items, "load", lambda: {name: items.Item(name, **entry)})
    namespace = {"__name__": "p1_counts", "__file__": str(ROOT / "hw1/p1_counts.py")}
    exec(compile(blocks["python"], "CONTRIBUTING.md", "exec"), namespace)
    args = namespace["parse_args"]([*entry["runs"][0].split()[1:], "--data", str(data), "--out", str(tmp_path)])
    result = namespace["main"](args)
    assert result["reproduced"] == entry["reported"] and result["claims"] == [{"claim": entry["claims"]["balanced"], "holds": True}]
    assert {path.name for path in tmp_path.iterdir()} == {"f22a-1.7.json", "f22a-1.7.png"}


def test_the_citation_has_what_its_format_asks_for():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert found["cff-version"] == "1.2.0" and {"message", "title"} <= found.keys()
    assert all(author.keys() == {"name"} for author in found["authors"]) and found["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
