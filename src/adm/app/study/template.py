"""Template, values -> self-contained HTML page, in the style that all pages of scores share."""

from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment

PACKAGE = "adm.app.study"
SHARED = ("base.html", "parts.html")  # of this package, which other templates extend and import


def rendered(package: str, name: str, **values: Any) -> str:
    """Render the template `name` of a package."""
    texts = {each: _text(PACKAGE, each) for each in SHARED} | {name: _text(package, name)}
    environment = Environment(autoescape=True, trim_blocks=True, loader=DictLoader(texts))
    return environment.get_template(name).render(**values)


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
