"""The shape of the project: what lies where, how long it may be, and what may not be written down."""

import ast
import fnmatch
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md", "compose", "pyproject.toml", "scripts", "sidecar",
    "tests", "worker",
}  # fmt: skip
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 40

# Home folders, the folder this checkout happens to be in, and hosts that packages come from.
PLACES = re.compile(
    r"(?<![\w.])/(?:root|home/\w+|Users/\w+)/"
    r"|\b(?:pypi|pythonhosted|npmjs|debian|ubuntu|docker)\.(?:org|com|io)\b|\bghcr\.io\b"
)


@pytest.fixture(scope="module")
def project_files() -> list[Path]:
    """Every file that git has or would take, relative to the root."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: there is no telling what belongs to the project")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_holds_only_what_the_house_map_names(project_files: list[Path]):
    assert {path.parts[0] for path in project_files} <= TOP_LEVEL


def test_no_file_of_the_packages_is_longer_than_a_person_reads_at_once():
    lengths = {str(path): len(text.splitlines()) for path, text in sources()}
    assert not {name: length for name, length in lengths.items() if length > MAX_FILE_LINES}


def test_no_function_is_longer_than_a_screen():
    lengths = {f"{path}:{node.lineno} {node.name}": function_lines(node) for path, node in functions()}
    assert not {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}


def test_nothing_names_one_machine_or_a_registry(project_files: list[Path]):
    assert not [f"{path}: {found}" for path in project_files if (found := place_in(ROOT / path))]


@pytest.mark.parametrize(
    ("text", "is_place"),
    [
        ("see /" + "home/ada/notes", True),
        ("from " + "pypi" + ".org", True),
        (str(ROOT / "x"), True),
        ("root/x, $HOME/x, https://example.org, ~/x", False),
    ],
)
def test_a_place_is_recognised(tmp_path: Path, text: str, is_place: bool):
    (tmp_path / "file").write_text(text)
    assert bool(place_in(tmp_path / "file")) == is_place


def test_every_data_file_of_the_packages_is_shipped(project_files: list[Path]):
    """An editable install shows all files; a wheel holds those that pyproject.toml names."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = pyproject["tool"]["setuptools"]["package-data"]["*"]
    data = [path for path in project_files if path.parts[0] in {"sidecar", "worker"} and path.suffix != ".py"]
    assert not [str(path) for path in data if not any(fnmatch.fnmatch(path.name, each) for each in shipped)]


def test_the_scripts_can_be_run(project_files: list[Path]):
    scripts = [path for path in project_files if path.parts[0] in {"scripts", ".ci"} and not path.suffix]
    assert scripts
    assert not [str(path) for path in scripts if not (ROOT / path).stat().st_mode & 0o100]


def place_in(path: Path) -> str | None:
    """The first place of one machine in a text file; None when there is none."""
    text = path.read_text(errors="replace")
    found = PLACES.search(text)
    if found:
        return found[0]
    # A checkout right under / (`/app`, in a container) has a name that others may well use.
    return str(ROOT) if len(ROOT.parts) > 2 and re.search(re.escape(str(ROOT)) + r"\b", text) else None


def sources() -> Iterator[tuple[Path, str]]:
    """The Python files of the packages with their text."""
    for package in ("sidecar", "worker"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text()


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method of the packages."""
    for path, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How long a function is without its docstring."""
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    return lines - ((docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0)
