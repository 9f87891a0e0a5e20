"""A studio of the shipped models -> docs/images/studio.png, by the chromium of this machine."""

import shutil
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

from adm.app.studio.model_cache import ModelCache
from adm.app.studio.server import application, listen, server

OUT = Path(__file__).parents[1] / "docs" / "images" / "studio.png"
SIZE = {"width": 1400, "height": 600}


def main() -> None:
    with listen("localhost", 0) as listening, sync_playwright() as started:
        models = ModelCache()
        models.warm()
        serving = server(application(models))
        thread = threading.Thread(target=serving.run, args=([listening],))
        thread.start()
        path = shutil.which("chromium")
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(f"http://localhost:{listening.getsockname()[1]}/")
        page.wait_for_selector(".tile:not([disabled]) img")
        page.wait_for_selector('#go:has-text("Sample")')
        page.screenshot(path=OUT)
        browser.close()
        serving.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
