#!/usr/bin/env python3
"""Holds the tree to docs/architecture.md: who may include whom, and how long a file may be.

A module includes public headers of lower layers and its own, and private headers of its own
folder only.
Every rule is also shown to fail on a small tree with that one fault planted.
"""

import re
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    "base": 0,
    "safetensors": 1,
    "quant": 1,
    "allocate": 1,
    "tokenizer": 1,
    "checkpoint": 2,
    "study": 2,
    "encoder": 2,
    "curve": 3,
    "engine": 3,
    "plan": 4,
    "eval": 4,
    "build": 5,
    "calibrate": 5,
    "tasks": 5,
    "report": 5,
    "cli": 6,
}
# Public headers that are not named after their module.
HEADERS = {
    "number": "base",
    "scoped": "base",
    "error": "base",
    "size": "base",
    "suggest": "base",
    "dtype": "base",
    "thread": "base",
    "hash": "base",
    "random": "base",
    "csv": "base",
    "utf8": "base",
    "file": "base",
    "text": "base",
    "file_fault": "base",
    "json": "base",
    "simd_targets": "base",
    "mlx_layout": "checkpoint",
    "model_config": "checkpoint",
    "statistics": "eval",
    "answers": "eval",
}
LINES_MOST = 500
SOURCE_FOLDERS = ("include", "src", "tests", "bench", "fuzz", "scripts", "cmake")
SOURCE_SUFFIXES = {".cpp", ".h", ".py", ".sh", ".cmake", ""}
DATA_FOLDERS = {"vectors", "corrupt", "corpus"}
# JSON is read by base's parse_json, which bounds it. A safetensors header is read as events.
JSON_READERS = {"src/base/json.cpp", "src/safetensors/safetensors.cpp"}
JSON_READING = re.compile(r"[jJ]son::(?:sax_)?parse\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def module_of(header: str):
    """The module of ram/<header>.h, or None."""
    return HEADERS.get(header, header if header in LAYERS else None)


def includes(path: Path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def public_problems(root: Path, path: Path, module: str, name: str):
    """What is wrong with a file of `module` that includes "ram/<...>"."""
    where = path.relative_to(root)
    target = module_of(Path(name).stem)
    if target is None or name != f"ram/{Path(name).stem}.h":
        return [
            f"{where}: includes {name}: no module has this header (see HEADERS in layering_test.py)"
        ]
    if not (root / "include" / name).exists():
        return [f"{where}: includes {name}, which does not exist"]
    if target == module or LAYERS[target] < LAYERS[module]:
        return []
    return [
        f"{where}: {module} (layer {LAYERS[module]}) includes {name} of {target} (layer "
        f"{LAYERS[target]}): only lower layers may be included"
    ]


def source_problems(root: Path):
    """Includes of src/<module>/: lower public headers, own private ones, tests/support."""
    problems = []
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        module = folder.name
        if module not in LAYERS:
            problems.append(
                f"src/{module}: this module has no layer (see LAYERS in layering_test.py)"
            )
            continue
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".cpp", ".h"):
                continue
            test = "test" in path.stem.split("_")
            for name in includes(path):
                if name.startswith("ram/"):
                    problems += public_problems(root, path, module, name)
                elif name.startswith("support/") and test and (root / "tests" / name).exists():
                    pass
                elif not ((folder / name).exists() and folder in (folder / name).resolve().parents):
                    problems.append(
                        f"{path.relative_to(root)}: includes {name}: not a header of its own folder"
                    )
    return problems


def header_problems(root: Path):
    """Includes of include/ram/: public headers of its module or of lower layers."""
    problems = []
    for path in sorted((root / "include" / "ram").glob("*")):
        module = module_of(path.stem)
        if module is None or path.suffix != ".h":
            problems.append(f"{path.relative_to(root)}: this header belongs to no module")
            continue
        for name in includes(path):
            if name.startswith("ram/"):
                problems += public_problems(root, path, module, name)
            else:
                problems.append(
                    f"{path.relative_to(root)}: a public header includes {name}, which is private"
                )
    return problems


def size_problems(root: Path):
    """Files too long to be one thing."""
    problems = []
    for folder in SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if (
                path.suffix not in SOURCE_SUFFIXES
                or not path.is_file()
                or "__pycache__" in path.parts
            ):
                continue
            if DATA_FOLDERS & set(path.parts):
                continue
            lines = path.read_bytes().count(b"\n")
            if lines > LINES_MOST:
                problems.append(f"{path.relative_to(root)}: {lines} lines, at most {LINES_MOST}")
    return problems


def json_problems(root: Path):
    """Sources that read JSON by themselves; tests may, of texts that we wrote."""
    problems = []
    for path in sorted((root / "src").rglob("*")):
        where = path.relative_to(root).as_posix()
        if path.suffix not in (".cpp", ".h") or "test" in path.stem.split("_"):
            continue
        if where not in JSON_READERS and JSON_READING.search(path.read_text(encoding="utf-8")):
            problems.append(f"{where}: reads JSON without bounds: use parse_json (ram/json.h)")
    return problems


class TheTree(unittest.TestCase):
    def test_a_module_includes_lower_layers_and_its_own_headers_only(self):
        self.assertEqual([], source_problems(ROOT))

    def test_a_public_header_includes_lower_public_headers_only(self):
        self.assertEqual([], header_problems(ROOT))

    def test_json_is_read_in_one_place(self):
        self.assertEqual([], json_problems(ROOT))

    def test_no_source_file_is_too_long(self):
        self.assertEqual([], size_problems(ROOT))


class PlantedFaults(unittest.TestCase):
    """The checks above see what they are there for."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.write("include/ram/error.h", "#pragma once\n")
        self.write("include/ram/quant.h", '#include "ram/error.h"\n')
        self.write("include/ram/allocate.h", "#pragma once\n")
        self.write("include/ram/checkpoint.h", '#include "ram/quant.h"\n')
        self.write("include/ram/mlx_layout.h", '#include "ram/checkpoint.h"\n')
        self.write("src/quant/own.h", "#pragma once\n")
        self.write(
            "src/quant/a.cpp", '#include "ram/quant.h"\n#include "own.h"\n#include <vector>\n'
        )
        self.write("src/checkpoint/b.cpp", '#include "ram/mlx_layout.h"\n#include "ram/quant.h"\n')
        self.write("src/quant/a_test.cpp", '#include "support/temp.h"\n')
        self.write("tests/support/temp.h", "#pragma once\n")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def problems(self):
        checks = (source_problems, header_problems, size_problems, json_problems)
        return [problem for check in checks for problem in check(self.root)]

    def planted(self, name, text, says):
        self.assertEqual([], self.problems())
        self.write(name, text)
        problems = self.problems()
        self.assertEqual(1, len(problems), problems)
        self.assertIn(name, problems[0])
        self.assertIn(says, problems[0])

    def test_an_include_of_a_higher_layer_is_found(self):
        self.planted("src/quant/c.cpp", '#include "ram/checkpoint.h"\n', "only lower layers")

    def test_a_higher_layers_header_with_another_name_is_found(self):
        self.planted("src/quant/c.cpp", '  #  include "ram/mlx_layout.h"\n', "only lower layers")

    def test_an_include_of_the_same_layer_is_found(self):
        self.planted("src/quant/c.cpp", '#include "ram/allocate.h"\n', "only lower layers")

    def test_another_modules_private_header_is_found(self):
        self.planted("src/checkpoint/c.cpp", '#include "own.h"\n', "not a header of its own folder")

    def test_another_modules_private_header_by_path_is_found(self):
        self.planted(
            "src/checkpoint/c.cpp", '#include "../quant/own.h"\n', "not a header of its own folder"
        )

    def test_a_test_support_header_outside_tests_is_found(self):
        self.planted(
            "src/quant/c.cpp", '#include "support/temp.h"\n', "not a header of its own folder"
        )

    def test_a_public_header_that_looks_up_is_found(self):
        self.planted("include/ram/file.h", '#include "ram/quant.h"\n', "only lower layers")

    def test_a_public_header_with_private_parts_is_found(self):
        self.planted("include/ram/file.h", '#include "own.h"\n', "private")

    def test_a_public_header_of_no_module_is_found(self):
        self.planted("include/ram/helpers.h", "#pragma once\n", "belongs to no module")

    def test_an_unknown_module_is_found(self):
        self.write("src/misc/c.cpp", "\n")
        self.assertEqual(1, len(self.problems()))
        self.assertIn("src/misc: this module has no layer", self.problems()[0])

    def test_json_read_without_bounds_is_found(self):
        self.planted("src/quant/c.cpp", "auto a = nlohmann::json::parse(text);\n", "parse_json")

    def test_a_long_file_is_found(self):
        self.planted("src/quant/c.cpp", "\n" * (LINES_MOST + 1), "lines")


if __name__ == "__main__":
    if len(sys.argv) == 2 and Path(sys.argv[1]).is_dir():
        ROOT = Path(sys.argv.pop()).resolve()  # another tree than the one that this file is in
    unittest.main()
