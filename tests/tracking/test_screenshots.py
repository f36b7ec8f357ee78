"""The dashboard in a real browser: every page opens, shows what it must, and is kept as a picture.

Skipped without Playwright and Chromium (`docs/dashboard.md` says how they are installed). `UNLOCKED_SHOTS` names the
folder of the pictures.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unlocked import load_config, sweep, train
from unlocked.files import read_json
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.views import CHARTS, RESULTS, TRIALS, links, run_link

api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
QUICK = ["parallel.engine=inprocess", "train.epochs=2"]
pytestmark = [
    pytest.mark.slow("five runs, MLflow's server and a browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Three schemes and a small search, in one store."""
    root = tmp_path_factory.mktemp("dashboard") / "runs"
    for scheme in ("frozen", "backprop", "cdni"):
        train(load_config("quickstart", [*QUICK, f"tracking.runs={root}", f"scheme.name={scheme}"]))
    study = root.parent / "search.yaml"
    study.write_text(
        "extends: quickstart\nname: search\nsweep:\n  sampler: random\n  trials: 2\n  metric: best/val_accuracy\n"
        "  space:\n    optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
    )
    sweep(load_config(str(study), [*QUICK, f"tracking.runs={root}"]))
    return root


@pytest.fixture(scope="module")
def dashboard(runs: Path, free_port_of_module: int):
    command = [sys.executable, "-m", "unlocked", "ui", "--runs", str(runs), "--port", str(free_port_of_module)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        lines: list[str] = []
        assert server.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(iter(server.stdout.readline, "")), daemon=True)
        reader.start()
        try:
            until = time.monotonic() + 180
            while not any("Ctrl-C" in line for line in lines) and time.monotonic() < until:
                assert server.poll() is None, lines
                time.sleep(0.2)
            yield f"http://127.0.0.1:{free_port_of_module}", "".join(lines)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


@pytest.fixture(scope="module")
def free_port_of_module() -> int:
    from unlocked.network import free_port

    return free_port()


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


def look(browser, url: str, name: str, words: list[str], click: str | None = None) -> str:
    """The text of a page once it shows all of `words`; a picture of it is kept."""
    page = browser.new_page(viewport={"width": 1500, "height": 1400})
    try:
        page.goto(url)
        for word in words[: None if click is None else 1]:
            page.get_by_text(word).first.wait_for(timeout=60_000)
        if click is not None:
            page.get_by_text(click).first.click()
            for word in words:
                page.get_by_text(word).first.wait_for(timeout=60_000)
        page.wait_for_timeout(2000)  # charts are drawn
        if "UNLOCKED_SHOTS" in os.environ:
            folder = Path(os.environ["UNLOCKED_SHOTS"])
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}.png")
        shown: str = page.inner_text("body")
        assert "Ask questions about" not in shown, "the assistant's panel is open"
        assert "Observability" not in shown, "the page is that of language models"
        return shown
    finally:
        page.close()


def known(folder: Path) -> dict:
    return read_json(TrackingFolder(folder).mlflow)


def test_every_page_shows_what_it_must(runs: Path, dashboard, browser):
    url, told = dashboard
    (run,), study = list(runs.glob("quickstart-cdni-*")), runs / "search"
    experiment, page = known(run)["experiment_id"], dict(links(url, known(run)["experiment_id"], with_trials=True))
    assert page["Results"] in told
    assert page["Trials"] in told
    assert "cdni" in look(browser, f"{url}/#/experiments", "experiments", ["unlocked"])
    results = look(browser, page["Results"], RESULTS, ["cdni s0", "frozen s0", "test/accuracy"])
    assert re.search(r"backprop", results)
    look(browser, page["By scheme"], "by-scheme", ["Group: cdni", "Group: frozen"])
    look(browser, page["Charts"], CHARTS, ["1 Result", "2 Learning: train and validation"])
    look(browser, page["Trials"], TRIALS, ["#0 cdni"])
    text = look(
        browser,
        f"{url}/{run_link(experiment, known(run)['run_id'])}",
        "run",
        ["test accuracy", "control frozen"],
        "Show more",
    )
    for words in ("baseline backprop", "waiting", "unlocked train quickstart", "unlocked.load", "mlflow models serve"):
        assert words in text
    text = look(
        browser, f"{url}/{run_link(experiment, known(study)['run_id'])}", "study", ["trials complete"], "Show more"
    )
    assert "best.yaml" in text
    # what a click opens is no page of language models either
    tab = browser.new_page()
    tab.goto(page["Results"])
    tab.get_by_text("cdni s0").first.click()
    tab.get_by_text("control frozen").first.wait_for(timeout=60_000)
    assert "Observability" not in tab.inner_text("body")
    four = [known(folder)["run_id"] for folder in sorted(runs.glob("*-s0-*"))[:4]]
    ids = "[" + ",".join(f'"{each}"' for each in four) + "]"
    compared = f'{url}/#/compare-runs?runs={ids}&experiments=["{experiment}"]'
    look(browser, compared, "comparison", [f"Comparing {len(four)} Runs"])
