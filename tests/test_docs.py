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


def test_the_page_of_the_simulation_file_is_what_the_code_says():
    reference = script("write_reference")

    page = (ROOT / "docs" / "simulation_file.md").read_text()
    assert page == reference.simulation_page()


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


def test_the_simulation_on_its_page_is_one_psimg_takes(tmp_path):
    from psimg.study import read_simulation

    page = (ROOT / "docs" / "simulation.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    whole = [block for block in blocks if "[simulation]" in block]
    assert whole
    for block in whole:
        (tmp_path / "sim.toml").write_text(block)
        assert read_simulation(tmp_path / "sim.toml").acquisition.expected_decays > 0
