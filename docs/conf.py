"""Pages, docstrings, the program's own help -> the site: `make docs`."""

import os
import re
from contextlib import redirect_stdout
from functools import cached_property
from html import unescape
from importlib import import_module, metadata
from io import StringIO
from pathlib import Path
from textwrap import dedent
from types import FunctionType
from typing import ClassVar
from xml.etree import ElementTree

import jupytext
from cyclopts import App, Parameter
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexer import RegexLexer
from pygments.token import Name, Text
from sphinx.application import Sphinx
from sphinx.errors import ConfigError

from adm.app.cli import GROUPS
from adm.app.cli.help import TOPICS
from adm.app.cli.help import help as explain
from adm.app.cli.options import converted
from adm.data import open_source

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out"
NOTEBOOKS = ("howto/sample", "howto/train", "howto/restore", "howto/score")
# Blocks find the oracle of howto/extend.md; progress bars would need ipywidgets.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
os.environ["PYTHONWARNINGS"] = "ignore:install"

project = "adm"
author = "the contributors of adm"
copyright = "the contributors of adm"
version = release = metadata.version("ablated-diffusion")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxext.opengraph",
]
exclude_patterns = ["training", "results/speed/*"]
smartquotes = False  # --options keep their hyphens
highlight_language = "command"  # a block without a language is of the shell
html_theme = "furo"
html_title = f"adm {version}"
# Read the Docs says where it publishes the site; a build elsewhere needs no network.
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_math_renderer = "mathml"  # by the browser: no script from elsewhere, and no network
templates_path = []
ogp_site_url = html_baseurl
ogp_image = "_images/emoji-samples.png"
ogp_use_first_image = True
INVENTORIES = {
    "python": ("https://docs.python.org/3/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
intersphinx_mapping = INVENTORIES if html_baseurl else {}

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
nb_execution_mode = "cache"
nb_execution_cache_path = str(OUT / "docs-cache")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_number_source_lines = False

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
autosummary_generate = False  # tables alone: a page holds a part, not a name
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True

MATHML = "http://www.w3.org/1998/Math/MathML"
NAMED = re.compile(r"&(?!lt;|gt;|amp;)\w+;")  # entities that HTML knows, and XML does not
ElementTree.register_namespace("", MATHML)
MARK = re.compile(r"^<!-- adm: (\w+) ?(.*?) -->$", re.MULTILINE)
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:.*\\\n)*.*\n", re.MULTILINE)  # with the lines that continue it
DIRECTIVE = re.compile(r"^```\{(?!code-cell).*?^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"^!\[.*?\]\(.*?\)$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((?!https:)[^)]+\)")
ALIGNED = re.compile(r"\S {2,}\S")  # columns
PAGES = "```{toctree}\n:hidden:\n:glob:\n\n*\n```"
EXAMPLES = re.compile(r"(?<=:\n\n)(?: {4}.*\n+)+")
SECTION = re.compile(r"^\((gallery-\w+)\)=\n(.*?)(?=^\(|\Z)", re.MULTILINE | re.DOTALL)
USED = re.compile(r"\{py:\w+\}`([\w.]+)`")
PAGE_IN_HELP = re.compile(r"\bdocs/(\w[\w/-]*)\.md\b")


class Command(RegexLexer):
    """Commands, in which a line is not broken within the name of an option."""

    tokens: ClassVar = {"root": [(r"(?<!\S)--?[a-zA-Z][\w-]*", Name.Attribute), (r"\S+|\s+", Text)]}


def verbs() -> str:
    """The help of every verb, as Markdown."""
    parts = []
    for title, group in GROUPS.items():
        parts.append(f"## {title}\n")
        for verb in group:
            app = App(
                name="adm",
                help_format="markdown",
                default_parameter=Parameter(converter=converted),
            )
            app.command(f"adm.app.cli.{verb}:{verb}", name=verb)
            text = app.generate_docs(output_format="markdown", heading_level=2)
            text = text[text.index(f"### adm {verb}") :]
            text = EXAMPLES.sub(lambda found: fenced(found[0]), text)
            parts.append(PAGE_IN_HELP.sub(r"[\1](../\1.md)", text))
    return "\n".join(parts)


def fenced(indented: str) -> str:
    """Examples of a help, without the lines between them."""
    return f"```\n{dedent(indented).replace(chr(10) * 2, chr(10))}```\n\n"


def kinds(topic: str) -> str:
    """What `adm help TOPIC` prints."""
    with redirect_stdout(StringIO()) as text:
        explain(topic)
    return f"```text\n{text.getvalue().rstrip()}\n```"


def topics() -> str:
    return "\n\n".join(f"## {topic}\n\n{kinds(topic)}" for topic in TOPICS)


def overview(name: str) -> str:
    """A table of what a module or a class has, with the first line that each says of itself."""
    module, _, last = name.rpartition(".")
    it = getattr(import_module(module), last) if last[0].isupper() else import_module(name)
    own = [
        each
        for each, value in vars(it).items()
        if isinstance(it, type) or getattr(value, "__module__", None) == name
    ]
    kinds = (FunctionType, type, property, cached_property)
    names = [each for each in getattr(it, "__all__", own) if isinstance(getattr(it, each), kinds)]
    rows = "\n".join(f"   ~{name}.{each}" for each in names if each[0] != "_")
    return f"```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{rows}\n```"


def part(names: str) -> str:
    """The overview of some modules, and what each has."""
    parts = []
    for name in names.split():
        imported = "\n   :imported-members:" if hasattr(import_module(name), "__all__") else ""
        parts.append(f"```{{eval-rst}}\n.. automodule:: {name}{imported}\n```")
    return "\n\n".join([*(overview(name) for name in names.split()), *parts])


def shown(app: Sphinx, argument: str, tags: str = "") -> str:
    """The first block of a page that has some words; of commands those that have them."""
    page, words = argument.split(" ", 1)
    path = Path(app.srcdir) / f"{page}.md"
    app.env.note_dependency(str(path))
    for language, block in FENCED.findall(path.read_text("utf-8")):
        if words in block and language == "{code-cell}":
            return f"```{{code-cell}}\n{tags}{block}```"
        if words in block:
            return f"```\n{''.join(each for each in COMMAND.findall(block) if words in each)}```"
    raise ConfigError(f"no block of {path} has {words}")


def pictures() -> dict[str, list[str]]:
    """The sections of the gallery in which a function is used."""
    of: dict[str, list[str]] = {}
    for label, section in SECTION.findall((ROOT / "docs/gallery.md").read_text("utf-8")):
        for name in USED.findall(section):
            of.setdefault(name, []).append(f":ref:`{label}`")
    return of


def gathered(pattern: str) -> str:
    """The rows of tables in files of their own, which have the same columns, as one table."""
    tables = [
        each.read_text("utf-8").splitlines() for each in sorted((ROOT / "docs").glob(pattern))
    ]
    return "\n".join([*tables[0][:2], *(row for table in tables for row in table[2:])])


def notebook(page: str) -> str:
    """Where the page is offered as a notebook."""
    path = OUT / "notebooks" / f"{Path(page).name}.ipynb"
    return f"{{download}}`This page as a notebook <../../{path.relative_to(ROOT)}>`."


def write_notebooks(app: Sphinx) -> None:
    """Write the pages that are offered as notebooks, without what only the site has."""
    for page in NOTEBOOKS:
        text = (Path(app.srcdir) / f"{page}.md").read_text("utf-8")
        for only_here, left in ((MARK, ""), (DIRECTIVE, ""), (PICTURE, ""), (LINK, r"\1")):
            text = only_here.sub(left, text)
        path = OUT / "notebooks" / f"{Path(page).name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        jupytext.write(jupytext.reads(text, fmt="md:myst"), path)


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the marks of a page by what the program says."""
    makers = {
        "verbs": lambda _: verbs(),
        "topics": lambda _: topics(),
        "kinds": kinds,
        "gathered": gathered,
    }
    makers |= {"overview": overview, "part": part, "pages": lambda _: PAGES}
    makers["shown"] = lambda argument: shown(app, argument)
    makers["hidden"] = lambda argument: shown(app, argument, ":tags: [remove-cell]\n\n")
    makers["notebook"] = lambda _: notebook(page)
    source[0] = MARK.sub(lambda found: makers[found[1]](found[2]), source[0])


def check_data(app: Sphinx) -> None:
    """Refuse a build, before any page runs, without the images that pages read."""
    try:
        open_source("fashion-mnist", split="test")
    except ValueError as error:
        raise ConfigError(
            f"pages need Fashion-MNIST, and {error}; or install Debian's dataset-fashion-mnist"
        ) from None


def write_sitemap(app: Sphinx, error: Exception | None) -> None:
    """List the pages for search engines, where the address of the site is known."""
    if html_baseurl and not error:
        pages = sorted(map(app.builder.get_target_uri, app.env.found_docs))
        rows = "".join(f"<url><loc>{html_baseurl}{page}</loc></url>\n" for page in pages)
        schema = "http://www.sitemaps.org/schemas/sitemap/0.9"
        text = f'<?xml version="1.0"?>\n<urlset xmlns="{schema}">\n{rows}</urlset>\n'
        (Path(app.outdir) / "sitemap.xml").write_text(text, "utf-8")


PICTURED = pictures()


def escape(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]):
    """Keep columns of modules, |x| and *names of docstrings; what is between backticks is code."""
    if what == "module" and any(ALIGNED.search(line) for line in lines):
        lines[1:1] = ["", "::", ""]
        lines[4:] = [f"   {line}" for line in lines[4:]]
        return
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"(?<!:)[|*]", r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = "`".join(parts)
    if name in PICTURED:
        lines += ["", f"Pictures: {', '.join(PICTURED[name])}.", ""]


def skip(app: Sphinx, what: str, name: str, thing: object, skipped: bool, options: object) -> bool:
    """Leave out fields of named tuples that say nothing of themselves."""
    return skipped or (getattr(thing, "__doc__", None) or "").startswith("Alias for field")


def mathml(text: str, **options: bool) -> str:
    """TeX as MathML; docutils puts the index of a letter with an accent below the letter."""
    for ours, theirs in ((r"\lt", "<"), (r"\gt", ">"), (r"\dots", r"\ldots")):
        text = re.sub(re.escape(ours) + r"(?![a-zA-Z])", lambda _, to=theirs: to, text)
    made = NAMED.sub(lambda found: unescape(found[0]), tex2mathml(text, **options))
    tree = ElementTree.fromstring(made.replace("\u02c9", "\u00af"))  # a bar that fonts have
    for node in tree.iter(f"{{{MATHML}}}munderover"):
        letter, index, accent = node
        if letter.tag != f"{{{MATHML}}}mo":  # such as a sum with its limits
            node.tag, node[:] = f"{{{MATHML}}}msub", []
            above = ElementTree.SubElement(node, f"{{{MATHML}}}mover")
            above.extend((letter, accent))
            node.append(index)
    for node in tree.iter(f"{{{MATHML}}}mover"):
        node.attrib.pop("accent", None)  # without a font of mathematics it would touch the letter
    return ElementTree.tostring(tree, encoding="unicode")


def visit_math(writer, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(writer, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_lexer("command", Command)
    app.connect("builder-inited", check_data)
    app.connect("builder-inited", write_notebooks)
    app.connect("build-finished", write_sitemap)
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", escape)
    app.connect("autodoc-skip-member", skip)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
