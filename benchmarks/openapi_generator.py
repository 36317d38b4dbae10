"""Generates a client for the endpoint with openapi-python-client, from the description in this module."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.clients import PATH

PACKAGE = "generated_clicks"


def generate(folder: Path) -> None:
    """Generate the package `PACKAGE` in a folder, without using the network.

    Raises:
        RuntimeError: openapi-python-client failed.
    """
    description, config = folder / "openapi.json", folder / "generator.yaml"
    description.write_text(json.dumps(DESCRIPTION))
    config.write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--overwrite"]
    command += ["--path", str(description), "--config", str(config), "--output-path", str(folder / PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openapi-python-client failed:\n{done.stdout}{done.stderr}")


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_WHOLE, _TEXT = {"type": "integer"}, {"type": "string"}
_ROW = _object(grpIdx=_WHOLE, grpNm=_TEXT, acesCnt=_WHOLE, pernCnt=_WHOLE)
_EXTRA = _object(pages=_WHOLE, nextPages=_WHOLE, nextYn=_TEXT, count=_WHOLE, totalCount=_WHOLE)
_SCHEMAS = {
    "Row": _ROW,
    "Extra": _EXTRA,
    "Listing": _object(
        extra={"$ref": "#/components/schemas/Extra"},
        list={"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
    ),
    "Envelope": _object(code=_WHOLE, message=_TEXT, result={"$ref": "#/components/schemas/Listing"}),
}
_ANSWER = {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}}

DESCRIPTION: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Clicks by Group", "version": "1"},
    "paths": {
        PATH: {
            "get": {
                "operationId": "clicks_by_group",
                "parameters": [
                    {"name": "ymd", "in": "query", "required": True, "schema": {"type": "string", "format": "date"}},
                    {"name": "pages", "in": "query", "required": True, "schema": _WHOLE},
                ],
                "responses": {"200": {"description": "one page", "content": _ANSWER}},
                "security": [{"key": []}],
            }
        }
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    },
}
