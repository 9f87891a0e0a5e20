"""Name of an extra -> the command that installs what it requires."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

PACKAGE = "ablated-diffusion"


def installing(extra: str) -> str:
    """Return the `pip` command that installs the requirements of an extra.

    They are named themselves, because the package may have been installed from a folder, and `pip`
    could not find it by its name.
    """
    try:
        packages = [*_required(extra)]
    except PackageNotFoundError:  # imported from its folder
        packages = []
    quoted = [f'"{package}"' for package in packages or [f".[{extra}]"]]
    return f"pip install {' '.join(quoted)}"


def _required(extra: str) -> Iterator[str]:
    """Yield the requirements of an extra as the package's metadata have them."""
    for requirement in requires(PACKAGE) or ():
        name, _, marker = (part.strip() for part in requirement.partition(";"))
        if re.search(rf"""\bextra\s*==\s*["']{re.escape(extra)}["']""", marker):
            yield name
