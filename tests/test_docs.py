import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_study_file_is_what_the_code_says():
    reference = script("write_reference")

    assert (ROOT / "docs" / "study_file.md").read_text() == reference.page()


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_between_pages_lead_somewhere(page):
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page

    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_the_study_in_the_readme_is_one_psimg_takes(tmp_path):
    from psimg.study import read_study

    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "run1.root").touch()
    (tmp_path / "study.toml").write_text(block)

    study = read_study(tmp_path / "study.toml")

    assert study.settings.select.prompt_kev == (700.0, 1300.0)
    assert study.object.name == "phantom"
