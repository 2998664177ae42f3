"""`contimg web`: the products in a browser."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from contimg_assets.cli.app import app
from contimg_assets.cli.console import command, console, note, open_project
from contimg_assets.cli.products import open_products


@command(app)
def web(
    host: Annotated[
        str, typer.Option(help="Address to listen at; only this computer reaches the default")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port")] = 8765,
    root_path: Annotated[str, typer.Option(help="Path that a proxy puts before all addresses, such as /contimg")] = "",
    dagster: Annotated[str, typer.Option(help="Address of Dagster's own pages, such as http://localhost:3000")] = "",
    write: Annotated[
        bool, typer.Option("--write", help="Let who knows a token, which is printed, tag, note, save lists and decide")
    ] = False,
) -> None:
    """Show the products in a browser: sources, light curves, V against eta, the sky, images.

    It changes nothing unless --write is given. Example: contimg web --port 8765

    Other programs find a Simple Cone Search at /scs and JSON at /api/sources.
    """
    import secrets

    import uvicorn

    from contimg_assets.web.app import LOOPBACK, build_app

    if dagster and not dagster.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--dagster {dagster}: write the whole address, such as http://localhost:3000")
    is_local = host in ("127.0.0.1", "localhost", "::1")
    if not is_local:
        note(f"Everybody who reaches {host} can read the products; a proxy with a password is safer.")
    token = secrets.token_urlsafe(16) if write else None
    built = build_app(
        open_project().config, open_products(), LOOPBACK if is_local else ("*",), root_path, token, dagster
    )
    if token is not None:
        console.print(f"Token for who may write: {token}", highlight=False)
    console.print(f"The products: http://{escape(f'[{host}]' if ':' in host else host)}:{port}/   (Ctrl-C ends)")
    uvicorn.run(built, host=host, port=port, log_level="warning")
