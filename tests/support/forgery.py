"""What somebody does who changes a built file and wants nobody to see."""

from __future__ import annotations

import json
from pathlib import Path

from spinn.storage import digest_file


def forge(out: Path, name: str) -> None:
    """Make the manifest agree with a changed file."""
    manifest = json.loads((out / "build.json").read_bytes())
    manifest["outputs"][name] = digest_file(out / name)
    (out / "build.json").write_text(json.dumps(manifest))
