"""adm docs [PAGE] -> the titles of the pages, or one page as text."""

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

INSTALLED = Path(__file__).parents[1] / "docs"  # in a wheel
CHECKOUT = Path(__file__).parents[3] / "docs"
WIDTH = 100  # characters, of a page on a wider terminal


def docs(
    page: str | None = None, /, *, path: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """List the pages of the documentation, or print one.

    On a terminal a page is formatted; otherwise it is printed as the Markdown that it is.

    Examples:

        adm docs

        adm docs data

        adm docs training | less

    Parameters
    ----------
    page
        Page to print.
    path
        Print the path of the page instead, or without PAGE that of the folder.
    """
    folder = folder_of_pages()
    pages = pages_in(folder)
    if page is not None:
        file = found(page, pages)
        print(file) if path else show(file.read_text("utf-8"))
    elif path:
        print(folder)
    else:
        width = max(map(len, pages))
        for name, file in pages.items():
            print(f"{name:{width}}  {title(file)}")


def folder_of_pages() -> Path:
    """Return the folder of the pages: of the installed package, or of the checkout.

    Raises:
        FileNotFoundError: the package was installed without them.
    """
    for folder in (INSTALLED, CHECKOUT):
        if (folder / "command-line.md").is_file():
            return folder
    raise FileNotFoundError(
        f"there are no pages in {INSTALLED}; install the package again, with pip install . in the "
        "folder of its repository"
    )


def pages_in(folder: Path) -> dict[str, Path]:
    """Return name -> file of all pages, such as `data` and `training/digits`."""
    files = sorted(folder.rglob("*.md"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def found(page: str, pages: dict[str, Path]) -> Path:
    """Return the file of a page, whose name may be written as docs/data.md.

    Raises:
        ValueError: there is no such page; names similar ones.
    """
    name = page.removeprefix("docs/").removesuffix(".md").lower()
    if name in pages:
        return pages[name]
    near = get_close_matches(name, pages)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the pages are {', '.join(pages)}"
    raise ValueError(f"no page {page!r}; {hint}")


def title(file: Path) -> str:
    """Return the first heading of a page."""
    lines = file.read_text("utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def show(text: str) -> None:
    """Print Markdown, formatted if this is a terminal."""
    if not sys.stdout.isatty():
        print(text, end="")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(text), width=min(WIDTH, console.width))
