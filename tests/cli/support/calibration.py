"""Shared by tests that run the model before planning."""

import pathlib
import shutil

import harness

DEMO = pathlib.Path(__file__).resolve().parents[3] / "models/demo"
LITTLE = ("--calibration-rows", 8, "--calibration-length", 64)
SIZES = {"hidden": 64, "layers": 2, "intermediate": 64, "vocab": 1536, "experts": 4}


class CalibrationTest(harness.ProgramTest):
    def setUp(self):
        """A tiny model that the bundled tokenizer fits: sanitized builds are slow."""
        super().setUp()
        config = harness.tiny_config(**SIZES) | {"bos_token_id": 0, "eos_token_id": 0}
        self.model = harness.write_model(self.folder / "model", config=config, **SIZES)
        shutil.copy(DEMO / "tokenizer.json", self.model)
