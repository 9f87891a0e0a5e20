"""python -m adm -> the command line."""

from adm.app.cli import program

program()
