"""Run ``psimg demo`` and put its table and its lifetime map where the README shows them."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["psimg", "demo"], cwd=folder, check=True, capture_output=True, text=True
        )
        figures = Path(folder) / "psimg-demo" / "results" / "figures"
        images = ROOT / "docs" / "images"
        images.mkdir(exist_ok=True)
        shutil.copy(figures / "map-tau_ops.png", images / "demo_tau_ops.png")
    block = f"<!-- demo:begin -->\n```\n{done.stdout.rstrip()}\n```\n<!-- demo:end -->"
    readme = ROOT / "README.md"
    text = readme.read_text()
    readme.write_text(
        re.sub(r"<!-- demo:begin -->.*?<!-- demo:end -->", lambda _: block, text, flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
