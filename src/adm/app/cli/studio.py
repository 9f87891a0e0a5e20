"""adm studio [MODEL ...] -> a page on this machine, on which a person explores sampling."""

import webbrowser
from contextlib import suppress
from typing import Annotated

from adm.app.cli.options import FLAG, SEVERAL, Device
from adm.app.cli.output import say
from adm.spec import SettingError


def studio(
    *models: str,
    port: int = 8300,
    host: str = "localhost",
    data: Annotated[tuple[str, ...], SEVERAL] = (),
    device: Device = None,
    open: Annotated[bool, FLAG] = False,
) -> None:
    """Sample, guide, paint and compare on a page in the browser.

    The page offers the shipped models, and MODELS. It is served to this machine alone; for others,
    --host sets the address to listen at, and the address of the page, which is printed, then
    contains a secret. Stop it with Ctrl-C.

    Examples:

        adm studio

        adm studio emoji --data emoji=./emoji --open

        adm studio runs/photos --data runs/photos=photos.zip

        adm studio --host 0.0.0.0 --port 8080

    Parameters
    ----------
    models
        Paths (files or run folders) or names, beside the shipped models. The first is shown first.
    port
        Port to listen at; 0 for a free one.
    host
        Name or address to listen at.
    data
        MODEL=DATA, the training images of a model, if they are not where its recipe says; may be
        given several times.
    open
        Open the page in a browser.
    """
    pairs = [each.partition("=") for each in data]
    for model, equals, spec in pairs:
        if not (model and equals and spec):
            raise SettingError("data", "{} takes a model and its data: {data=emoji=./emoji}")
    # Imported here, so that --help does not load torch.
    try:
        from adm.app.studio.server import address, application, listen, new_token, server
    except ModuleNotFoundError as error:
        from adm.extras import installing

        raise ValueError(f"{error.name} is not installed; {installing('studio')}") from None
    from adm.app.studio.model_cache import ModelCache

    cache = ModelCache(models, {model: spec for model, _, spec in pairs}, device)
    token = new_token(host)
    with listen(host, port) as listening:
        cache.warm()
        page = address(host, listening.getsockname()[1], token)
        say(f"{page}: open it in a browser; Ctrl-C stops the studio")
        if open:
            webbrowser.open(page)
        with suppress(KeyboardInterrupt):  # how it is meant to end
            server(application(cache, token)).run([listening])
