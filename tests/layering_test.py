#!/usr/bin/env python3
"""Checks the tree against CMakeLists.txt and docs/architecture.md: allowed includes, and the length of files.

A module includes public headers of its own and of the modules that its ram_module() names, and private headers only
of its own folder. A test may include those of any module that is declared before its own.
Every rule is also shown to fail on a small tree with that one fault.
"""

import re
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Public headers that are not named after their module.
HEADERS = {
    "number": "base",
    "scoped": "base",
    "json_tree": "base",
    "machine": "base",
    "progress": "base",
    "cancellation": "base",
    "error": "base",
    "size": "base",
    "suggest": "base",
    "dtype": "base",
    "thread": "base",
    "hash": "base",
    "random": "base",
    "csv": "base",
    "json_text": "base",
    "utf8": "base",
    "file": "base",
    "text": "base",
    "file_fault": "base",
    "mount": "base",
    "json": "base",
    "simd_targets": "base",
    "mlx_layout": "checkpoint",
    "model_config": "checkpoint",
    "what_if": "plan",
    "what_if_json": "plan",
    "statistics": "eval",
    "generate": "eval",
    "logits_file": "eval",
    "eval_verdict": "eval",
    "tasks_verdict": "tasks",
    "token_ids": "tokenizer",
    "eval_json": "eval",
    "tasks_json": "tasks",
    "fit_json": "fit",
    "arguments": "command_line",
    "console": "command_line",
    "outputs": "command_line",
    "study_place": "command_line",
    "table": "command_line",
    "curve_table": "curve",
    "answers": "eval",
    "score_table": "eval",
    "build_table": "build",
    "calibration_table": "calibrate",
    "answer_table": "eval",
    "study_table": "study",
}
LINES_MOST = 500
SOURCE_FOLDERS = ("include", "src", "tests", "bench", "fuzz", "scripts", "cmake")
SOURCE_SUFFIXES = {".cpp", ".h", ".py", ".sh", ".cmake", ""}
DATA_FOLDERS = {"vectors", "corrupt", "corpus"}
# Rooms of a module, and the rooms whose headers each may include, besides those of the module's own folder.
ROOMS = {"engine": {"model": {"model", "arch"}, "arch": {"arch"}, "cpu": {"cpu"}}}
# JSON is read by base's parse_json, which limits it. A safetensors header is read as events.
JSON_READERS = {"src/base/json.cpp", "src/safetensors/safetensors.cpp"}
JSON_READING = re.compile(r"[jJ]son::(?:sax_)?parse\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
DECLARED = re.compile(r"^ram_(?:module|program\(ram)\s*[( ]\s*([^)]*)\)", re.MULTILINE)
# A line of the picture: its number, and the modules on it.
LAYER = re.compile(r"^ {4}([0-9]) +([^|\n]*)", re.MULTILINE)


def declared_modules(root: Path):
    """@return module -> the modules that it names, in the order of CMakeLists.txt."""
    words = [found.split() for found in DECLARED.findall((root / "CMakeLists.txt").read_text(encoding="utf-8"))]
    return {names[0]: names[1:] for names in words}


def module_of(header: str, modules):
    """The module of ram/<header>.h, or None."""
    return HEADERS.get(header, header if header in modules else None)


def includes(path: Path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def public_problems(root: Path, path: Path, module: str, name: str, modules):
    """Problems of a file of `module` that includes "ram/<...>"."""
    where = path.relative_to(root)
    target = module_of(Path(name).stem, modules)
    if target is None or name != f"ram/{Path(name).stem}.h":
        return [
            f"{where}: includes {name}: no module has this header (see HEADERS in layering_test.py)"
        ]
    if not (root / "include" / name).exists():
        return [f"{where}: includes {name}, which does not exist"]
    order = list(modules)
    test = "test" in path.stem.split("_")
    if target == module or target in modules[module]:
        return []
    if test and target in order[: order.index(module)]:
        return []
    return [f"{where}: includes {name} of {target}, which ram_module({module}) does not name"]


def declaration_problems(root: Path):
    """Modules that are named before they are declared, or without use."""
    modules = declared_modules(root)
    problems, before = [], []
    for module, named in modules.items():
        used = set()
        for path in [*(root / "src" / module).rglob("*"), *(root / "include/ram").glob("*.h")]:
            own = path.suffix in (".cpp", ".h") and "test" not in path.stem.split("_")
            if own and (path.parent.name != "ram" or module_of(path.stem, modules) == module):
                used |= {module_of(Path(name).stem, modules) for name in includes(path) if name.startswith("ram/")}
        for name in named:
            if name not in before:
                problems.append(f"CMakeLists.txt: ram_module({module}) names {name}, which is not declared before it")
            elif name not in used:
                problems.append(f"CMakeLists.txt: ram_module({module}) names {name} and includes nothing of it")
        before.append(module)
    return problems


def picture_problems(root: Path):
    """The picture has every module, above all modules that it includes; the text names every public header."""
    modules = declared_modules(root)
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    layer_of = {}
    for number, line in LAYER.findall(text):
        layer_of |= {word: int(number) for word in line.split()}
    problems = [
        f"docs/architecture.md: names no {path.name}"
        for path in sorted((root / "include/ram").glob("*.h"))
        if not re.search(rf"\b{path.name}\b", text)
    ]
    for module, named in modules.items():
        if module not in layer_of:
            problems.append(f"docs/architecture.md: the picture has no {module}")
            continue
        problems += [
            f"docs/architecture.md: the picture has {module} not above {name}"
            for name in named
            if layer_of.get(name, -1) >= layer_of[module]
        ]
    return problems


def source_problems(root: Path):
    """Includes of src/<module>/: public headers of named modules, own private ones, tests/support."""
    modules = declared_modules(root)
    problems = []
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        module = folder.name
        if module not in modules:
            problems.append(f"src/{module}: CMakeLists.txt declares no such module")
            continue
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".cpp", ".h"):
                continue
            test = "test" in path.stem.split("_")
            for name in includes(path):
                if name.startswith("ram/"):
                    problems += public_problems(root, path, module, name, modules)
                elif name.startswith("support/") and test and (root / "tests" / name).exists():
                    pass
                elif not ((folder / name).exists() and folder in (folder / name).resolve().parents):
                    problems.append(
                        f"{path.relative_to(root)}: includes {name}: not a header of its own folder"
                    )
    return problems


def room_problems(root: Path):
    """Includes between the rooms of a module: model and architectures know only the backend's header."""
    problems = []
    for module, rooms in ROOMS.items():
        for path in sorted((root / "src" / module).glob("*/*")):
            room = path.parent.name
            if path.suffix not in (".cpp", ".h"):
                continue
            if room not in rooms:
                problems.append(f"{path.relative_to(root)}: {room} is no room of {module} (see ROOMS in layering_test.py)")
                continue
            for name in includes(path):
                target = name.split("/")[0] if "/" in name else None
                if target in rooms and target not in rooms[room]:
                    problems.append(f"{path.relative_to(root)}: includes {name}: {room} knows nothing of {target}")
    return problems


def header_problems(root: Path):
    """Includes of include/ram/: public headers of its module or of those that it names."""
    modules = declared_modules(root)
    problems = []
    for path in sorted((root / "include" / "ram").glob("*")):
        module = module_of(path.stem, modules)
        if module not in modules or path.suffix != ".h":
            problems.append(f"{path.relative_to(root)}: this header belongs to no module")
            continue
        for name in includes(path):
            if name.startswith("ram/"):
                problems += public_problems(root, path, module, name, modules)
            else:
                problems.append(
                    f"{path.relative_to(root)}: a public header includes {name}, which is private"
                )
    return problems


def size_problems(root: Path):
    """Files that are too long."""
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
    """Sources that parse JSON directly; tests may, for texts that we wrote."""
    problems = []
    for path in sorted((root / "src").rglob("*")):
        where = path.relative_to(root).as_posix()
        if path.suffix not in (".cpp", ".h") or "test" in path.stem.split("_"):
            continue
        if where not in JSON_READERS and JSON_READING.search(path.read_text(encoding="utf-8")):
            problems.append(f"{where}: reads JSON without bounds: use parse_json (ram/json.h)")
    return problems


class TheTree(unittest.TestCase):
    def test_a_module_includes_headers_of_the_modules_that_it_names_and_its_own_only(self):
        self.assertEqual([], source_problems(ROOT))

    def test_a_room_of_a_module_includes_headers_of_rooms_that_it_may(self):
        self.assertEqual([], room_problems(ROOT))

    def test_a_public_header_does_too(self):
        self.assertEqual([], header_problems(ROOT))

    def test_modules_are_named_after_they_are_declared_and_for_something(self):
        self.assertEqual([], declaration_problems(ROOT))

    def test_the_picture_shows_them(self):
        self.assertEqual([], picture_problems(ROOT))

    def test_json_is_read_in_one_place(self):
        self.assertEqual([], json_problems(ROOT))

    def test_no_source_file_is_too_long(self):
        self.assertEqual([], size_problems(ROOT))


class PlantedFaults(unittest.TestCase):
    """The checks above detect the faults that they are made for."""

    HEADERS = "error.h quant.h allocate.h checkpoint.h mlx_layout.h file.h helpers.h\n"

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.write("CMakeLists.txt", "ram_module(base)\nram_module(quant base)\nram_module(allocate base)\n"
                   "ram_module(checkpoint base quant)\nram_program(ram cli quant)\n")  # fmt: skip
        self.write("docs/architecture.md", "    2  cli checkpoint | two of base\n"
                   "    1  quant allocate\n    0  base | errors\n" + self.HEADERS)  # fmt: skip
        self.write("include/ram/error.h", "#pragma once\n")
        self.write("include/ram/quant.h", '#include "ram/error.h"\n')
        self.write("include/ram/allocate.h", '#include "ram/error.h"\n')
        self.write("src/cli/main.cpp", '#include "ram/quant.h"\n')
        self.write("include/ram/checkpoint.h", '#include "ram/quant.h"\n')
        self.write("include/ram/mlx_layout.h", '#include "ram/checkpoint.h"\n')
        self.write("src/quant/own.h", "#pragma once\n")
        self.write(
            "src/quant/a.cpp", '#include "ram/quant.h"\n#include "own.h"\n#include <vector>\n'
        )
        self.write("src/checkpoint/b.cpp", '#include "ram/mlx_layout.h"\n#include "ram/error.h"\n')
        self.write("src/checkpoint/b_test.cpp", '#include "ram/allocate.h"\n')
        self.write("src/quant/a_test.cpp", '#include "support/temp.h"\n')
        self.write("tests/support/temp.h", "#pragma once\n")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def problems(self):
        checks = (source_problems, room_problems, header_problems, declaration_problems, picture_problems,
                  size_problems, json_problems)  # fmt: skip
        return [problem for check in checks for problem in check(self.root)]

    def planted(self, name, text, says):
        self.assertEqual([], self.problems())
        self.write(name, text)
        problems = self.problems()
        self.assertEqual(1, len(problems), problems)
        self.assertIn(name, problems[0])
        self.assertIn(says, problems[0])

    def test_an_include_of_a_module_that_is_not_named_is_found(self):
        self.planted("src/quant/c.cpp", '#include "ram/checkpoint.h"\n', "does not name")

    def test_a_header_with_another_name_than_its_module_is_found(self):
        self.planted("src/quant/c.cpp", '  #  include "ram/mlx_layout.h"\n', "does not name")

    def test_what_a_named_module_names_is_not_named_by_it(self):
        self.planted("src/cli/c.cpp", '#include "ram/error.h"\n', "does not name")

    def test_a_test_may_not_include_what_comes_later(self):
        self.planted("src/quant/c_test.cpp", '#include "ram/checkpoint.h"\n', "does not name")

    def test_a_module_named_for_nothing_is_found(self):
        self.planted("CMakeLists.txt", "ram_module(base)\nram_module(quant base)\nram_module(allocate base)\n"
                     "ram_module(checkpoint base quant allocate)\nram_program(ram cli quant)\n",
                     "includes nothing of it")  # fmt: skip

    def test_a_module_named_before_it_is_declared_is_found(self):
        self.planted("CMakeLists.txt", "ram_module(quant base)\nram_module(base)\nram_module(allocate base)\n"
                     "ram_module(checkpoint base quant)\nram_program(ram cli quant)\n", "not declared")  # fmt: skip

    def test_a_module_that_the_picture_lacks_is_found(self):
        self.planted("docs/architecture.md", "    2  cli  checkpoint\n    1  quant\n    0  base\n" + self.HEADERS,
                     "the picture has no allocate")  # fmt: skip

    def test_a_header_that_the_text_does_not_name_is_found(self):
        self.planted("docs/architecture.md", "    2  cli checkpoint\n    1  quant allocate\n    0  base\n"
                     + self.HEADERS.replace("quant.h", ""), "names no quant.h")  # fmt: skip

    def test_a_module_that_the_picture_has_too_low_is_found(self):
        self.planted("docs/architecture.md", "    2  cli\n    1  quant  allocate  checkpoint\n    0  base\n" + self.HEADERS,
                     "checkpoint not above quant")  # fmt: skip

    def test_another_modules_private_header_is_found(self):
        self.planted("src/checkpoint/c.cpp", '#include "own.h"\n', "not a header of its own folder")

    def test_another_modules_private_header_by_path_is_found(self):
        self.planted(
            "src/checkpoint/c.cpp", '#include "../quant/own.h"\n', "not a header of its own folder"
        )

    def plant_engine(self):
        self.write("CMakeLists.txt", (self.root / "CMakeLists.txt").read_text() + "ram_module(engine base)\n")
        self.write("docs/architecture.md", (self.root / "docs/architecture.md").read_text().replace(
            "quant allocate\n", "quant allocate engine\n") + "engine.h\n")  # fmt: skip
        self.write("include/ram/engine.h", '#include "ram/error.h"\n')
        self.write("src/engine/backend.h", "#pragma once\n")
        self.write("src/engine/arch/blocks.h", '#include "backend.h"\n')
        self.write("src/engine/cpu/tiles.h", '#include "backend.h"\n')
        self.write("src/engine/backend.cpp", '#include "cpu/tiles.h"\n')
        self.write("src/engine/model/state.h", '#include "arch/blocks.h"\n#include "backend.h"\n')

    def test_a_model_that_looks_into_the_cpu_is_found(self):
        self.plant_engine()
        self.planted("src/engine/model/state.cpp", '#include "cpu/tiles.h"\n', "knows nothing of cpu")

    def test_an_architecture_that_looks_into_the_model_is_found(self):
        self.plant_engine()
        self.planted("src/engine/arch/a.cpp", '#include "model/state.h"\n', "knows nothing of model")

    def test_a_room_that_nobody_named_is_found(self):
        self.plant_engine()
        self.planted("src/engine/gpu/a.cpp", "\n", "no room of engine")

    def test_a_test_support_header_outside_tests_is_found(self):
        self.planted(
            "src/quant/c.cpp", '#include "support/temp.h"\n', "not a header of its own folder"
        )

    def test_a_public_header_that_looks_up_is_found(self):
        self.planted("include/ram/file.h", '#include "ram/quant.h"\n', "does not name")

    def test_a_public_header_with_private_parts_is_found(self):
        self.planted("include/ram/file.h", '#include "own.h"\n', "private")

    def test_a_public_header_of_no_module_is_found(self):
        self.planted("include/ram/helpers.h", "#pragma once\n", "belongs to no module")

    def test_an_unknown_module_is_found(self):
        self.write("src/misc/c.cpp", "\n")
        self.assertEqual(1, len(self.problems()))
        self.assertIn("src/misc: CMakeLists.txt declares no such module", self.problems()[0])

    def test_json_read_without_bounds_is_found(self):
        self.planted("src/quant/c.cpp", "auto a = nlohmann::json::parse(text);\n", "parse_json")

    def test_a_long_file_is_found(self):
        self.planted("src/quant/c.cpp", "\n" * (LINES_MOST + 1), "lines")


if __name__ == "__main__":
    if len(sys.argv) == 2 and Path(sys.argv[1]).is_dir():
        ROOT = Path(sys.argv.pop()).resolve()  # another tree than the one that this file is in
    unittest.main()
