"""The direction of dependencies, and what lib/ never does."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "lib").rglob("*.py"))
LEVELS = {"utils": 0, "loss": 1, "backbone": 1, "modules": 1, "data_transform": 1, "device": 1, "net": 2, "dataset": 2,
          "report": 3, "combiner": 4, "cam_sampling": 4, "update": 5, "engine": 6, "run": 7,
          "core": 8, "config": 9, "inference": 10}
READS_CONFIG = {"core/build.py", "core/build_data.py", "core/build_loading.py", "core/assemble.py"}
LONGEST = {"config/default.py": 400}   # lines: a list of all keys, which belongs in one place
FORBIDDEN_CALLS = {"eval", "exec", "print"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT / "lib"))


def package(path: Path) -> str:
    return path.relative_to(ROOT / "lib").parts[0]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: imports are absolute"
            modules.add(node.module)
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


@pytest.mark.parametrize("path", [p for p in FILES if package(p) in LEVELS], ids=name)
def test_imports_go_down(path):
    """A package imports from levels below its own, or from itself."""
    for module in imported(path):
        if module.startswith("lib."):
            other = module.split(".")[1]
            assert other == package(path) or LEVELS[other] < LEVELS[package(path)], module
        assert module.split(".")[0] not in ("main", "tools", "tests"), module


def test_a_class_name_means_one_thing():
    """In lib, main and tools."""
    files = [path for folder in ("lib", "main", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [node.name for path in files for node in tree(path).body if isinstance(node, ast.ClassDef)]
    assert [one for one in names if names.count(one) > 1] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_lib_never_does(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"line {node.lineno}: {node.func.id}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "cuda", f"line {node.lineno}: .cuda()"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"line {node.lineno}: import *"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            assert not all(isinstance(inner, ast.Pass) for inner in node.body), f"line {node.lineno}: swallowed exception"


@pytest.mark.parametrize("path", [p for p in FILES if package(p) != "config" and name(p) not in READS_CONFIG], ids=name)
def test_the_config_stops_at_build(path):
    names = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree(path)) if isinstance(node, ast.arg)}
    assert not names & {"cfg", "CfgNode", "Config", "TREE"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST.get(name(path), 260)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("path", [p for p in FILES if p.stat().st_size > 0], ids=name)
def test_modules_and_public_classes_say_what_they_are(path):
    module = tree(path)
    assert ast.get_docstring(module)
    for node in module.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
