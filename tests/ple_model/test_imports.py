"""Modules that must import without torch: what a code location loads, and evaluation on machines without it."""

import subprocess
import sys

FREE = (
    "ple_model.boosting.choice",
    "ple_model.boosting.files",
    "ple_model.boosting.search",
    "ple_model.evaluation.blending",
    "ple_model.evaluation.breakdown",
    "ple_model.evaluation.compare",
    "ple_model.evaluation.pooled",
    "ple_model.evaluation.uncertainty",
    "ple_model.evaluation.uplift",
    "ple_model.tasks",
    "ple_model.config",
    "ple_model.config.baselines",
    "ple_model.training.config",
    "ple_model.serving.files",
)


def test_imports_without_torch() -> None:
    code = f"""
import importlib, sys
for module in {FREE!r}:
    importlib.import_module(module)
    assert "torch" not in sys.modules, module
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
