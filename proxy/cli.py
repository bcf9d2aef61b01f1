"""The command line."""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import ConfigError, Problem
from proxy import __version__
from proxy.start import without_certificates

if TYPE_CHECKING:
    from config.address import Address
    from config.model import Config

EXIT_CONFIG = 2
_PROBE_TIMEOUT = 3.0
_NO_TRACING = "needs an extra that is not installed: pip install 'handshake-proxy[tracing]'"
_NO_POSTGRES = "postgresql needs an extra that is not installed: pip install 'handshake-proxy[postgres]'"


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = _parser().parse_args(argv)
    # pydantic would look through all that is installed for plugins that have a say in how the configuration is read.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{problem.path}: {problem.message}" if problem.path else problem.message, file=sys.stderr)
        return EXIT_CONFIG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="handshake-proxy", description="A sidecar caching proxy for user and business data."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=run)
        return command

    plain = [
        add("serve", _serve, "run until SIGTERM or SIGINT"),
        add("check-config", _check_config, "validate the configuration and print what is in effect"),
        add("probe", _probe, "exit 0 when the local instance is live"),
    ]
    export = add("export", _export, "write the store as JSON lines; serve may run meanwhile")
    export.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: standard output")
    taking = add(
        "import", _import, "take over rows from JSON lines; with SQLite, serve must not run meanwhile"
    )
    taking.add_argument("file", metavar="FILE", help="- is standard input")
    sending = add("send-event", _send_event, "sign an event and send it to the webhook listener")
    # No option names an entity: what stands in a command is seen by the other users of the machine.
    sending.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="one JSON object (default: standard input)"
    )
    sending.add_argument("--to", metavar="URL", help="where to (default: webhooks.listen)")
    sending.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="its first secret signs (default: webhooks.secret_file)",
    )
    sending.add_argument(
        "--message-id", metavar="ID", help="the id of an earlier attempt (default: a new one)"
    )
    for command in (*plain, export, taking, sending):
        command.add_argument(
            "--config", type=Path, metavar="FILE", help="YAML file (default: the built-in configuration)"
        )
    demo = add("demo", _demo, "play the proxy's story against small services on loopback")
    demo.add_argument("--keep", action="store_true", help="keep everything running until Ctrl-C")
    return parser


def _load(arguments: argparse.Namespace) -> "Config":
    """The whole configuration, with what only the program knows of it. Raises ConfigError."""
    from config.load import load  # noqa: PLC0415 - `serve` has something to do before
    from proxy.stores import table_specs  # noqa: PLC0415 - `probe` does not need to wait for it
    from store.migrations import check_layout  # noqa: PLC0415

    config = load(arguments.config, os.environ)
    problems = []
    try:
        check_layout(table_specs(config))
    except ValueError as error:
        problems.append(Problem("resources", str(error)))
    if config.tracing.endpoint is not None and (problem := _problem_of_tracing()):
        problems.append(problem)
    if config.store.is_shared and find_spec("asyncpg") is None:
        problems.append(Problem("store.url", _NO_POSTGRES))
    if problems:
        raise ConfigError(problems)
    return config


def _problem_of_tracing() -> Problem | None:
    try:
        from proxy.tracing_export import check_environment  # noqa: PLC0415 - an extra, not imported for nothing

        check_environment()
    except ModuleNotFoundError:
        return Problem("tracing.endpoint", _NO_TRACING)
    except ValueError as error:
        return Problem("tracing", f"a variable OTEL_* is wrong: {error}")
    return None


def _serve(arguments: argparse.Namespace) -> int:
    # What a start makes is modules and parts of the program, which all stay: to look for garbage among them again and
    # again would be a tenth of it. `_serve_until_told` ends this.
    gc.disable()
    with without_certificates():
        import aiohttp  # noqa: F401, PLC0415
    try:
        _run(_serve_until_told(_load(arguments)))
    finally:
        gc.enable()
    return 0


async def _serve_until_told(config: "Config") -> None:
    from proxy.app import App  # noqa: PLC0415 - the other commands don't need to wait for it
    from proxy.log import configure, logger  # noqa: PLC0415

    configure(config.log.level, config.log.format)
    log = logger()
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    app = App(config)
    try:
        addresses = await app.start()
    except OSError as error:
        raise SystemExit(
            f"handshake-proxy: cannot start: {error.strerror or type(error).__name__}: {error}"
        ) from None
    # Nor does a collection later on look through what is there now: tens of milliseconds that every request under way
    # would wait for.
    gc.freeze()
    gc.enable()
    # To standard output, whatever the log's level and format: whoever started us waits for this line.
    print(json.dumps({"event": "ready", "addresses": addresses}), flush=True)
    await told.wait()
    log.info("draining")
    await app.stop()
    log.info("stopped")


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(work)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)


def _check_config(arguments: argparse.Namespace) -> int:
    from config.load import effective  # noqa: PLC0415 - likewise

    print(effective(_load(arguments)), end="")
    return 0


def _probe(arguments: argparse.Namespace) -> int:
    import http.client  # noqa: PLC0415 - nothing else uses it

    from config.load import ops_address  # noqa: PLC0415

    address = ops_address(arguments.config, os.environ)
    connection = http.client.HTTPConnection(_host_of(address), address.port, timeout=_PROBE_TIMEOUT)
    try:
        connection.request("GET", "/livez")
        live = connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException) as error:
        print(f"not live: {address}: {type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return 0 if live else 1


def _host_of(address: "Address") -> str:
    """The host by which this machine reaches a listener of its own."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - compared, not bound


def _send_event(arguments: argparse.Namespace) -> int:
    from proxy.send_event import send  # noqa: PLC0415 - nothing else uses it

    to, secret_file = arguments.to, arguments.secret_file
    if to is None or secret_file is None:
        from config.load import load  # noqa: PLC0415 - with both options there may be no configuration

        webhooks = load(arguments.config, os.environ).webhooks
        to = to or _url_of(webhooks.listen)
        secret_file = secret_file or webhooks.secret_file
    if secret_file is None:
        raise ConfigError([Problem("webhooks.secret_file", "is not set: name one with --secret-file")])
    return send(_file(arguments), to=to, secret_file=secret_file, message_id=arguments.message_id)


def _url_of(listen: "Address | None") -> str:
    """The URL of the webhook listener. Raises ConfigError if the configuration does not say it."""
    if listen is None:
        raise ConfigError([Problem("webhooks.listen", "is not set: say with --to where to send it")])
    if listen.port == 0:
        raise ConfigError(
            [Problem("webhooks.listen", "has no port of its own: say with --to where to send it")]
        )
    host = _host_of(listen)
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


def _export(arguments: argparse.Namespace) -> int:
    from proxy.transfer import export_to  # noqa: PLC0415 - it brings the database along

    return export_to(_file(arguments), _load(arguments))


def _import(arguments: argparse.Namespace) -> int:
    from proxy.transfer import import_from  # noqa: PLC0415 - likewise

    return import_from(_file(arguments), _load(arguments))


def _file(arguments: argparse.Namespace) -> Path | None:
    """The file that is named; None: standard output or input."""
    return None if arguments.file == "-" else Path(arguments.file)


def _demo(arguments: argparse.Namespace) -> int:
    from proxy.demo.story import play  # noqa: PLC0415

    return play(keep=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
