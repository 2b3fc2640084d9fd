#!/usr/bin/env python3
"""examples/ with the installed library: found by find_package, linked, run."""

import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Examples(harness.ProgramTest):
    def call(self, *words):
        done = subprocess.run([str(word) for word in words], cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        return done.stdout

    def test_fit_is_stopped_from_another_thread_and_goes_on_twice_in_one_process(self):
        build = pathlib.Path(harness.PROGRAM).parent
        self.call("cmake", "--install", build, "--prefix", self.folder / "installed")
        self.call("cmake", "-G", "Ninja", "-S", ROOT / "examples", "-B", "build",
                  f"-DCMAKE_PREFIX_PATH={self.folder / 'installed'}")
        self.call("cmake", "--build", "build")
        demo = ROOT / "models/demo"
        out = self.call(self.folder / "build/fit", demo, self.folder / "out", 4_000_000)
        self.assertEqual(out.count("interrupted\n"), 2, out)
        self.assertEqual(out.count(" bytes, 0 problems\n"), 2, out)
        self.assertEqual(self.ram("fit", demo, "--effort", "fast", "--budget", 4_000_000, "-o", "alone").status, 0)
        for name in ("out-1", "out-2"):
            self.assertEqual(harness.files_of(self.folder / name), harness.files_of(self.folder / "alone"), name)

    def setUp(self):
        super().setUp()
        if shutil.which("cmake") is None:
            self.skipTest("skipped: cmake is not installed")


if __name__ == "__main__":
    harness.main()
