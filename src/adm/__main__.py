"""python -m adm -> the command line."""

from adm.cli import program

program()
