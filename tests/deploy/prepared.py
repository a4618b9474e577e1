"""Real Compose reads each layout, prepared for the queue that is named. Prints a line for each."""

import sys
import tempfile
from pathlib import Path

from rendered import LAYOUTS, prepared, tool

with tempfile.TemporaryDirectory(prefix="grapevine-compose-") as name:
    folder = prepared(Path(name), sys.argv[1])
    for layout in LAYOUTS:
        output = tool("docker-compose", "--file", f"{layout}.yaml", "config", "--quiet", cwd=folder)
        if output.strip():
            sys.exit(output)
        print(f"ok {layout}")
